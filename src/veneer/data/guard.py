"""Connections that cannot be led into the local network.

A name is resolved once, every address is looked at, and the connection goes to the very address that was
looked at: a name that resolves to something else a moment later gains nothing. That holds for each redirect.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpcore
import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")
"""Where the open internet's IPv6 addresses lie; the rest is local, reserved or out of use."""

_SERVICES = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("168.63.129.16/32"))
"""Services of clouds to their own machines, which Python's table takes for public."""


class AddressRefused(Exception):  # noqa: N818 - it is a refusal
    """A name that resolves to an address that must not be reached."""


def is_public(address: Address) -> bool:
    """Whether an address belongs to the open internet.

    Args:
        address: IPv4 or IPv6; one that carries another inside is judged by that one.

    Returns:
        False for private, loopback, link-local (with it the clouds' metadata service), shared, reserved and
        multicast addresses.
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address.teredo is not None:
            inner = address.teredo[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address not in _GLOBAL_IPV6:
            return False
    is_service = any(address in network for network in _SERVICES)
    return address.is_global and not address.is_multicast and not is_service


def addresses_of(host: str, port: int) -> list[str]:
    """Look up the addresses of a host.

    Args:
        host: Name or address.

    Raises:
        OSError: If there are none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class Guard(httpcore.NetworkBackend):
    """Opens connections to allowed addresses only, and lets none of them outlive its time.

    Attributes:
        is_allowed: Which addresses may be reached.
        resolve: How names are looked up.
        seconds: Longest that one connection is used, in seconds.
    """

    is_allowed: Callable[[Address], bool] = is_public
    resolve: Resolve = addresses_of
    seconds: float = 60.0

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to a host.

        Args:
            host: Name or address.
            timeout: Longest wait, in seconds.
            local_address: Address of this machine to connect from.

        Returns:
            The connection.

        Raises:
            AddressRefused: If any of the host's addresses must not be reached.
            ConnectError: If the host is not found, or does not answer.
        """
        try:
            addresses = self.resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} is not found: {error}") from error
        for address in addresses:
            if not self.is_allowed(ipaddress.ip_address(address.partition("%")[0])):
                raise AddressRefused(f"{host} leads to {address}, which is not a public address")
        stream = self._connect_first(addresses, port, timeout, local_address, socket_options)
        return _TimedStream(stream, time.monotonic() + self.seconds)

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """Refuse a local socket.

        Raises:
            AddressRefused: Always.
        """
        raise AddressRefused(f"{path} is a local socket")

    def sleep(self, seconds: float) -> None:
        """Wait.

        Args:
            seconds: How long.
        """
        time.sleep(seconds)

    def _connect_first(
        self,
        addresses: list[str],
        port: int,
        timeout: float | None,
        local_address: str | None,
        socket_options: Iterable[Any] | None,
    ) -> httpcore.NetworkStream:
        backend = httpcore.SyncBackend()
        for address in addresses[:-1]:
            try:
                return backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue  # often an IPv6 address on a machine without IPv6
        return backend.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)


class _TimedStream(httpcore.NetworkStream):
    """A connection whose reads end at a deadline, however slowly the other side drips."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        secure = self._stream.start_tls(ssl_context, server_hostname, self._left(timeout))
        return _TimedStream(secure, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _left(self, timeout: float | None) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time for this file is up")
        return left if timeout is None else min(left, timeout)


class GuardedTransport(httpx.BaseTransport):
    """What httpx sends its requests through: each on a connection of its own, opened by a `Guard`.

    Args:
        guard: Opens the connections.
        connections: Most at a time.
    """

    def __init__(self, guard: Guard, connections: int) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=connections,
            max_keepalive_connections=0,  # the deadline belongs to one file
            network_backend=guard,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Args:
            request: The request, with its body.

        Returns:
            The response, its body not read yet.
        """
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                url,
                headers=request.headers.raw,
                content=request.read(),
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions
        )

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()
