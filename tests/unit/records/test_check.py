from __future__ import annotations

from pathlib import Path

from veneer.records.check import CheckFile, FoundFault, known_check
from veneer.records.dataset import Dataset


def test_what_was_found_is_read_back_by_picture(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path)
    assert known_check(dataset) is None
    faults = (
        FoundFault(file_name="a.png", flag="blurred", reason="blurred: 3"),
        FoundFault(file_name="b.png", flag="exact-duplicate", reason="as a.png", other="a.png"),
        FoundFault(file_name="a.png", flag="dark", reason="dark: 0.1"),
    )
    found = CheckFile(
        pictures=2, resolution=512, counts={"dark": 1}, moved=0, notes=("one",), findings=faults
    )
    found.write(dataset.check_json)
    assert known_check(dataset) == found
    assert {name: [one.flag for one in ones] for name, ones in found.by_picture.items()} == {
        "a.png": ["blurred", "dark"],
        "b.png": ["exact-duplicate"],
    }


def test_a_damaged_one_is_none(tmp_path: Path) -> None:
    Dataset(tmp_path).check_json.write_text('{"findings": [{}]}')
    assert known_check(Dataset(tmp_path)) is None
