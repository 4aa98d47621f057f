"""What keeps the page on this machine and other pages out: rules for the browser, and a look at who asks."""

from __future__ import annotations

import math
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from veneer.text import shown
from veneer.web.server.limits import MAX_BODY_BYTES, MAX_UPLOAD_BYTES, Tries, Uploads

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "media-src 'self' data: blob:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "frame-src 'self' data: blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""The browser then fetches nothing from other hosts, whatever Gradio asks for."""

HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


UPLOAD_PATH, LOGIN_PATHS = "/gradio_api/upload", ("/login", "/login/")
SITES = frozenset({b"", b"same-origin", b"none"})
"""What a browser calls the page that asks (``Sec-Fetch-Site``): ours, a typed address, or an old browser."""


LONGEST_PIECE = 255
"""Bytes in a name of an address: no file has a longer one, and to look for it is an error of the system."""


class RequestGuard:
    """Adds the policy to every answer, refuses requests that other pages send, and holds to the limits.

    A page elsewhere can make a browser send requests here, or give a name of its own to this machine's
    address; both show in the request's headers.

    Args:
        app: The application behind.
        is_local: Whether the studio listens at this machine's own address only.
        uploads: The folder of uploads; None for none.
    """

    def __init__(self, app: Application, is_local: bool, uploads: Uploads | None = None) -> None:
        self.app = app
        self.is_local = is_local
        self._uploads = uploads
        self._tries = Tries()
        self._coming_bytes = 0  # of uploads that are on their way, side by side

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it.

        Args:
            scope: What is asked for.
            receive: Reads the request.
            send: Writes the answer.
        """
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        headers = dict(scope.get("headers", []))
        status, why = self._refusal(scope, headers)
        if status:
            await refuse(send, status, why)
            return
        if self.is_local:  # nothing is far: to pack an answer costs more than to send it
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
        coming = int(headers.get(b"content-length", b"0")) if scope.get("path") == UPLOAD_PATH else 0
        self._coming_bytes += coming
        try:
            await self._pass_on(scope, receive, send)
        finally:
            self._coming_bytes -= coming

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[int, str]:
        """Status and reason where a request is refused; 0 where it is not."""
        try:
            is_from_us = is_welcome(headers, is_local=self.is_local)
            length = int(headers.get(b"content-length", b"0"))
        except ValueError:
            return 400, "The request's headers make no sense."
        if not is_from_us or (is_foreign(headers) and not is_visit(scope, headers)):
            return 403, "This studio answers its own page only."
        if b"transfer-encoding" in headers:  # browsers say beforehand how much they send
            return 411, "Say how long the request is."
        if any(
            len(piece) > LONGEST_PIECE
            for piece in str(scope.get("path", "")).encode("utf-8", "replace").split(b"/")
        ):
            return 414, "That address is too long."
        if length > self._most(scope):
            return 413, "That is more than the studio takes at a time."
        wait = self._tries.wait(_address(scope)) if _is_login(scope) else 0.0
        return (429, f"Too many wrong passwords: wait {math.ceil(wait)} s.") if wait else (0, "")

    def _most(self, scope: Scope) -> int:
        if scope.get("path") != UPLOAD_PATH or self._uploads is None:
            return MAX_BODY_BYTES
        return min(MAX_UPLOAD_BYTES, self._uploads.room() - self._coming_bytes)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; one that the server behind fails at is refused, as it was none of the page's."""
        faults: list[MutableMapping[str, Any]] = []

        async def send_with_policy(message: MutableMapping[str, Any]) -> None:
            if faults or (message["type"] == "http.response.start" and message["status"] == 500):
                faults.append(message)
                return
            if message["type"] == "http.response.start":
                self._note_try(scope, message["status"])
                named = {name for name, _ in HEADERS}
                kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in named]
                message["headers"] = [*kept, *HEADERS]
            await send(message)

        try:
            await self.app(scope, receive, send_with_policy)
        except Exception as error:
            if not faults:
                raise
            asked = f"{scope.get('method')} {scope.get('path')}"
            print(shown(f"refused {asked[:200]}: {type(error).__name__}: {error}"), file=sys.stderr)
            faults.clear()
            await refuse(send, 400, "The request makes no sense to the studio.")
        for message in faults:
            await send(message)

    def _note_try(self, scope: Scope, status: int) -> None:
        if _is_login(scope):
            self._tries.note(_address(scope), is_right=status < 400)


async def refuse(send: Send, status: int, why: str) -> None:
    """Answer with a line of text.

    Args:
        send: Writes the answer.
        status: The answer's status.
    """
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": why.encode()})


def is_welcome(headers: dict[bytes, bytes], *, is_local: bool) -> bool:
    """Whether a request comes from the studio's own page, or from no page at all.

    Args:
        is_local: Whether the studio listens at this machine's own address only.

    Returns:
        False where another page sent it, or the studio was called by a name that is not this machine's.

    Raises:
        ValueError: If they make no sense.
    """
    called = urlsplit(f"//{headers.get(b'host', b'').decode('latin-1')}")
    called.port  # noqa: B018 - reading it looks at it
    if is_local and called.hostname not in LOCAL_NAMES:
        return False
    origin = headers.get(b"origin", b"").decode("latin-1")
    return not origin or urlsplit(origin).netloc == called.netloc


def is_foreign(headers: dict[bytes, bytes]) -> bool:
    """Whether the browser says that another site's page asks."""
    return headers.get(b"sec-fetch-site", b"").lower() not in SITES


def is_visit(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Whether somebody follows a link to the studio's page: nothing but the page itself is answered then."""
    is_page = scope.get("path") == "/" and scope.get("method") == "GET"
    return is_page and headers.get(b"sec-fetch-dest") == b"document"


def _is_login(scope: Scope) -> bool:
    return scope.get("path") in LOGIN_PATHS and scope.get("method") == "POST"


def _address(scope: Scope) -> str:
    return str((scope.get("client") or ("", 0))[0])
