"""Models that tag pictures as booru sites do: SmilingWolf's WD family, run by ONNX Runtime on the CPU.

A folder or a repository of the hub holds ``model.onnx`` and ``selected_tags.csv``, a line for each output of
the model: ``tag_id,name,category,count``. Only the graph's own operators are run; no code comes with it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import snapshot_download
from numpy.typing import NDArray
from PIL import Image

from veneer.config import CaptionTable
from veneer.errors import CaptionerError
from veneer.hubnames import TAGGER_FILES, revision_of, split_revision
from veneer.text import spaced_tag

GENERAL, CHARACTER, RATING = "0", "4", "9"
"""Categories of tags; others, such as artists, are left out."""
THRESHOLD, CHARACTER_THRESHOLD = 0.35, 0.85
"""Least probabilities, of the models' own demonstration."""
LARGEST_MODEL, LARGEST_LIST = 4 << 30, 16 << 20
"""Bytes of a model and of a list beyond which neither is opened; the largest of the family has 1.3 GB."""
LONGEST_TAG = 200
SIDES_PX = range(32, 1025)
"""Sides of the picture that a model may ask for; 448 px in the family."""


@dataclass(frozen=True)
class Tag:
    """What one output of a model says.

    Attributes:
        name: As the list spells it, such as ``long_hair``.
        category: `GENERAL`, `CHARACTER`, `RATING` or another.
    """

    name: str
    category: str


@dataclass(frozen=True)
class Tagger:
    """A model that tags pictures.

    Attributes:
        session: ONNX Runtime's session.
        tags: One for each output, in its order.
        side_px: Side of the square picture that it looks at.
        caption: Thresholds, and whether ratings are kept.
    """

    session: Any
    tags: Sequence[Tag]
    side_px: int
    caption: CaptionTable

    def describe(self, pictures: Sequence[Image.Image]) -> list[str]:
        """Tag pictures.

        Args:
            pictures: RGB pictures of any size.

        Returns:
            For each its tags, parted by commas: characters, what is seen, and a rating where it is asked for,
            each the likeliest first; underscores are spaces but in faces such as ^_^.

        Raises:
            CaptionerError: If the model says no number for each tag.
        """
        said = (
            self._said(prepared(one, self.side_px)) for one in pictures
        )  # older models take one at a time
        return [", ".join(self._chosen(numbers)) for numbers in said]

    def _said(self, picture: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the model says, whatever shape and type it promised."""
        try:
            (said,) = self.session.run(None, {self.session.get_inputs()[0].name: picture})
            numbers = np.asarray(said, np.float64).reshape(-1)
        except Exception as error:  # ONNX Runtime's own kinds of error have no base but Exception
            raise _no_tagger(Path(self.caption.model), _reason(error)) from error
        if len(numbers) != len(self.tags) or not np.isfinite(numbers).all():
            what = f"it says no number for each of its {len(self.tags)} tags"
            raise _no_tagger(Path(self.caption.model), what)
        return numbers

    def _chosen(self, said: NDArray[np.float64]) -> Iterator[str]:
        asked = self.caption
        general = THRESHOLD if asked.tag_threshold is None else asked.tag_threshold
        character = CHARACTER_THRESHOLD if asked.character_threshold is None else asked.character_threshold
        for category, least in ((CHARACTER, character), (GENERAL, general)):
            yield from (
                spaced_tag(self.tags[k].name) for k in self._ranked(said, category) if said[k] >= least
            )
        ratings = self._ranked(said, RATING)
        if asked.tag_rating and ratings:
            yield f"rating:{self.tags[ratings[0]].name}"

    def _ranked(self, said: NDArray[np.float64], category: str) -> list[int]:
        """Outputs of a category, the likeliest first."""
        own = [number for number, tag in enumerate(self.tags) if tag.category == category]
        return sorted(own, key=lambda number: (-said[number], number))


def prepared(picture: Image.Image, side_px: int) -> NDArray[np.float32]:
    """A picture as the family looks at it: white around it to a square, blue first, 0 to 255.

    Returns:
        Shape (1, side, side, 3).
    """
    longest = max(picture.size)
    square = Image.new("RGB", (longest, longest), "white")
    square.paste(picture.convert("RGB"), ((longest - picture.width) // 2, (longest - picture.height) // 2))
    if longest != side_px:
        square = square.resize((side_px, side_px), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(square, np.float32)[None, :, :, ::-1])


def load_tagger(name: str, caption: CaptionTable) -> Tagger:
    """Load a tagger.

    Args:
        name: Hub name (with ``@REVISION`` if wanted), or a folder with `model.onnx` and `selected_tags.csv`.

    Raises:
        CaptionerError: If ONNX Runtime is not installed, or it is not to be had, damaged or no tagger.
    """
    if find_spec("onnxruntime") is None:
        todo = "Install what runs it: pip install 'veneer[tags]'"
        raise CaptionerError("taggers need ONNX Runtime, which is not installed", where=name, todo=todo)
    model, listed = (folder_of(name) / file for file in TAGGER_FILES)
    tags = read_tags(listed)
    session = _session(model)
    side_px = _side(session, len(tags), str(model))
    return Tagger(session, tags, side_px, caption)


def folder_of(name: str) -> Path:
    """Where a tagger's files lie; they are fetched where they are not here yet.

    Raises:
        CaptionerError: If they are not to be had.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    try:
        return Path(
            snapshot_download(
                split_revision(name)[0], revision=revision_of(name), allow_patterns=list(TAGGER_FILES)
            )
        )
    except (OSError, ValueError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        todo = (
            "Connect once, so that it is kept on disk, or name a folder with model.onnx and selected_tags.csv"
        )
        raise CaptionerError(f"the tagger cannot be loaded: {reason}", where=name, todo=todo) from error


def read_tags(path: Path) -> list[Tag]:
    """Read a tagger's list of tags.

    Raises:
        CaptionerError: If it is missing, too large, or no such list.
    """
    _refuse_size(path, LARGEST_LIST)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            tags = [Tag(row["name"].strip(), row["category"].strip()) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, csv.Error) as error:
        raise _no_tagger(path, "it has no columns name and category") from error
    if not tags or any(not tag.name.isprintable() or not 0 < len(tag.name) <= LONGEST_TAG for tag in tags):
        raise _no_tagger(path, "it has no tags, or some that are none")
    return tags


def _session(path: Path) -> Any:
    """The graph alone: given as bytes, it can name no files beside it."""
    import onnxruntime as ort

    _refuse_size(path, LARGEST_MODEL)
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"], enable_fallback=False
        )
    except Exception as error:  # its own kinds of error have no base but Exception
        raise _no_tagger(path, _reason(error)) from error


def _side(session: Any, num_tags: int, where: str) -> int:
    """The side of the picture that a model looks at, in pixels.

    Raises:
        CaptionerError: If it takes anything but a square picture, channels last, or says another number of
            tags than its list has.
    """
    given, said = session.get_inputs(), session.get_outputs()
    shape = list(given[0].shape) if len(given) == len(said) == 1 else []
    if len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2] or shape[1] not in SIDES_PX:
        raise _no_tagger(
            Path(where), f"it takes {shape or 'several inputs'}, and not one picture, channels last"
        )
    if given[0].type != "tensor(float)":
        raise _no_tagger(Path(where), f"it takes a {given[0].type}, and no tensor(float)")
    if list(said[0].shape)[-1:] != [num_tags]:
        count = next(reversed(said[0].shape), "no known number of")
        raise _no_tagger(Path(where), f"it says {count} things, and its list has {num_tags}")
    return int(shape[1])


def _refuse_size(path: Path, most: int) -> None:
    if not path.is_file():
        raise _no_tagger(path, "there is no such file")
    if path.stat().st_size > most:
        raise _no_tagger(path, f"it has more than {most >> 20} MiB")


def _reason(error: Exception) -> str:
    """The first line of what ONNX Runtime says, fit to be printed."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def _no_tagger(path: Path, reason: str) -> CaptionerError:
    todo = "Take its files again, or name another, such as SmilingWolf/wd-vit-tagger-v3"
    return CaptionerError(f"the tagger cannot be used: {reason}", where=str(path), todo=todo)
