"""Pictures of base and tuned model, pair by pair, and what they look like through an embedder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from veneer.errors import RunError
from veneer.intervals import Array
from veneer.records.prompts import Kind, Prompt, Samples, prompts_in, read_prompts

if TYPE_CHECKING:
    from veneer.models.embedder import Embedder

FLAT_GREY = 1.0
"""Deviation of grey values, of 255, below which a picture has no content."""


@dataclass(frozen=True)
class Pair:
    """A prompt and a seed, drawn by both models.

    Attributes:
        kind: Where the prompt comes from.
        seed: The seed; None where the file's name does not tell.
        base: Picture of the base.
        tuned: Picture of the tuned model.
    """

    prompt: str
    kind: Kind
    seed: int | None
    base: Path
    tuned: Path


@dataclass(frozen=True)
class View:
    """All pairs through one embedder; rows of unit length.

    Attributes:
        base: Pictures of the base, shape (N, D).
        tuned: Pictures of the tuned model, shape (N, D).
        texts: Prompt of each pair, shape (N, D); None where the embedder reads no text.
        held_out: Held-out pictures, shape (H, D); H may be 0.
        training: Training pictures, shape (T, D); T may be 0.
    """

    base: Array
    tuned: Array
    texts: Array | None
    held_out: Array
    training: Array

    def cut(self, rows: Sequence[int]) -> View:
        """Only some of the pairs, beside the same held-out and training pictures."""
        kept = list(rows)
        texts = None if self.texts is None else self.texts[kept]
        return replace(self, base=self.base[kept], tuned=self.tuned[kept], texts=texts)


def find_pairs(base: Path, tuned: Path, prompts: Sequence[Prompt]) -> list[Pair]:
    """Pair the pictures of two folders by their names, ``P-SEED.png``.

    Args:
        base: Folder of the base's pictures.
        prompts: The prompt set.

    Returns:
        Pairs in the order of the names.

    Raises:
        RunError: If the folders do not hold the same pictures, or a name belongs to no prompt.
    """
    names = [{path.name for path in folder.glob("*.png")} for folder in (base, tuned)]
    if names[0] != names[1] or not names[0]:
        odd = sorted(names[0] ^ names[1])[:5]
        what = (
            f"the folders do not hold the same pictures: {', '.join(odd)}"
            if odd
            else "no pictures to compare"
        )
        raise RunError(what, where=f"{base}, {tuned}", todo="Draw both with the same prompts and seeds")
    by_index = {prompt.index: prompt for prompt in prompts}
    return [_pair(base, tuned, name, by_index) for name in sorted(names[0])]


def read_pairs(samples: Samples) -> list[Pair]:
    """Pair the pictures of a run, or of another folder with the same names.

    Returns:
        Pairs in the order of the names.

    Raises:
        RunError: If there is no prompt set, or the pictures do not fit it or each other.
    """
    return find_pairs(samples.of("base"), samples.of("tuned"), read_prompts(samples.prompts_json))


def prompts_beside(folder: Path) -> list[Prompt]:
    """Find the prompt set of a folder of pictures.

    Args:
        folder: A folder that `veneer generate` wrote, or ``samples/base`` of a run.

    Raises:
        RunError: If there is none.
    """
    inside = prompts_in(folder)
    return read_prompts(inside if inside.is_file() else prompts_in(folder.parent))


def view_pairs(
    embedder: Embedder, pairs: Sequence[Pair], held_out: Sequence[Path], training: Sequence[Path]
) -> View:
    """Look at all pictures through an embedder; each is read once.

    Args:
        embedder: The model.
        pairs: The pairs, N >= 1.

    Returns:
        Their features; those of pictures that are the same are the same, which a batch does not promise to
        the last bit.
    """
    n, h = len(pairs), len(held_out)
    files = [pair.base for pair in pairs] + [pair.tuned for pair in pairs] + [*held_out, *training]
    rows = embedder.image_features(files)
    texts = embedder.text_features([pair.prompt for pair in pairs])
    same = np.array([_is_identical(pair) for pair in pairs])
    tuned = np.where(same[:, None], rows[:n], rows[n : 2 * n])
    return View(rows[:n], tuned, texts, rows[2 * n : 2 * n + h], rows[2 * n + h :])


def count_identical(pairs: Sequence[Pair]) -> int:
    """Count pairs whose pictures are the same, pixel for pixel.

    Returns:
        How many.
    """
    return sum(map(_is_identical, pairs))


def _is_identical(pair: Pair) -> bool:
    return np.array_equal(_pixels(pair.base), _pixels(pair.tuned))


def count_broken(pairs: Sequence[Pair]) -> int:
    """Count tuned pictures that show nothing although the base's do.

    Returns:
        How many tuned pictures are of one colour throughout.
    """
    return sum(_is_flat(pair.tuned) and not _is_flat(pair.base) for pair in pairs)


def grey_values(path: Path) -> np.ndarray[Any, Any]:
    """Read a picture's brightness.

    Returns:
        Grey values, shape (H, W), in [0, 255].
    """
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"), float)


def _is_flat(path: Path) -> bool:
    return float(grey_values(path).std()) < FLAT_GREY


def _pixels(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(read_picture(path))


def read_picture(path: Path) -> Image.Image:
    """Read a picture in three colours.

    Raises:
        RunError: If it cannot be read.
    """
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError, UnidentifiedImageError) as error:
        raise RunError(
            f"the picture cannot be read: {error}", where=str(path), todo="Draw it again"
        ) from error


def _pair(base: Path, tuned: Path, name: str, prompts: dict[int, Prompt]) -> Pair:
    number, _, rest = name.removesuffix(".png").partition("-")
    prompt = prompts.get(int(number)) if number.isdecimal() else None
    if prompt is None:
        raise RunError("the picture belongs to no prompt", where=str(base / name), todo="Name it P-SEED.png")
    seed = int(rest) if rest.isdecimal() else None
    return Pair(prompt.prompt, prompt.kind, seed, base / name, tuned / name)
