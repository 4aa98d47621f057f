import ipaddress
from typing import Any

import httpcore
import pytest

from veneer.data.guard import AddressRefused, Guard, addresses_of, is_public

PRIVATE = [
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "192.0.0.192",
    "168.63.129.16",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::808:808",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
    "2001:0:808:808:0:0:80ff:fffe",
    "2001:db8::1",
    "5f00::1",
]
PUBLIC = [
    "8.8.8.8",
    "93.184.216.34",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_off_the_open_internet_are_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_open_internet_are_allowed(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0", "localhost"])
def test_numbers_that_the_system_takes_for_addresses_are_seen_through(host: str) -> None:
    with pytest.raises(AddressRefused, match="not a public address"):
        Guard().connect_tcp(host, 80)


def test_one_private_address_among_public_ones_refuses_the_name() -> None:
    guard = Guard(resolve=lambda host, port: ["93.184.216.34", "10.0.0.7"])
    with pytest.raises(AddressRefused, match=r"two\.example leads to 10\.0\.0\.7"):
        guard.connect_tcp("two.example", 80)


def test_a_name_is_looked_up_once_and_that_very_address_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    connected = []

    def connect(self: Any, host: str, *_: object) -> None:
        connected.append(host)
        raise httpcore.ConnectError("no network in the tests")

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    guard = Guard(resolve=lambda host, port: next(answers))
    with pytest.raises(httpcore.ConnectError):
        guard.connect_tcp("rebinding.example", 80)
    assert connected == ["93.184.216.34"]


def test_a_name_that_does_not_exist_is_no_connection() -> None:
    with pytest.raises(httpcore.ConnectError, match="not found"):
        Guard(resolve=lambda host, port: addresses_of("name.invalid", port)).connect_tcp("name.invalid", 80)


def test_local_sockets_are_refused() -> None:
    with pytest.raises(AddressRefused, match="local socket"):
        Guard().connect_unix_socket("/run/docker.sock")
