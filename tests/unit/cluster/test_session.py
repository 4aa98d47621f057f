"""A cluster that cannot be used is told of in seconds, with what to do."""

import socket
import sys
import time
from pathlib import Path

import pytest

from veneer.cluster.session import connected, refuse_machine
from veneer.errors import RunError
from veneer.versions import VERSION


def test_without_ray_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunError, match=r"veneer\[cluster\]"), connected("local", tmp_path):
        pass


@pytest.mark.parametrize("address", ["nowhere", "ray://", ":80", "host:", "host:port", "127.0.0.1:99999999"])
def test_what_is_no_address_is_refused(address: str, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    told = r"address of a cluster|no cluster answers"
    with pytest.raises(RunError, match=told), connected(address, tmp_path):
        pass


def test_an_address_at_which_nobody_listens_is_refused_at_once(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # taken, and nobody listens
        port, start = held.getsockname()[1], time.monotonic()
        told = rf"no cluster answers.*127\.0\.0\.1:{port}.*ray start"
        with pytest.raises(RunError, match=told), connected(f"127.0.0.1:{port}", tmp_path):
            pass
    assert time.monotonic() - start < 30


def test_a_machine_with_another_version_or_without_the_folder_is_named() -> None:
    with pytest.raises(RunError, match=r"has veneer 0\.0\.1.*node7.*same version"):
        refuse_machine("node7", "0.0.1", None)
    with pytest.raises(RunError, match=r"does not see /shared/run.*node7"):
        refuse_machine("node7", VERSION, Path("/shared/run"))
    refuse_machine("node7", VERSION, None)
