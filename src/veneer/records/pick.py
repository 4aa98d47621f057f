"""``pick.json``: a diverse choice of a data set's pictures, made by ``veneer check DATASET --pick N``."""

from __future__ import annotations

from pydantic import ValidationError

from veneer.records.dataset import Dataset
from veneer.records.files import Record


class PickFile(Record):
    """What was picked."""

    embedder: str
    """Through what the pictures were seen."""
    covered: float
    """Cosine similarity to the pick of the picture that it stands for worst, in [-1, 1]."""
    pictures: tuple[str, ...]
    """The pictures, the most telling first: any first part of them is a pick too."""


def known_pick(dataset: Dataset) -> PickFile | None:
    """What was picked last; None where nothing was, or the file cannot be read."""
    try:
        return PickFile.model_validate_json(dataset.pick_json.read_bytes())
    except (OSError, ValidationError):
        return None
