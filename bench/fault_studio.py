"""Every handler and every address of the studio, asked with values and bytes of any kind.

What there is to ask is read from the page itself, so that a new handler or address is asked too.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import io
import json
import math
import os
import random
import shutil
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import uvicorn
from PIL import Image

from bench.fault_files import damaged
from bench.faults import Slice, WrongError
from veneer.errors import VeneerError
from veneer.recipe import resolve, to_toml
from veneer.records.files import write_json

OURS = f"{os.sep}veneer{os.sep}"
FINISHED = Path(__file__).parent.parent / "tests" / "golden" / "run-0.1.0"
READ = {".json", ".jsonl", ".toml", ".csv", ".html", ".txt", ".md"}
HANDLERS_A_FILE = 8
BUG = "a bug of ours"
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**30, 1e308, math.nan, math.inf, "", " ", ".", "..", "/", "\0", "a\0b",
    "\x1b[2J", "é" * 300, "a" * 70_000, "\ud800", "none", "NaN", "[" * 5_000, "1" * 5_000, "<script>",
    "{{7*7}}", "%s", "a/b", "../runs", "CON", "-x", [], [[]], [None], {}, {"a": 1}, {"path": "/etc/passwd"},
    {"__type__": "update"}, [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}],
    ["dots", ["images/1.png"]], ["dots", [7]], ["../..", ["images/1.png"]], ["dots", "images/1.png"],
    [["dots"], []], {"key": [1]}, "x = [", "bing:", "hf:", "urls:", "urls:/dev/zero", "pocket", "pocket-8bit",
)  # fmt: skip
USUAL = {
    "dataset-name": "dots", "dataset-captioner": "none", "recipe-start": "pocket-8bit",
    "recipe-name": "mine", "recipe-dataset": "dots", "train-recipe": "mine", "train-shown": "first",
    "compare-run": "first", "compare-prompts": "a", "compare-seeds": "0", "compare-steps": "1",
    "compare-scale": 1, "dataset-shown": ["dots", ["images/1.png"]], "compare-rows": [],
    "runs-one": "first", "runs-other": "first", "runs-doomed": "nothing",
}  # fmt: skip
"""What stands in the fields that matter, so that a handler comes to its work."""


@dataclass(frozen=True)
class Page:
    """The studio's page and its server.

    Attributes:
        root: The workspace.
        functions: Every handler of the page that runs here.
        routes: Every address with its methods.
        port: Port of the server, at 127.0.0.1.
        session: What Gradio keeps of a person who opens the page.
    """

    root: Path
    blocks: Any
    functions: list[Any]
    routes: list[tuple[str, str]]
    port: int
    session: Any


def open_page(folder: Path) -> Page:
    """A studio on a workspace with a data set, a recipe and a run, and its server in a thread."""
    from gradio.state_holder import SessionState

    from veneer.web.app import build_page
    from veneer.web.jobs.queue import JobBook
    from veneer.web.server.limits import Uploads
    from veneer.web.server.server import application
    from veneer.web.studio import Studio
    from veneer.web.workspace import Workspace

    place = Workspace(folder.resolve() / "workspace")
    shutil.rmtree(place.root, ignore_errors=True)
    place.create()
    (place.datasets / "dots" / "images").mkdir(parents=True)
    for number in range(1, 5):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(place.datasets / f"dots/images/{number}.png")
    (place.recipes / "mine.toml").write_text(to_toml(resolve({})))
    shutil.copytree(FINISHED, place.run("first").root)
    (place.private / "jobs" / "first").mkdir(parents=True)
    write_json(
        place.private / "jobs" / "first" / "job.json",
        {"name": "first", "recipe": "mine", "out": "runs/first"},
    )
    mock.patch.object(JobBook, "_start", lambda *_: None).start()  # no run is begun in a bench of the page
    mock.patch("veneer.training.plan.plan_for", _refuse).start()
    blocks = build_page(Studio(place, JobBook(place)))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    app = application(
        blocks, "127.0.0.1", port, password="", uploads=Uploads(place.private / "uploads"), looks={}
    )
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical", ws="none"))
    threading.Thread(target=server.run, daemon=True).start()
    functions = [function for function in blocks.fns.values() if function.fn]
    routes = sorted(_routes(app.routes))
    page = Page(place.root, blocks, functions, routes, port, SessionState(blocks))
    while not server.started:
        time.sleep(0.05)
    return page


def try_handler(page: Page, number: int) -> str:
    """Call one handler as the page's server does, with odd values in some of its fields.

    Raises:
        WrongError: If it fails as only a mistake of ours does.
    """
    chance = random.Random(number)
    function = page.functions[number % len(page.functions)]
    values = [_usual(part) for part in function.inputs]
    for at in chance.sample(range(len(values)), min(len(values), chance.choice([1, 1, 2, 9]))):
        values[at] = chance.choice(ODD_VALUES)
    said = _called(page, function, values, chance)
    if BUG in said:
        raise WrongError(f"{_name(function)}{values!r:.300}: {said[said.index(BUG) :][:200]}")
    return "answered" if said else "refused"


def _called(page: Page, function: Any, values: list[Any], chance: random.Random) -> str:
    """What a handler gives, as text; empty where the values are refused."""
    from gradio.exceptions import Error

    with contextlib.chdir(page.root), contextlib.redirect_stderr(io.StringIO()):
        try:
            return asyncio.run(_process(page, function, values, _session(page), chance)) or " "
        except Error:
            return ""
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            is_ours = any(OURS in one.filename and "site-packages" not in one.filename for one in frames)
            if is_ours or any(one.name == "postprocess_data" for one in frames):
                raise
            return ""


def _session(page: Page) -> Any:
    """A person's session as it begins; made anew for each case it would take most of the time."""
    session = copy.copy(page.session)
    session.blocks_config, session.state_data, session._state_ttl = (
        copy.copy(page.blocks.default_config),
        {},
        {},
    )
    return session


async def _process(page: Page, function: Any, values: list[Any], state: Any, chance: random.Random) -> str:
    from gradio.events import EventData

    event = EventData(None, {"value": chance.choice(ODD_VALUES), "index": chance.choice(ODD_VALUES)})
    iterator, said = None, ""
    for _ in range(200):
        given = await page.blocks.process_api(
            function, values, state=state, iterator=iterator, event_data=event, in_event_listener=True
        )
        said += str(given["data"])
        iterator = given.get("iterator")
        if not given["is_generating"]:
            break
    return said


def try_damage(page: Page, number: int) -> str:
    """Damage one file of the workspace that a person can damage, and let handlers read it.

    Raises:
        WrongError: If one fails as only a mistake of ours does.
    """
    chance = random.Random(number)
    files = sorted(path for path in page.root.rglob("*") if path.suffix in READ and not path.is_symlink())
    path = files[number % len(files)]
    whole = path.read_bytes()
    try:
        path.write_bytes(odd_content(whole, path.suffix, chance))
        for function in chance.sample(page.functions, HANDLERS_A_FILE):
            values = [_usual(part) for part in function.inputs]
            said = _called(page, function, values, chance)
            if BUG in said:
                about = f"{path.relative_to(page.root)} as {path.read_bytes()[:150]!r}"
                raise WrongError(f"{_name(function)} of {about}: {said[said.index(BUG) :][:200]}")
    finally:
        path.write_bytes(whole)
    return "answered"


def odd_content(whole: bytes, suffix: str, chance: random.Random) -> bytes:
    """A file as a person, a kill or another program may leave it."""
    if chance.random() < 0.3 or suffix not in {".json", ".jsonl"}:
        odd = (
            b"",
            b"[]",
            b"null",
            b"7",
            b'"x"',
            b"{}",
            b"[" * 100_000,
            b"1" * 5_000,
            b"\xff\xfe\x00",
            b"{",
            b"\0" * 9,
        )
        return chance.choice(odd) if chance.random() < 0.5 else damaged(whole or b"x", chance)
    lines = whole.decode("utf-8").splitlines() if suffix == ".jsonl" else [whole.decode("utf-8")]
    if not lines:
        return b"x"
    at = chance.randrange(len(lines))
    value = json.loads(lines[at])
    _change(value, chance)
    lines[at] = json.dumps(value)
    return "\n".join(lines).encode()


def _change(value: Any, chance: random.Random) -> None:
    """Put something odd in the place of one part of a value, at any depth."""
    inside = [one for one in _children(value) if isinstance(value[one], dict | list) and value[one]]
    if inside and chance.random() < 0.7:
        _change(value[chance.choice(inside)], chance)
    elif places := _children(value):
        at = chance.choice(places)
        if isinstance(value, dict) and chance.random() < 0.2:
            del value[at]
        else:
            value[at] = chance.choice(ODD_VALUES)


def _children(value: Any) -> list[Any]:
    return (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )


def try_route(page: Page, number: int) -> str:
    """Ask one address of the server with odd names, headers and bodies.

    Raises:
        WrongError: If it answers with a fault of the server, or not at all.
    """
    chance = random.Random(number)
    method, path = page.routes[number % len(page.routes)]
    asked = odd_request(method, path, page.port, chance)
    is_whole = chance.random() < 0.85
    began = time.monotonic()
    answer = _ask(page.port, asked if is_whole else damaged(asked, chance), is_whole=is_whole)
    status = answer[9:12].decode("ascii", "replace")
    if status.startswith("5"):
        raise WrongError(f"{asked[:200]!r} gives {answer[:300]!r}")
    if not answer and time.monotonic() - began > 30:
        raise WrongError(f"{asked[:200]!r} is not answered")
    if b"root:" in answer or b"SECRET" in answer:
        raise WrongError(f"{asked[:200]!r} gives a file away")
    return f"answered {status}" if answer else "cut off"


ODD_NAMES = (
    *("x", "%00", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "http://127.0.0.1:1/", "%ff", "a" * 3_000, "-1"),
    *("1", "%7B", "\x01"),
)
ODD_QUERIES = (
    *("", "", "?session_hash=x", "?session_hash=%00", "?a=%ff&a", "?" + "a=1&" * 900, "?page=x"),
    *("?fn_index=1", "?__theme=dark"),
)
ODD_BODIES = (
    *(b"", b"null", b"[]", b"{}", b'"x"', b"[" * 9_000, b"1" * 5_000, b"\xff\xfe", b'{"data": null}'),
    b'{"data": [[]], "fn_index": 10000000000}',
    b'{"data": {"a": 1}, "fn_index": 0, "session_hash": "x"}',
    b'{"data": [], "fn_index": -1, "session_hash": null}',
    b'{"event_data": 1, "data": [], "fn_index": 1, "session_hash": "\\ud800", "trigger_id": "x"}',
    b'{"session_hash": {}, "component_id": 1e999, "fn_name": "__class__", "data": 0}',
    b'--l\r\nContent-Disposition: form-data; name="files"; filename="../../x.png"\r\n\r\nx\r\n--l--\r\n',
    *(b"--l\r\n\r\n", b"username=veneer&password=x"),
)
ODD_KINDS = (
    *(b"application/json", b"multipart/form-data; boundary=l", b"multipart/form-data", b"text/plain"),
    *(b"\xff", b"application/x-www-form-urlencoded"),
)
ODD_HEADERS = (
    *(b"A: b", b"Range: bytes=9-1,a", b"Cookie: " + b"a=\x01; " * 50, b"Authorization: Basic \xff"),
    *(
        b"X-Forwarded-Host: [",
        b"Origin: http://[",
        b"Expect: x",
        b"If-None-Match: \xff",
        b"X-Gradio-User: \xff",
    ),
    *(b"Accept-Language: " + b"a," * 900, b"Upgrade: h2c"),
)


def odd_request(method: str, path: str, port: int, chance: random.Random) -> bytes:
    """A request as bytes: an address that there is, filled with oddities."""
    named = "".join(chance.choice(ODD_NAMES) if one.startswith("{") else one for one in _pieces(path))
    body = chance.choice(ODD_BODIES)
    lines = [
        f"{method} {named}{chance.choice(ODD_QUERIES)} HTTP/1.1".encode("latin-1", "replace"),
        b"Host: 127.0.0.1:%d" % port,
        b"Content-Type: " + chance.choice(ODD_KINDS),
        b"Content-Length: %d" % len(body),
        b"Connection: close",
        chance.choice(ODD_HEADERS),
    ]
    return b"\r\n".join([*lines, b"", body])


def _ask(port: int, asked: bytes, *, is_whole: bool) -> bytes:
    """What the server answers first; an address that goes on for ever is left after a while."""
    with socket.create_connection(("127.0.0.1", port), timeout=40) as connection:
        try:
            connection.sendall(asked)
            if not is_whole:  # the server may wait for the rest
                connection.shutdown(socket.SHUT_WR)
            return connection.recv(2**16)
        except TimeoutError:
            return b""
        except OSError:
            return b""


def _pieces(path: str) -> Iterator[str]:
    rest = path
    while "{" in rest:
        before, _, rest = rest.partition("{")
        inside, _, rest = rest.partition("}")
        yield before
        yield "{" + inside
    yield rest


def _routes(routes: Any, before: str = "") -> Iterator[tuple[str, str]]:
    for route in routes:
        inner = getattr(route, "routes", None) or getattr(getattr(route, "app", None), "routes", None)
        if inner:
            yield from _routes(inner, before + getattr(route, "path", "").rstrip("/"))
        elif getattr(route, "path", ""):
            for method in {*(getattr(route, "methods", None) or {"GET"}), "POST"}:
                yield method, before + route.path


def _usual(part: Any) -> Any:
    if part.elem_id in USUAL:
        return USUAL[part.elem_id]
    kinds = {"JSON": 0, "Checkbox": True, "File": None, "UploadButton": None, "State": None}
    return kinds.get(type(part).__name__, getattr(part, "value", "") or "")


def _name(function: Any) -> str:
    return str(getattr(function, "name", "") or function.fn)


def _refuse(*_: Any) -> Any:
    raise VeneerError("not planned here")


SLICES = (
    Slice(
        "handlers",
        "every handler of the studio with odd values",
        3000,
        range(60),
        open_page,
        try_handler,
        300.0,
    ),
    Slice(
        "damage",
        "files of a workspace damaged, and handlers that read them",
        1000,
        range(4),
        open_page,
        try_damage,
        300.0,
    ),
    Slice(
        "routes",
        "every address of the studio's server with odd requests",
        2000,
        range(60),
        open_page,
        try_route,
        300.0,
    ),
)
