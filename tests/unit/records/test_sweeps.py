"""A sweep's record may be a stranger's: its names lead nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from veneer.errors import RunError
from veneer.records.sweeps import SweepDir


@pytest.mark.parametrize("name", ["../../elsewhere", "/tmp", "", "001/x", "x" * 5000, "9" * 5000, None])
def test_a_trial_is_named_by_a_number_alone(tmp_path: Path, name: str | None) -> None:
    folder = SweepDir(tmp_path)
    folder.sweep_json.write_text(json.dumps({"recipe": {}, "trials": [{"name": name, "settings": {}}]}))
    with pytest.raises(RunError, match=r"sweep\.json is damaged: trials\.0\.name"):
        folder.known()


@pytest.mark.parametrize("beside", ["..", "../x", "/", "a/b", "x" * 300])
def test_the_bases_pictures_lie_in_the_sweep(tmp_path: Path, beside: str) -> None:
    folder, trial = SweepDir(tmp_path), {"name": "001", "settings": {}, "beside": beside}
    folder.sweep_json.write_text(json.dumps({"recipe": {}, "trials": [trial]}))
    with pytest.raises(RunError, match=r"sweep\.json is damaged: trials\.0\.beside"):
        folder.known()


def test_what_a_sweep_writes_is_read(tmp_path: Path) -> None:
    folder, trial = SweepDir(tmp_path), {"name": "012", "settings": {"lora.rank": "4"}, "beside": "3f2a9c"}
    folder.sweep_json.write_text(json.dumps({"recipe": {}, "trials": [trial]}))
    known = folder.known()
    assert known is not None
    assert folder.trial(known.trials[0].name).root == tmp_path / "trials" / "012"
