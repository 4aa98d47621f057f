"""A web server on 127.0.0.1 that serves result pages and pictures of every bad kind; for the tests."""

from __future__ import annotations

import contextlib
import html
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np
from PIL import Image

Answer = tuple[int, dict[str, str], bytes]


class Web:
    """The server's content and what was asked of it."""

    def __init__(self) -> None:
        self.address = ""
        self.asked: Counter[str] = Counter()
        self.paths: dict[str, Callable[[], Answer]] = {}
        self.results: list[str] = []
        self.result_page: Callable[[int, int], bytes] = self._results
        self.searches: list[dict[str, list[str]]] = []

    def picture(self, path: str, index: int, px: int = 64, kind: str = "PNG", noise: bool = True) -> str:
        """Serve a picture and return its address."""
        content = encoded(index, px, kind, noise)
        self.paths[path] = lambda: (200, {"Content-Type": f"image/{kind.lower()}"}, content)
        return self.address + path

    def answer(self, path: str, status: int, content: bytes = b"", **headers: str) -> str:
        """Serve any answer and return its address."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        self.paths[path] = lambda: (status, named, content)
        return self.address + path

    def _results(self, first: int, count: int) -> bytes:
        return result_page(self.results[first - 1 : first - 1 + count])


def encoded(index: int, px: int = 64, kind: str = "PNG", noise: bool = True) -> bytes:
    """A picture of random fields, as a file."""
    random = np.random.default_rng(index)
    fields = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(fields).resize((px, px), Image.Resampling.NEAREST)
    file = io.BytesIO()
    picture.save(file, format=kind)
    return file.getvalue()


def result_page(addresses: list[str]) -> bytes:
    """A page of results in the form of the search."""
    if not addresses:
        return b""
    facts = [
        json.dumps({"murl": a, "purl": f"http://pages.example/{i}", "t": f"title {i}"}, separators=(",", ":"))
        for i, a in enumerate(addresses)
    ]
    links = "".join(f'<li><a class="iusc" m="{html.escape(fact)}" href="#">x</a></li>' for fact in facts)
    return f"<html><body><ul>{links}</ul></body></html>".encode()


@contextlib.contextmanager
def web_server() -> Iterator[Web]:
    """Serve until the block ends."""
    web = Web()
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            web.asked[url.path] += 1
            if url.path == "/search":
                query = parse_qs(url.query)
                web.searches.append(query)
                page = web.result_page(int(query["first"][0]), int(query["count"][0]))
                return self._send(200, {"Content-Type": "text/html"}, page)
            if url.path == "/endless":
                return self._endless()
            if url.path == "/slow":
                return self._slow()
            answer = web.paths.get(url.path)
            if answer is None:
                return self._send(404, {}, b"nothing here")
            return self._send(*answer())

        def _send(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

        def _endless(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while not stopped.is_set():
                    self.wfile.write(b"x" * 65536)

        def _slow(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                while not stopped.wait(0.05):
                    self.wfile.write(b"x")
                    self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    web.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        time.sleep(0)
