"""What keeps the page on this machine and other pages out: rules for the browser, and a look at who asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

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


class Guard:
    """Adds the policy to every answer, and refuses requests that other pages send.

    A page elsewhere can make a browser send requests here, or give a name of its own to this machine's
    address; both show in the request's headers.

    Args:
        app: The application behind.
        is_local: Whether the studio listens at this machine's own address only.
    """

    def __init__(self, app: Application, is_local: bool) -> None:
        self.app = app
        self.is_local = is_local

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
        if not is_welcome(dict(scope.get("headers", [])), is_local=self.is_local):
            start = {
                "type": "http.response.start",
                "status": 403,
                "headers": [(b"content-type", b"text/plain")],
            }
            await send(start)
            await send({"type": "http.response.body", "body": b"This studio answers its own page only."})
            return

        if self.is_local:  # nothing is far: to pack an answer costs more than to send it
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]

        async def send_with_policy(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                named = {name for name, _ in HEADERS}
                kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in named]
                message["headers"] = [*kept, *HEADERS]
            await send(message)

        await self.app(scope, receive, send_with_policy)


def is_welcome(headers: dict[bytes, bytes], *, is_local: bool) -> bool:
    """Whether a request comes from the studio's own page, or from no page at all.

    Args:
        headers: The request's headers, names in small letters.
        is_local: Whether the studio listens at this machine's own address only.

    Returns:
        False where another page sent it, or the studio was called by a name that is not this machine's.
    """
    called = urlsplit(f"//{headers.get(b'host', b'').decode('latin-1')}")
    if is_local and called.hostname not in LOCAL_NAMES:
        return False
    origin = headers.get(b"origin", b"").decode("latin-1")
    return not origin or urlsplit(origin).netloc == called.netloc
