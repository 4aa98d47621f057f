"""Results on stdout."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from veneer.cli.output import print_result
from veneer.records.candidates import Candidate


@dataclass(frozen=True)
class Result:
    chosen: Candidate
    path: Path
    summary: str = "one line"


def test_a_result_is_one_json_object_with_its_records_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_result(Result(Candidate(step=3, kind="ema", loss=0.5, losses=(0.5,)), Path("a")), as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["chosen"]["losses"] == [0.5]
    assert (shown["chosen"]["kind"], shown["path"]) == ("ema", "a")


def test_or_its_summary_or_what_is_said_in_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    result = Result(Candidate(step=3, kind="ema", loss=0.5), Path("a"))
    print_result(result, as_json=False)
    print_result(result, as_json=False, words="other words")
    assert capsys.readouterr().out == "one line\nother words\n"
