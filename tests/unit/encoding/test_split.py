"""Which pictures are held out."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from helpers.training import recipe_for, write_dataset
from veneer.encoding.split import held_out_count, hold_out, near_copies, read_pictures
from veneer.errors import DatasetError
from veneer.events import Event, Notice, ignore
from veneer.records.run import RunDir


@pytest.mark.parametrize(
    ("pictures", "share", "expected"),
    [(4, 0.1, 1), (11, 0.1, 2), (12, 0.1, 4), (40, 0.1, 4), (100, 0.1, 10), (100, 0.0, 0), (20, 0.9, 10)],
)
def test_a_tenth_but_at_least_four_where_there_are_enough(pictures: int, share: float, expected: int) -> None:
    assert held_out_count(pictures, share) == expected


def test_near_copies_are_grouped_through_others_and_mirrors() -> None:
    far = 0xFFFF_0000_FFFF_0000
    mirrors = [0x3333_3333_3333_3333 ^ (0xFFFF << (12 * i)) for i in range(4)]
    alone = (0x0F0F_0F0F_0F0F_0F0F, mirrors[3])
    hashes = [(0, far), (0b111, mirrors[0]), (0b111111111, mirrors[1]), (far, mirrors[2]), alone]
    assert sorted(map(sorted, near_copies(hashes))) == [[0, 1, 2, 3], [4]]


def test_a_group_goes_in_whole_or_not_at_all() -> None:
    names = [f"{i}" for i in range(20)]
    groups = [[0, 1, 2], *([i] for i in range(3, 20))]
    for seed in range(30):
        chosen = hold_out(names, groups, 4, seed)
        assert len(chosen) == 4
        assert not chosen & {0, 1, 2} or {0, 1, 2} <= chosen


def test_a_near_copy_of_a_held_out_picture_is_never_trained_on(base_folder: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_dataset(run)
    for path in sorted((run.dataset / "images").glob("*.png")):
        with Image.open(path) as original:
            mirrored = original.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            mirrored.resize((60, round(60 * original.height / original.width))).save(
                path.with_stem(path.stem + "-copy")
            )
    recipe = recipe_for(base_folder)
    with pytest.raises(DatasetError, match="no caption"):
        read_pictures(run, recipe, ignore)
    from veneer.records.dataset import Dataset, Item

    dataset = Dataset(run.dataset)
    dataset.write_metadata([Item(name, "a city") for name in dataset.picture_names()])
    pictures = read_pictures(run, recipe, ignore)
    split: dict[str, set[str]] = {picture.item.file_name.replace("-copy", ""): set() for picture in pictures}
    for picture in pictures:
        split[picture.item.file_name.replace("-copy", "")].add(picture.split)
    assert all(len(parts) == 1 for parts in split.values())
    assert sum(picture.split == "held_out" for picture in pictures) == 4


def test_the_split_depends_on_the_seed_alone(base_folder: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_dataset(run)
    splits = []
    for seed in (0, 0, 1):
        recipe = recipe_for(base_folder, train={"seed": seed})
        splits.append([picture.split for picture in read_pictures(run, recipe, ignore)])
    assert splits[0] == splits[1] != splits[2]


@pytest.mark.parametrize(
    ("count", "share", "words"), [(6, 0.1, "rough guide"), (6, 0.0, "nothing is held out")]
)
def test_few_or_none_held_out_is_said(
    base_folder: Path, tmp_path: Path, count: int, share: float, words: str
) -> None:
    run = RunDir(tmp_path)
    write_dataset(run, count)
    events: list[Event] = []
    read_pictures(run, recipe_for(base_folder, train={"validation_share": share}), events.append)
    assert [words in e.message for e in events if isinstance(e, Notice)] == [True]


def test_three_pictures_are_too_few(base_folder: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_dataset(run, 3)
    with pytest.raises(DatasetError, match="3 usable pictures are too few"):
        read_pictures(run, recipe_for(base_folder), ignore)
