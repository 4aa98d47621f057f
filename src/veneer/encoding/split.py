"""Which pictures are held out: by seed, and never a near copy of one that is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import ImageOps

from veneer.config import Recipe
from veneer.data.phash import near_pairs, perceptual_hash
from veneer.data.picture import load_picture
from veneer.encoding import STAGE
from veneer.errors import DatasetError
from veneer.events import Notice, OnEvent
from veneer.records.cache import Split
from veneer.records.dataset import MIN_PICTURES, Dataset, Item
from veneer.records.files import hash_file
from veneer.records.run import RunDir
from veneer.seeds import derive

FEW_PICTURES = 12
THREADS = 2


@dataclass(frozen=True)
class Picture:
    """A picture and the part that it plays.

    Attributes:
        item: Name and caption.
        split: Its part.
        sha256: Hash of its bytes.
        size: Width and height, upright, in pixels.
        hashes: Perceptual hashes of itself and its mirror image.
    """

    path: Path
    item: Item
    split: Split
    sha256: str
    size: tuple[int, int]
    hashes: tuple[int, int]


def read_pictures(run: RunDir, recipe: Recipe, on_event: OnEvent) -> list[Picture]:
    """Read a run's pictures and those of its prior, and hold some out.

    Returns:
        The pictures, in the order of the data set, prior ones last.

    Raises:
        DatasetError: If there are fewer than 4 pictures, or captions or pictures cannot be used.
    """
    items = Dataset(run.dataset).captioned_items()
    if len(items) < MIN_PICTURES:
        raise DatasetError(
            f"{len(items)} usable pictures are too few to train on",
            where=str(run.dataset),
            todo=f"Give at least {MIN_PICTURES}; ten or more make a style",
        )
    pictures = _read([(run.dataset / item.file_name, item) for item in items], "train")
    pictures = _hold_out(pictures, recipe, on_event)
    return pictures + _read(_prior_items(recipe, on_event), "prior")


def near_copies(hashes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Group pictures that are near copies of each other or of mirror images, directly or through others.

    Args:
        hashes: For each picture the perceptual hashes of itself and its mirror image.

    Returns:
        Groups of indices, every picture in one of them.
    """
    group = list(range(len(hashes)))
    both = [own for own, _ in hashes] + [mirrored for _, mirrored in hashes]
    for first, second, _ in near_pairs(both):
        group[_root(group, second % len(hashes))] = _root(group, first % len(hashes))
    members: dict[int, list[int]] = {}
    for index in range(len(group)):
        members.setdefault(_root(group, index), []).append(index)
    return list(members.values())


def held_out_count(num_pictures: int, share: float) -> int:
    """How many pictures to hold out.

    Args:
        num_pictures: Pictures of the data set.
        share: Share wanted, in [0, 1]; 0 for none.

    Returns:
        The share, at least 4 and at most half; a quarter where there are fewer than 12 pictures.
    """
    if share == 0:
        return 0
    if num_pictures < FEW_PICTURES:
        return max(1, num_pictures // 4)
    return min(max(4, round(num_pictures * share)), num_pictures // 2)


def hold_out(names: Sequence[str], groups: Sequence[Sequence[int]], count: int, seed: int) -> frozenset[int]:
    """Choose the pictures to hold out; a group of near copies goes in whole or not at all.

    Args:
        groups: Near copies, from `near_copies`.
        count: How many to hold out.

    Returns:
        Indices; fewer than ``count`` where the groups do not allow as many.
    """
    order = sorted(groups, key=lambda group: derive(seed, "held-out", 0, min(names[i] for i in group)))
    chosen: set[int] = set()
    for group in order:
        if len(chosen) + len(group) <= count:
            chosen.update(group)
    return frozenset(chosen)


def _hold_out(pictures: list[Picture], recipe: Recipe, on_event: OnEvent) -> list[Picture]:
    count = held_out_count(len(pictures), recipe.train.validation_share)
    names = [picture.item.file_name for picture in pictures]
    groups = near_copies([picture.hashes for picture in pictures])
    chosen = hold_out(names, groups, count, recipe.train.seed)
    if message := _message(len(pictures), count, len(chosen)):
        on_event(Notice(STAGE, "held-out", message))
    return [replace(p, split="held_out") if i in chosen else p for i, p in enumerate(pictures)]


def _message(num_pictures: int, wanted: int, held_out: int) -> str:
    if wanted == 0:
        return "train.validation_share = 0: nothing is held out, so the last checkpoint is taken unproven"
    if held_out < wanted:
        return (
            f"{held_out} of {wanted} pictures could be held out: the others are near copies of ones trained "
            "on. `veneer check --apply` sets near copies aside"
        )
    if num_pictures < FEW_PICTURES:
        return f"with {num_pictures} pictures only {held_out} are held out: their loss is a rough guide"
    return ""


def _prior_items(recipe: Recipe, on_event: OnEvent) -> list[tuple[Path, Item]]:
    items = [
        (Path(source) / item.file_name, replace(item, file_name=str(Path(source) / item.file_name)))
        for source in recipe.train.prior_sources
        for item in Dataset(Path(source)).items()
    ]
    bare = sum(not item.caption for _, item in items)
    if bare:
        message = f"{bare} of {len(items)} prior pictures have no caption and are trained with the empty one"
        on_event(Notice(STAGE, "prior-without-caption", message))
    return items


def _read(items: Sequence[tuple[Path, Item]], split: Split) -> list[Picture]:
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda pair: _read_one(pair[0], pair[1], split), items))


def _read_one(path: Path, item: Item, split: Split) -> Picture:
    picture = load_picture(path)
    hashes = perceptual_hash(picture), perceptual_hash(ImageOps.mirror(picture))
    return Picture(path, item, split, hash_file(path), picture.size, hashes)


def _root(group: list[int], index: int) -> int:
    while group[index] != index:
        group[index] = group[group[index]]
        index = group[index]
    return index
