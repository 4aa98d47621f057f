from __future__ import annotations

import json
from pathlib import Path

import pytest

from veneer.errors import RunError
from veneer.records.files import write_json
from veneer.records.metrics import Metrics, known_metrics
from veneer.records.run import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path)


def test_words_of_older_files_are_read_at_every_size() -> None:
    old = {
        "verdict": "no different",
        "reasons": ["a"],
        "at_native": {"verdict": "no different", "reasons": []},
    }
    now = Metrics.model_validate(old)
    assert now.at_native is not None
    assert (now.verdict, now.at_native.verdict, now.headline) == ("not shown", "not shown", "")


def test_keys_are_written_as_they_were_read_and_no_others(run: RunDir) -> None:
    found = {
        "verdict": "better",
        "reasons": [],
        "measures": {"style": None},
        "seeds": [0, 1],
        "further": [1.5],
    }
    write_json(run.root / "expected.json", found)
    Metrics.model_validate(found).write(run.metrics_json)
    assert run.metrics_json.read_bytes() == (run.root / "expected.json").read_bytes()
    assert Metrics.of(run).model_dump()["further"] == [1.5]


def test_a_missing_one_and_a_damaged_one_are_told_apart(run: RunDir) -> None:
    assert known_metrics(run) is None
    with pytest.raises(RunError, match="nothing was compared yet"):
        Metrics.of(run)
    for text in ('{"verdict": "better"', '{"verdict": 1, "reasons": []}', '["verdict"]'):
        run.metrics_json.parent.mkdir(exist_ok=True)
        run.metrics_json.write_text(text)
        assert known_metrics(run) is None
        with pytest.raises(RunError, match=r"metrics\.json is damaged"):
            Metrics.of(run)


def test_what_compare_adds_stands_where_it_stood(run: RunDir) -> None:
    found = {
        "verdict": "better",
        "reasons": [],
        "copies": None,
        "targets": [],
        "at_native": None,
        "scale": 0.8,
    }
    Metrics.model_validate(found).write(run.metrics_json)
    assert list(json.loads(run.metrics_json.read_text("utf-8"))) == list(found)
