"""Odd addresses, and answers of servers that mean no good: the guarded client lets nobody in and always ends.

The addresses lead to a canary that must never be asked; the answers come from a server that says any bytes.
"""

from __future__ import annotations

import ipaddress
import random
import re
import socket
import socketserver
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.fault_files import damaged
from bench.faults import Slice, WrongError
from veneer.data.download import Downloader, Reach
from veneer.data.fetch import Fetcher
from veneer.data.guard import Address, is_public
from veneer.data.sources import Found

MAX_BYTES = 2**16
PUBLIC_NAMES = {"public.example": "93.184.215.14", "xn--bcher-kva.example": "93.184.215.14"}
FORBIDDEN = tuple(
    map(
        ipaddress.ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3", "fc00::/7"),
            *("::/96", "fe80::/10", "ff00::/8", "fec0::/10", "168.63.129.16/32", "2001:db8::/32"),
        ),
    )
)  # fmt: skip
"""Written down here once more, so that a mistake in the guard's own rules is none of the bench's."""
HOSTS = (
    "127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "0", "localhost", "LOCALHOST.", "[::1]",
    "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]", "[fe80::1%25lo]", "[fe80::1%lo]", "169.254.169.254", "[fd00:ec2::254]",
    "100.100.100.200", "168.63.129.16", "192.0.0.192", "10.0.0.1", "inside.example", "public.example",
    "both.example", "xn--bcher-kva.example", "bücher.example", "①②⑦.⓪.⓪.①", "127。0。0。1",
    "a" * 64 + ".example", "a." * 130, "-", "_", "*.example", "%31%32%37.0.0.1", "[", "]", "[]", "[v1.x]",
    "1.2.3.4.5", "256.256.256.256", "", ".", "..", "xn--", "xn--a", "\udcff.example",
    "public.example@127.0.0.1", "127.0.0.1@public.example", "127.0.0.1#@public.example",
    "127.0.0.1\\@public.example",
)  # fmt: skip
SCHEMES = (
    *("http", "https", "HTTP", "ftp", "file", "gopher", "data", "", "http:", "javascript", "ws", "http+unix"),
)
PORTS = (
    *("", ":PORT", ":PORT", ":0", ":65536", ":-1", ":x", ":", ":80:80", ":0x50", ":９"),  # noqa: RUF001
    ":" + "1" * 400,
)
PATHS = (
    *("/x.png", "", "/", "/%00", "/\0", "/a b", "/é", "/\ud800", "?", "#", "/..", "//evil", "\\x"),
    *("/" + "a" * 9_000, "/\r\nX: y", "/\t"),
)


@dataclass(frozen=True)
class Net:
    """The client and who it may meet.

    Attributes:
        port: Port of the server, at 127.0.0.1.
        asked: What the server was asked for.
        rule: Which addresses may be reached, of the case at hand: one.
        downloader: The client.
        answers: What it answers, by path.
    """

    folder: Path
    port: int
    asked: list[bytes]
    rule: list[Callable[[Address], bool]]
    downloader: Downloader
    answers: dict[bytes, bytes]


def open_net(folder: Path) -> Net:
    """A server at 127.0.0.1 that answers whatever it is told to."""
    asked: list[bytes] = []
    answers: dict[bytes, bytes] = {}

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(2)
            try:
                line = self.request.recv(2**16).split(b"\r\n", 1)[0]
                asked.append(line)
                content = answers.get(line.split(b" ")[1] if b" " in line else b"", b"")
                self.request.sendall(content)
                if content.endswith(b"DRIP"):
                    self.request.recv(1)  # until the other side has had enough
            except OSError:
                pass

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rule: list[Callable[[Address], bool]] = [is_public]

    def is_allowed(one: Address) -> bool:
        return rule[0](one)

    reach = Reach(max_bytes=MAX_BYTES, seconds=0.5, attempts=1, is_allowed=is_allowed, resolve=look_up)
    return Net(folder, server.server_address[1], asked, rule, Downloader(reach), answers)


def look_up(host: str, port: int) -> list[str]:
    """Numbers as the system reads them, in any form, and a few names; no network is asked."""
    name = host.rstrip(".").lower()
    if name in PUBLIC_NAMES:
        return [PUBLIC_NAMES[name]]
    if name in {"localhost", "inside.example", "both.example"}:
        return {"localhost": ["::1", "127.0.0.1"], "inside.example": ["10.0.0.1"]}.get(
            name, ["93.184.215.14", "127.0.0.1"]
        )
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return [str(entry[4][0]) for entry in found]


def try_address(net: Net, number: int) -> str:
    """Fetch one odd address.

    Raises:
        WrongError: If somebody inside was asked, or would have been.
    """
    chance = random.Random(number)
    address = odd_address(chance, net.port)
    allowed: list[Address] = []

    def note(one: Address) -> bool:
        if is_public(one):
            allowed.append(one)
        return False  # nothing out there is bothered

    said = _fetch(net, address, note)
    if net.asked:
        raise WrongError(f"{address!r} reached this machine")
    if inside := [
        one for one in allowed if any(one in net_ for net_ in FORBIDDEN if net_.version == one.version)
    ]:
        raise WrongError(f"{address!r} was let through to {inside}")
    return "would be fetched" if allowed else said


def odd_address(chance: random.Random, port: int) -> str:
    """An address of odd parts, sometimes damaged."""
    scheme, host = chance.choice(SCHEMES[:3] * 4 + SCHEMES), chance.choice(HOSTS)
    slashes = chance.choice(["://"] * 8 + [":/", ":", ":///", "//", ":\\\\"])
    login = chance.choice([""] * 6 + ["a:b@", "@", "a@b@", "\0@", "é:é@"])
    address = f"{scheme}{slashes}{login}{host}{chance.choice(PORTS)}{chance.choice(PATHS)}".replace(
        "PORT", str(port)
    )
    if chance.random() < 0.3:
        address = damaged(address.encode("utf-8", "surrogatepass"), chance).decode("utf-8", "surrogateescape")
    return address


def try_answer(net: Net, number: int) -> str:
    """Fetch what a server of no good answers.

    Raises:
        WrongError: If too much was taken, half a file was left, or another address was asked.
    """
    chance = random.Random(number)
    path = f"/{number}.png"
    net.answers.clear()
    net.answers[path.encode()] = odd_answer(chance, net.port)
    said = _fetch(net, f"http://127.0.0.1:{net.port}{path}", lambda one: str(one) == "127.0.0.1")
    if other := [line for line in net.asked if not line.startswith(b"GET /")]:
        raise WrongError(f"the server was asked {other[0][:80]!r}")
    return said


STATUS_LINES = (
    *([b"HTTP/1.1 200 OK"] * 8 + [b"HTTP/1.1 302 Found"] * 4),
    *(b"HTTP/1.1 99999 x", b"HTTP/1.1 -1", b"HTTP/9.9 200", b"HTTP/1.1", b"", b"\x16\x03\x01", b"ICY 200 OK"),
    *(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK", b"HTTP/1.1 200 \x1b[2J\xff", b"HTTP/1.1 503 x"),
    *(b"HTTP/1.1 204 x", b"HTTP/1.1 101 Switching", b"HTTP/1.1 304 x", b"HTTP/1.1 206 Partial"),
)
NAMES = (
    *(b"Content-Length", b"Transfer-Encoding", b"Content-Encoding", b"Content-Type", b"Set-Cookie"),
    *(b"Location", b"Retry-After", b"X-Robots-Tag", b"", b"\xff", b"A B", b"Connection"),
)
VALUES = (b"", b"-1", b"0", b"9" * 5_000, b"\xff", b"a\0b", b"1, 2", b"x" * 70_000, b" ")


def odd_answer(chance: random.Random, port: int) -> bytes:
    """Bytes that a server may send."""
    own, content = chance.choice(BODIES)(chance, port)
    odd = [chance.choice(NAMES) + b": " + chance.choice(VALUES) for _ in range(chance.randrange(3))]
    whole = b"\r\n".join([chance.choice(STATUS_LINES), *odd, *own, b"", content])
    if chance.random() < 0.25:
        whole = damaged(whole, chance)
    return whole + (b"DRIP" if chance.random() < 0.004 else b"")


Body = tuple[list[bytes], bytes]
"""Headers, and what comes behind them."""


def _plain(chance: random.Random, port: int) -> Body:
    body = _picture(chance)
    lengths = [[len(body)], [len(body) + 9], [1, 2], []]
    return [b"Content-Length: %d" % length for length in chance.choice(lengths)], body


def _chunked(chance: random.Random, port: int) -> Body:
    body = _picture(chance)
    whole = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    odd = [whole, whole, b"-1\r\n", b"f" * 90 + b"\r\n", b"zz\r\n", b"5\r\nab"]
    return [b"Transfer-Encoding: chunked"], chance.choice(odd)


def _packed(chance: random.Random, port: int) -> Body:
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    bomb = packer.compress(bytes(2**22)) + packer.flush()
    raw = zlib.compress(_picture(chance))
    odd = (
        *((b"gzip", bomb), (b"gzip", damaged(bomb, chance)), (b"gzip, gzip", bomb), (b"br", raw)),
        *((b"deflate", raw), (b"deflate", raw[2:]), (b"x" * 90, raw)),
    )
    name, body = chance.choice(odd)
    return [b"Content-Encoding: " + name], body


def _elsewhere(chance: random.Random, port: int) -> Body:
    target = odd_address(chance, port).encode("utf-8", "replace").replace(b"\n", b"")
    plain = (b"/0.png", b"//", b"?", b"http://127.0.0.2:%d/" % port, b"file:///etc/passwd")
    return [b"Location: " + chance.choice([target, *plain])], b""


def _many_headers(chance: random.Random, port: int) -> Body:
    odd = ([b"X: y"] * 5_000, [b"X: " + b"y" * 200_000], [b" folded", b"\tfolded"])
    return chance.choice(odd), _picture(chance)


BODIES = (_plain, _plain, _chunked, _packed, _elsewhere, _many_headers)


def _picture(chance: random.Random) -> bytes:
    return chance.choice([b"", b"x" * 100, b"\x89PNG\r\n\x1a\n" + bytes(500), bytes(MAX_BYTES + 9)])


def _fetch(net: Net, address: str, is_allowed: Callable[[Address], bool]) -> str:
    """What came of an address: "fetched", or "left out" with a reason for people."""
    net.asked.clear()
    scratch = net.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    net.rule[0] = is_allowed
    found, missed = next(iter(Fetcher(net.downloader, scratch).fetch(iter([Found(address)]))))
    left = [path for path in scratch.iterdir() if path != found.path]
    size = found.path.stat().st_size if found.path is not None else 0
    for path in scratch.iterdir():
        path.unlink()
    if left:
        raise WrongError(f"{left[0].name} is left over")
    if missed is None:
        if found.path is None or size > MAX_BYTES:
            raise WrongError(f"{size} bytes were taken")
        return "fetched"
    if not missed.reason.strip() or "Traceback" in missed.reason or len(missed.reason) > 400:
        raise WrongError(f"no reason for people: {missed.reason[:300]!r}")
    return f"left out: {re.split(r'[:(,]|[0-9]', missed.reason)[0].strip()[:40]}"


SLICES = (
    Slice("addresses", "odd addresses", 5000, range(100), open_net, try_address),
    Slice("answers", "odd answers of servers", 5000, range(100), open_net, try_answer),
)
