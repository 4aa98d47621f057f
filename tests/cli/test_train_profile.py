"""`veneer train RUN --profile`: a table on stderr, files in the run, an error where there is none."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from veneer import pipeline
from veneer.cli import exit_status
from veneer.events import OnEvent, StepEvent
from veneer.outcomes import StageOutcome


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Stands for the stage: as many steps as it is told, each a matrix product."""

    def train(steps: int) -> None:
        def run_stage(name: str, folder: Path, *, on_event: OnEvent) -> StageOutcome:
            for number in range(1, steps + 1):
                torch.ones(16, 16) @ torch.ones(16, 16)
                on_event(StepEvent(number, 0.1, 1e-4, 1.0, 1.0, 2.0, 0.5))
            return StageOutcome(name, "trained", 1.0, 0.1, False)

        monkeypatch.setattr(pipeline, "run_stage", run_stage)

    return train


def test_profile_is_written_and_shown(
    training: Callable[[int], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training(6)
    assert exit_status(["train", str(tmp_path), "--profile"]) == 0
    said = capsys.readouterr()
    assert said.out == "trained\n"
    assert "| matrix products |" in said.err
    assert (tmp_path / "train" / "profile" / "trace.json").is_file()
    assert "aten::mm" in (tmp_path / "train" / "profile" / "profile.md").read_text()


def test_too_few_steps_for_a_profile(
    training: Callable[[int], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training(3)
    assert exit_status(["train", str(tmp_path), "--profile"]) == 1
    assert "5 steps" in capsys.readouterr().err
