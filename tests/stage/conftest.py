"""Every processor counts as one that has bf16, so that the same is tested everywhere: torch converts."""

import dataclasses

import pytest

from veneer.stages import train


@pytest.fixture(autouse=True)
def processor_with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = dataclasses.replace(train.this_machine(), has_bf16=True)
    monkeypatch.setattr(train, "this_machine", lambda: machine)
