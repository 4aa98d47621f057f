"""The server behind the page: one socket, one process, until Ctrl-C."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI

from veneer.errors import VeneerError
from veneer.web.server.engine import gr
from veneer.web.server.guard import RequestGuard
from veneer.web.server.limits import Uploads

USER = "veneer"
MAX_UPLOAD_MIB = 25
MIN_PASSWORD = 8
SECONDS_TO_END = 2
"""Seconds that open pages have to end their requests."""


def check_access(host: str, password: str) -> None:
    """Refuse to be reachable from outside without a password.

    Args:
        password: The password; empty for none.

    Raises:
        VeneerError: If the address is not this machine's own and the password is missing or short.
    """
    if is_loopback(host) and not password:
        return
    if not password:
        raise VeneerError(
            "an address that others can reach needs a password",
            where=host,
            todo="Set the environment variable VENEER_PASSWORD, or leave --host out",
        )
    if len(password) < MIN_PASSWORD:
        raise VeneerError(
            "the password is too short",
            where="VENEER_PASSWORD",
            todo=f"Use at least {MIN_PASSWORD} characters",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.

    Args:
        host: A name or address.

    Returns:
        True for localhost and loopback addresses.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Take a port, so that nobody else can between asking and serving.

    Args:
        port: The port; 0 for a free one.

    Raises:
        VeneerError: If the port is in use, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # named, since asyncio sends small answers at once only where it sees the protocol: 40 ms each
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise VeneerError(
            f"cannot listen at {host}:{port}: {getattr(error, 'strerror', None) or error}",
            todo="Choose another port with --port, or --port 0 for a free one",
        ) from error
    return bound


def answer(
    page: Any,
    bound: socket.socket,
    *,
    password: str,
    uploads: Uploads,
    looks: dict[str, Any],
    on_ready: Callable[[str], None],
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        page: Gradio's blocks.
        password: Password of the user ``veneer``; empty for none.
        uploads: The folder of uploads.
        looks: Theme and styles, as Gradio takes them.
        on_ready: Called with the address when the page can be opened.

    Raises:
        KeyboardInterrupt: After Ctrl-C.
    """
    host, port = bound.getsockname()[:2]
    app = application(page, host, port, password=password, uploads=uploads, looks=looks)
    # no proxy is believed: whoever is on this machine could otherwise try passwords under any address
    config = uvicorn.Config(
        app, log_level="warning", ws="none", proxy_headers=False, timeout_graceful_shutdown=SECONDS_TO_END
    )
    logging.getLogger("uvicorn.error").addFilter(_is_no_farewell)
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    _Server(config, lambda: on_ready(address)).run(sockets=[bound])


def application(
    page: Any, host: str, port: int, *, password: str, uploads: Uploads, looks: dict[str, Any]
) -> FastAPI:
    """The page with everything that is asked before it: the guard, the limits, the password.

    Args:
        page: Gradio's blocks.
        password: Password of the user ``veneer``; empty for none.
        uploads: The folder of uploads.
        looks: Theme and styles, as Gradio takes them.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(RequestGuard, is_local=is_loopback(host), uploads=uploads)
    gr.mount_gradio_app(
        app, page, path="/", server_name=host, server_port=port, auth=(USER, password) if password else None,
        allowed_paths=[], max_file_size=f"{MAX_UPLOAD_MIB}mb", footer_links=[],
        run_history=False, show_error=True, ssr_mode=False, pwa=False, enable_monitoring=False,
        app_kwargs={"docs_url": None, "redoc_url": None}, **looks,
    )  # fmt: skip
    return app


def _is_no_farewell(record: logging.LogRecord) -> bool:
    """Whether a line of the log is worth showing: that open pages were cut off by Ctrl-C is not."""
    is_cut_off = record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not is_cut_off and "graceful shutdown" not in record.getMessage()


class _Server(uvicorn.Server):
    """A server that tells when it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            await asyncio.to_thread(self._on_ready)
