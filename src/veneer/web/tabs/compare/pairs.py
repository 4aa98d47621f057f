"""Base and tuned pictures beside each other: a slider, and a grid of rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from veneer.errors import RunError
from veneer.records.prompts import read_prompts
from veneer.web import markup


@dataclass(frozen=True)
class SideBySide:
    """The same prompt and seed, drawn by base and tuned model.

    Attributes:
        label: Prompt and seed for people.
        base: The base's picture.
        tuned: The tuned model's.
    """

    label: str
    base: Path
    tuned: Path

    @property
    def key(self) -> str:
        """What tells it from others."""
        return str(self.tuned)


def find_beside(base: Path, tuned: Path, prompts: Path, note: str = "") -> list[SideBySide]:
    """Find the pictures that two folders share.

    Args:
        base: Folder of the base's pictures, named ``P-SEED.png``.
        prompts: ``prompts.json``, which says what each P was.
        note: Put behind each label.

    Returns:
        Pairs in the order of prompts and seeds; empty where something is missing.
    """
    try:
        words = {one.index: one.prompt for one in read_prompts(prompts)}
    except RunError:
        return []
    pairs = []
    for path in sorted(tuned.glob("*-*.png")):
        index, _, seed = path.stem.partition("-")
        if (base / path.name).is_file() and index.isdigit() and int(index) in words:
            pairs.append(SideBySide(f"{words[int(index)]} · seed {seed}{note}", base / path.name, path))
    return pairs


def slider(pair: SideBySide) -> str:
    """Two pictures over each other, with an edge that can be moved by mouse, finger and arrow keys.

    Returns:
        HTML.
    """
    label = markup.escaped(pair.label)
    return (
        '<figure class="v-slider"><div class="v-stack">'
        f"{markup.png(pair.tuned, f'Tuned: {pair.label}', 'v-under')}"
        f"{markup.png(pair.base, f'Base: {pair.label}', 'v-over')}"
        '<span class="v-edge"></span><span class="v-tag v-left">base</span>'
        '<span class="v-tag v-right">tuned</span></div>'
        f'<input type="range" min="0" max="100" value="50" aria-label="Edge between base and tuned: {label}" '
        "oninput=\"this.parentNode.style.setProperty('--at', this.value + '%')\">"
        f"<figcaption>{label}</figcaption></figure>"
    )


def picture_grid(corner: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Path]]]) -> str:
    """Pictures in rows and columns.

    Args:
        columns: Headings of the columns.
        rows: Heading and pictures of each row.

    Returns:
        HTML.
    """
    cells = []
    for head, pictures in rows:
        shown = [
            markup.png(path, f"{head}, {column}") for path, column in zip(pictures, columns, strict=True)
        ]
        cells.append([f"<b>{markup.escaped(head)}</b>", *shown])
    return f'<div class="v-xy">{markup.table(corner, [corner, *columns], cells)}</div>'
