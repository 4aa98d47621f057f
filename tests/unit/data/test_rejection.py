import json
import os
from pathlib import Path
from typing import Any

import pytest

from veneer.data import rejection
from veneer.data.findings import Finding
from veneer.data.rejection import bring_back, move_away
from veneer.errors import DatasetError
from veneer.records.dataset import Dataset, Item

NAMES = ("cats/1.png", "dogs/1.png", "images/1.png", "images/deep/1.png", "images/deep-1.png", "1.png")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"picture {name}")
        (tmp_path / name).with_suffix(".mask.png").write_text(f"mask {name}")
    folder = Dataset(tmp_path)
    folder.write_metadata([Item(name, f"caption {name}") for name in sorted(NAMES)])
    return folder


def reject(dataset: Dataset, *names: str) -> Any:
    return move_away(dataset, {name: [Finding(name, "by-hand", "left out")] for name in names})


def files(dataset: Dataset, *, without: Any = ("metadata.csv", "reasons.jsonl")) -> dict[str, str]:
    paths = (path for path in dataset.root.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(p.relative_to(dataset.root)): p.read_text() for p in paths if p.name not in without}


def test_pictures_of_one_name_all_go_and_all_come_back(dataset: Dataset) -> None:
    before, rows = files(dataset), dataset.metadata_csv.read_bytes()
    assert reject(dataset, *NAMES) == len(NAMES)
    assert sorted(files(dataset).values()) == sorted(before.values())
    assert bring_back(dataset) == len(NAMES)
    assert files(dataset) == before
    assert dataset.metadata_csv.read_bytes() == rows


def test_a_newer_file_is_never_replaced(dataset: Dataset) -> None:
    reject(dataset, "cats/1.png")
    (dataset.root / "cats/1.png").write_text("newer")
    told: list[Any] = []
    assert bring_back(dataset, on_event=told.append) == 0
    assert (dataset.root / "cats/1.png").read_text() == "newer"
    assert (dataset.root / "rejected/1.png").read_text() == "picture cats/1.png"
    assert "cats/1.png" in told[0].message
    assert "cats/1.png" not in {item.file_name for item in dataset.read_metadata()}
    (dataset.root / "cats/1.png").unlink()
    assert bring_back(dataset) == 1  # nothing is forgotten meanwhile
    assert {i.file_name: i.caption for i in dataset.read_metadata()}["cats/1.png"] == "caption cats/1.png"


def test_a_newer_file_that_is_rejected_too_keeps_the_older_one(dataset: Dataset) -> None:
    reject(dataset, "cats/1.png")
    (dataset.root / "cats/1.png").write_text("newer")
    reject(dataset, "cats/1.png")
    kept = [text for name, text in files(dataset).items() if name.startswith("rejected/")]
    assert {"newer", "picture cats/1.png"} <= set(kept)
    assert bring_back(dataset) == 1
    assert {"newer", "picture cats/1.png"} <= set(files(dataset).values())


@pytest.mark.parametrize("step", ["add_rejected", "_move"])
@pytest.mark.parametrize("after", range(4))
def test_a_kill_at_any_step_loses_nothing(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, step: str, after: int
) -> None:
    before, rows, count = files(dataset), dataset.metadata_csv.read_bytes(), 0
    real = getattr(rejection, step)

    def killed(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(rejection, step, killed)
    try:
        reject(dataset, *NAMES)
    except KeyboardInterrupt:
        monkeypatch.undo()
        reject(dataset, *(name for name in NAMES if (dataset.root / name).exists()))
    monkeypatch.undo()
    assert sorted(files(dataset).values()) == sorted(before.values())
    bring_back(dataset)
    assert (files(dataset), dataset.metadata_csv.read_bytes()) == (before, rows)


def test_a_caption_of_a_picture_that_is_gone_is_not_given_to_a_newer_one(dataset: Dataset) -> None:
    reject(dataset, "cats/1.png")
    (dataset.root / "rejected/1.png").unlink()
    (dataset.root / "cats/1.png").write_text("a newer picture")
    os.utime(dataset.root / "cats/1.png", ns=(1, 1))
    bring_back(dataset)
    assert "caption cats/1.png" not in {item.caption for item in dataset.read_metadata()}


@pytest.mark.parametrize("key", ["file", "file_name"])
@pytest.mark.parametrize("place", ["../out.png", "/tmp/out.png", "images/../../out.png", "link/out.png"])
def test_a_strangers_book_moves_nothing_out_of_the_data_set(dataset: Dataset, key: str, place: str) -> None:
    (dataset.root / "link").symlink_to(dataset.root.parent)
    line = {"stage": "check", "file": "rejected/a.png", "file_name": "b.png", "caption": "", key: place}
    dataset.rejected.mkdir()
    (dataset.rejected / "reasons.jsonl").write_text(json.dumps(line) + "\n")
    (dataset.rejected / "a.png").write_text("x")
    with pytest.raises(DatasetError, match="outside"):
        bring_back(dataset)


def test_books_of_other_tools_are_left_alone(dataset: Dataset) -> None:
    dataset.rejected.mkdir()
    (dataset.rejected / "reasons.jsonl").write_text('{"why": "other"}\n{"stage": "collect"}\n{"torn')
    assert reject(dataset, "cats/1.png") == 1
    assert bring_back(dataset) == 1
    assert (dataset.rejected / "reasons.jsonl").read_text() == '{"why": "other"}\n{"stage": "collect"}\n'
