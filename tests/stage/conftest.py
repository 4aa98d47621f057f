"""Every processor counts as one that has bf16, so that the same is tested everywhere: torch converts."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.captioning import Scripted
from helpers.tiny import tiny_pictures
from veneer.captions import describing
from veneer.records.dataset import Dataset
from veneer.stages import train
from veneer.stages.collect import collect
from veneer.training.machine_limits import this_machine


@pytest.fixture(autouse=True)
def processor_with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = dataclasses.replace(this_machine(), has_bf16=True)
    monkeypatch.setattr(train, "this_machine", lambda: machine)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Six pictures without a caption."""
    folder = tiny_pictures(tmp_path / "source", 6)
    collect([str(folder)], tmp_path / "set")
    return Dataset(tmp_path / "set")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scripted]:
    """What puts a captioner with words of the test in the place of any other."""

    def install(first: list[str], again: list[str] | None = None) -> Scripted:
        captioner = Scripted(first, again)
        monkeypatch.setattr(describing, "load_captioner", lambda *_: captioner)
        return captioner

    return install
