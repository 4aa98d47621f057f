"""Who may talk to the studio, and what it may be asked to listen at."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from veneer.errors import VeneerError
from veneer.web.server.guard import HEADERS, RequestGuard, is_welcome
from veneer.web.server.limits import Uploads


def headers(**values: str) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in values.items()}


@pytest.mark.parametrize(
    ("given", "welcome"),
    [
        ({"host": "127.0.0.1:7860"}, True),
        ({"host": "localhost:7860", "origin": "http://localhost:7860"}, True),
        ({"host": "[::1]:7860"}, True),
        ({"host": "evil.example:7860"}, False),
        ({"host": "127.0.0.1:7860", "origin": "http://evil.example"}, False),
        ({"host": "127.0.0.1:7860", "origin": "http://127.0.0.1:9999"}, False),
        ({"host": "127.0.0.1:7860", "origin": "null"}, False),
        ({}, False),
    ],
)
def test_only_the_own_page_is_welcome(given: dict[str, Any], welcome: bool) -> None:
    assert is_welcome(headers(**given), is_local=True) is welcome


def test_behind_a_password_any_name_will_do_but_no_other_page() -> None:
    assert is_welcome(headers(host="studio.lan:7860", origin="http://studio.lan:7860"), is_local=False)
    assert not is_welcome(headers(host="studio.lan:7860", origin="http://evil.example"), is_local=False)


def answer_to(given: dict[str, str]) -> list[Any]:
    sent = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"referrer-policy", b"old")]})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": list(headers(**given).items())}
    asyncio.run(RequestGuard(app, True)(scope, None, send))
    return sent


@pytest.mark.parametrize("begins", [False, True])
def test_what_the_server_behind_fails_at_is_refused_in_a_line(
    capsys: pytest.CaptureFixture[str], begins: bool
) -> None:
    """As Gradio's does at an address of no page: it answers 500 first, and raises then."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if begins:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"Internal Server Error"})
        raise KeyError("x\x1b[2J")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "HEAD", "path": "/", "headers": [(b"host", b"localhost")]}
    if begins:
        asyncio.run(RequestGuard(app, True)(scope, None, send))
        assert [one.get("status") for one in sent] == [400, None]
        told = capsys.readouterr().err
        assert told.startswith("refused HEAD /: KeyError")
        assert "\x1b" not in told
    else:
        with pytest.raises(KeyError):
            asyncio.run(RequestGuard(app, True)(scope, None, send))


def test_a_name_longer_than_any_files_is_refused() -> None:
    guard = RequestGuard(answering(200), True)
    own = {b"host": b"localhost"}
    assert status_of(guard, "/static/" + "a" * 255, own, "GET") == 200
    assert status_of(guard, "/static/" + "a" * 256, own, "GET") == 414


def test_uploads_side_by_side_share_the_room(tmp_path: Path) -> None:
    async def both() -> list[int]:
        is_over = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await is_over.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        guard, statuses = RequestGuard(app, True, Uploads(tmp_path, 100)), []

        async def upload(number_of_bytes: int) -> None:
            async def send(message: Any) -> None:
                if message["type"] == "http.response.start":
                    statuses.append(message["status"])

            given = {b"host": b"localhost", b"content-length": str(number_of_bytes).encode()}
            scope = {"type": "http", "path": "/gradio_api/upload", "method": "POST"}
            await guard({**scope, "headers": list(given.items())}, None, send)

        first = asyncio.create_task(upload(80))
        await asyncio.sleep(0)
        await upload(80)
        is_over.set()
        await first
        await upload(80)
        return statuses

    assert asyncio.run(both()) == [413, 200, 200]


def test_every_answer_carries_the_policy() -> None:
    (start,) = answer_to({"host": "localhost"})
    assert start["headers"] == list(HEADERS)
    assert b"https:" not in dict(HEADERS)[b"content-security-policy"]


def test_other_pages_get_nothing() -> None:
    start, body = answer_to({"host": "localhost", "origin": "http://evil.example"})
    assert start["status"] == 403
    assert b"own page" in body["body"]


@pytest.mark.parametrize(("is_local", "packed"), [(True, False), (False, True)])
def test_only_what_goes_far_is_packed(is_local: bool, packed: bool) -> None:
    asked: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.extend(name for name, _ in scope["headers"])

    given = {**headers(host="localhost"), b"accept-encoding": b"br"}
    scope = {"type": "http", "headers": list(given.items())}
    asyncio.run(RequestGuard(app, is_local)(scope, None, None))
    assert (b"accept-encoding" in asked) is packed


def test_small_answers_are_sent_at_once(with_gradio: None) -> None:
    """asyncio looks at the protocol of the socket before it tells the system not to wait for more."""
    from veneer.web.server.server import listen

    async def answers_wait() -> int:
        told = asyncio.get_running_loop().create_future()

        def opened(reader: Any, writer: Any) -> None:
            own = writer.get_extra_info("socket")
            told.set_result(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listen("127.0.0.1", 0) as bound:
            async with await asyncio.start_server(opened, sock=bound):
                _, writer = await asyncio.open_connection(*bound.getsockname())
                no_delay = await told
                writer.close()
                return no_delay

    assert asyncio.run(answers_wait())


def test_other_addresses_need_a_password(with_gradio: None) -> None:
    from veneer.web.server.server import check_access

    check_access("127.0.0.1", "")
    check_access("localhost", "")
    check_access("0.0.0.0", "long enough")
    for host, password in (
        ("0.0.0.0", ""),
        ("192.168.0.2", ""),
        ("::", ""),
        ("0.0.0.0", "short"),
        ("host.lan", ""),
    ):
        with pytest.raises(VeneerError, match="password"):
            check_access(host, password)


def test_a_port_in_use_is_named(with_gradio: None) -> None:
    from veneer.web.server.server import listen

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(VeneerError, match="--port"):
            listen("127.0.0.1", taken.getsockname()[1])


OWN = {"host": "localhost:7860"}


@pytest.mark.parametrize(
    ("path", "given", "status"),
    [
        ("/", {"host": "["}, 400),
        ("/", {"host": "localhost:x"}, 400),
        ("/", {**OWN, "origin": "http://["}, 400),
        ("/", {**OWN, "content-length": "many"}, 400),
        ("/", {**OWN, "sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}, 200),
        ("/", {**OWN, "sec-fetch-site": "cross-site", "sec-fetch-dest": "iframe"}, 403),
        ("/config", {**OWN, "sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}, 403),
        ("/gradio_api/file=/x", {**OWN, "sec-fetch-site": "same-site"}, 403),
        ("/config", {**OWN, "sec-fetch-site": "same-origin"}, 200),
        ("/gradio_api/queue/join", {**OWN, "content-length": str(5 * 2**20)}, 413),
        ("/gradio_api/upload", {**OWN, "content-length": str(5 * 2**20)}, 413),
        ("/gradio_api/upload", {**OWN, "content-length": "900"}, 200),
        ("/gradio_api/upload", {**OWN, "transfer-encoding": "chunked"}, 411),
    ],
)
def test_what_makes_no_sense_or_is_too_much_is_refused(
    path: str, given: dict[str, str], status: int, tmp_path: Path
) -> None:
    asked = {name.encode(): value.encode() for name, value in given.items()}
    (tmp_path / "earlier").write_bytes(bytes(100))
    guard = RequestGuard(answering(200), True, Uploads(tmp_path, 2**20))
    assert status_of(guard, path, asked, "GET" if path in {"/", "/config"} else "POST") == status


def test_tries_at_the_password_are_slowed_down_after_five_and_in_all() -> None:
    wrong, right = answering(400), answering(200)
    guard = RequestGuard(wrong, False)
    login = {b"host": b"studio.lan"}
    assert [status_of(guard, "/login", login, "POST", "a") for _ in range(7)] == [400] * 5 + [429] * 2
    assert [status_of(guard, "/login/", login, "POST", f"b{n}") for n in range(16)] == [400] * 15 + [429]
    assert status_of(guard, "/", login, "GET", "a") == 400  # only the password's own page is slowed down
    guard.app = right
    assert status_of(guard, "/login", login, "POST", "c") == 429


def answering(status: int) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})

    return app


def status_of(
    guard: RequestGuard, path: str, given: dict[bytes, bytes], method: str, address: str = "a"
) -> int:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "path": path, "method": method, "client": (address, 1)}
    asyncio.run(guard({**scope, "headers": list(given.items())}, None, send))
    return int(sent[0]["status"])
