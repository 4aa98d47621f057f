"""A grid of pictures: a row for each checkpoint, run or foreign LoRA at each strength, a column a picture."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from veneer.errors import RunError, VeneerError
from veneer.events import OnEvent
from veneer.recipe import fingerprint
from veneer.records.run import RunDir
from veneer.web.jobs.background import Outcome, watched
from veneer.web.studio import Studio
from veneer.web.tabs.compare import own_prompts
from veneer.web.tabs.compare.pairs import picture_grid

MAX_CELLS = 144
STRONGEST = 5.0
FOREIGN = "loras"
"""Folder of the workspace with LoRA files of other tools."""


@dataclass(frozen=True)
class GridRow:
    """What a row is drawn with.

    Attributes:
        label: For people.
        lora: Its file.
        scale: Its strength.
        folder: Name of the folder of its pictures.
    """

    label: str
    lora: Path
    scale: float
    folder: str


def read_strengths(text: str, usual: float) -> tuple[float, ...]:
    """Read the strengths of the rows.

    Args:
        text: Numbers with commas or spaces between; empty for the usual one.
        usual: What the slider says.

    Raises:
        VeneerError: If one is no number, or out of range.
    """
    words = [word for word in re.split(r"[\s,;]+", text) if word]
    try:
        found = tuple(dict.fromkeys(map(float, words))) or (usual,)
    except ValueError:
        found = (math.nan,)
    if not all(0 <= one <= STRONGEST for one in found):
        raise VeneerError(
            f"strengths are numbers from 0 to {STRONGEST:g}", where=text, todo="Write them as in: 0.4, 0.8, 1"
        )
    return found


def others(studio: Studio, run: str) -> list[tuple[str, str]]:
    """LoRA files that fit beside a run's checkpoints: results of runs on the same base, and foreign files.

    Returns:
        What the list shows, and names that `lora_of` knows.
    """
    named = [
        ("this run's result" if name == run else f"run {name}", f"run/{name}") for name in _runs(studio, run)
    ]
    folder = studio.workspace.root / FOREIGN
    files = sorted(path.name for path in folder.glob("*.safetensors") if path.is_file())
    return [*named, *((f"file {name}", f"{FOREIGN}/{name}") for name in files)]


def lora_of(studio: Studio, run: str, name: str) -> Path:
    """The file of one of the others.

    Raises:
        RunError: If it is not among them (any longer).
    """
    if name not in {value for _, value in others(studio, run)}:
        raise RunError("this LoRA is gone", where=name, todo="Open the tab anew to see what is there")
    kind, _, rest = name.partition("/")
    return studio.workspace.run(rest).lora_file if kind == "run" else studio.workspace.inside(name)


def draw_grid(studio: Studio, run: str | None, *asked_for: Any) -> Iterator[str]:
    """Draw the grid.

    Args:
        asked_for: Prompts, seeds, strength, steps; checkpoints, others, strengths.

    Yields:
        HTML: how far it is, then the grid.
    """
    *what, checkpoints, named, strengths = asked_for

    def work(on_event: OnEvent) -> str:
        folder = studio.workspace.run(run or "")
        asked = own_prompts.read_own_prompts(studio.run_recipe(folder.name), *what)
        out = own_prompts.place(studio, folder.name, asked)
        scales = read_strengths(strengths, asked.scale)
        columns = [(index, seed) for index in range(len(asked.prompts)) for seed in asked.seeds]
        _refuse_too_many((len(checkpoints) + len(named)) * len(scales), len(columns))
        names = [f"{index:03d}-{seed}.png" for index, seed in columns]
        with studio.at_work():
            own_prompts.draw_pictures(folder, replace(asked, scale=1.0), None, out / "base", on_event)
            drawn = [("base", [out / "base" / name for name in names])]
            files = _files(studio, folder, sorted(checkpoints), named, out.parent / "checkpoints")
            for row in _rows(files, scales):
                tuned = replace(asked, scale=row.scale)
                own_prompts.draw_pictures(folder, tuned, row.lora, out / row.folder, on_event)
                drawn.append((row.label, [out / row.folder / name for name in names]))
        heads = [f"{asked.prompts[index]} · seed {seed}" for index, seed in columns]
        return picture_grid("LoRA and strength", heads, drawn)

    outcome = Outcome()
    yield from watched(work, outcome)
    yield outcome.message("The grid is drawn.") + (outcome.result or "")


def _files(
    studio: Studio, run: RunDir, checkpoints: Sequence[str], named: Sequence[str], kept: Path
) -> list[tuple[str, Path, str]]:
    """What is drawn with: a label, the file, and the folder of its pictures.

    Args:
        kept: Folder for the checkpoints as LoRA files.
    """
    if checkpoints:
        _refuse_words(run)
    known = {value: label for label, value in others(studio, run.name)}
    own = [(name, own_prompts.checkpoint_lora(run, name, kept), name) for name in checkpoints]
    foreign = [(known.get(name, name), lora_of(studio, run.name, name), name) for name in named]
    return [*own, *((label, path, f"other-{fingerprint([name])}") for label, path, name in foreign)]


def _rows(files: Sequence[tuple[str, Path, str]], scales: Sequence[float]) -> list[GridRow]:
    """A row for each file at each strength, in that order."""
    return [
        GridRow(f"{label} at {scale:g}", path, scale, f"{folder}-{scale:g}")
        for label, path, folder in files
        for scale in scales
    ]


def _refuse_too_many(rows: int, columns: int) -> None:
    if not rows or (1 + rows) * columns > MAX_CELLS:
        raise VeneerError(
            f"{rows} rows with {columns} pictures each",
            todo=f"Choose checkpoints, LoRAs, strengths, prompts and seeds for at most {MAX_CELLS} pictures",
        )


def _runs(studio: Studio, run: str) -> list[str]:
    """Runs with a LoRA on the same base as a run's, itself in front; a learnt word is in no LoRA file."""
    try:
        base = studio.workspace.run(run).read_recipe().base.model
    except VeneerError:
        return []
    names = [run, *(name for name in studio.workspace.run_names() if name != run)]
    return [name for name in names if _has_lora_for(studio.workspace.run(name), base)]


def _has_lora_for(run: RunDir, base: str) -> bool:
    try:
        is_lora = run.lora_file.is_file() and not run.embedding_file.is_file()
        return is_lora and run.read_recipe().base.model == base
    except VeneerError:
        return False


def _refuse_words(run: RunDir) -> None:
    """Checkpoints are drawn by their adapters; the words that they learnt are not kept apart."""
    lora, embedding = own_prompts.learnt(run)
    if lora is None or embedding is not None:
        raise RunError(
            "a run that learnt a word has no grid of checkpoints",
            where=run.name,
            todo="Draw base and tuned instead",
        )
