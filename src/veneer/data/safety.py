"""Unsafe content, by an image classifier that the user has installed; Veneer brings none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification

from veneer.data.findings import Finding
from veneer.data.picture import load_all_small
from veneer.errors import VeneerError
from veneer.hubnames import revision_of, split_revision
from veneer.models import asdata
from veneer.models.quiet import hide_progress_bars

UNSAFE_LABELS = frozenset({"nsfw", "porn", "hentai", "sexy", "unsafe"})
UNSAFE_SHARE = 0.5
_BATCH_SIZE = 16
_LONGEST_SIDE_PX = 512


def unsafe_pictures(root: Path, names: Sequence[str], checker: str) -> list[Finding]:
    """Find unsafe pictures.

    Args:
        names: Its readable pictures.
        checker: A classifier's folder or hub name.

    Returns:
        What was found.

    Raises:
        VeneerError: If a named checker cannot be loaded.
    """
    hide_progress_bars()
    try:
        source, revision = split_revision(checker)[0], revision_of(checker)
        settings = {"revision": revision, **asdata.SETTINGS}
        model = AutoModelForImageClassification.from_pretrained(
            source, revision=revision, **asdata.WEIGHTS
        ).eval()
        processor = AutoImageProcessor.from_pretrained(source, backend="pil", **settings)
    except (OSError, ValueError) as error:
        raise VeneerError(
            f"the safety checker cannot be loaded: {asdata.why_not(error)}",
            where=checker,
            todo="Name another, or none",
        ) from error
    findings = []
    for start in range(0, len(names), _BATCH_SIZE):
        part, pictures = load_all_small(root, names[start : start + _BATCH_SIZE], _LONGEST_SIDE_PX)
        if not part:
            continue
        with torch.inference_mode():
            shares = model(**processor(images=pictures, return_tensors="pt")).logits.softmax(-1)
        unsafe = [i for i, label in model.config.id2label.items() if str(label).lower() in UNSAFE_LABELS]
        for name, share in zip(part, shares[:, unsafe].sum(-1).tolist(), strict=True):
            if share > UNSAFE_SHARE:
                findings.append(Finding(name, "unsafe", f"unsafe at {100 * share:.0f} % ({checker})"))
    return findings
