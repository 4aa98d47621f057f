"""Words changed in captions by the command line, as the page does it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.datasets import thirty_dots
from veneer.cli import exit_status
from veneer.config import Recipe
from veneer.records.dataset import Dataset
from veneer.records.run import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "run")
    thirty_dots(run.dataset)
    run.write_recipe(Recipe())
    return run


def test_words_are_found_and_replaced_in_a_run_and_in_a_data_set(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    change = ["--find", "red", "--replace-with", "blue", "--only", "images/00000*"]
    assert exit_status(["caption", str(run.root), *change, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"dataset": str(run.dataset), "changed": 9}
    assert exit_status(["caption", str(run.root), *change]) == 0
    assert capsys.readouterr().out == f"{run.dataset}: 9 captions changed\n"
    assert exit_status(["caption", str(run.dataset), "--find", "blue", "--replace-with", "green"]) == 0
    captions = [item.caption for item in Dataset(run.dataset).items()]
    assert ["green" in caption for caption in captions] == [False, *[True] * 9, *[False] * 20]


@pytest.mark.parametrize(
    "options",
    [
        ["--find", "red"],
        ["--replace-with", "blue"],
        ["--only", "images/*"],
        ["--find", "red", "--replace-with", "blue", "--overwrite"],
        ["--find", "red", "--replace-with", "blue", "--prefix", "a drawing of"],
    ],
)
def test_half_a_change_and_a_change_with_a_model_are_wrong_usage(
    options: list[str], run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    before = run.dataset.joinpath("metadata.csv").read_bytes()
    assert exit_status(["caption", str(run.root), *options]) == 2
    assert run.dataset.joinpath("metadata.csv").read_bytes() == before
    assert "--find" in capsys.readouterr().err
