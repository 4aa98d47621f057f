"""Base against tuned model: measures with intervals, and a verdict.

``veneer compare RUN`` or, for two folders of pictures, ``compare_folders``. Nothing is drawn here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from veneer.config import Recipe
from veneer.dataset import Dataset
from veneer.events import Notice, OnEvent, StageStarted, ignore
from veneer.launch import pick_device
from veneer.models.embedder import choose_embedders
from veneer.proof.comparison import STAGE, Comparison, References, compare_pairs
from veneer.proof.history import losses_of, picture_losses, read_candidates
from veneer.proof.pairs import find_pairs, prompts_beside
from veneer.proof.promptset import read_index, read_prompts, split_items
from veneer.rundir import RunDir, write_json

CONTRACT = ("style", "prompt", "diversity", "memorisation", "forgetting", "validation_loss")
PAIRS_SHOWN = 12


def compare(run: RunDir, recipe: Recipe, on_event: OnEvent = ignore) -> Comparison:
    """Compare the pictures of a run, and write ``report/metrics.json``.

    Args:
        run: The run, its pictures drawn.
        recipe: The recipe.
        on_event: Listener.

    Returns:
        Measures and verdict.

    Raises:
        RunError: If the run has no pictures, or not the same of both models.
        VeneerError: If an embedder cannot be loaded.
    """
    pairs = find_pairs(
        run.samples / "base", run.samples / "tuned", read_prompts(run.samples / "prompts.json")
    )
    references = read_references(run, recipe)
    on_event(StageStarted(STAGE, 2, "embedders"))
    embedders = choose_embedders(recipe.compare.embedder, recipe.base.model, pick_device())
    result = compare_pairs(
        pairs, references, embedders, prompt_margin=recipe.compare.prompt_margin, on_event=on_event
    )
    for name, reason in result.unavailable.items():
        if name in CONTRACT:
            on_event(Notice(STAGE, "measure-unavailable", f"{name}: {reason}"))
    write_json(run.metrics_json, metrics(result, run))
    return result


def compare_folders(
    base: Path,
    tuned: Path,
    *,
    embedder: str = "auto",
    base_model: str = "",
    held_out: Sequence[Path] = (),
    training: Sequence[Path] = (),
    prompt_margin: float = 0.02,
    on_event: OnEvent = ignore,
) -> Comparison:
    """Compare two folders of pictures that `veneer generate` drew with the same prompts and seeds.

    Args:
        base: Folder of the base's pictures, with its prompts.json inside or beside it.
        tuned: Folder of the tuned model's.
        embedder: As the recipe's key `compare.embedder`.
        base_model: Base model, for the embedder "auto".
        held_out: Pictures of the style that training never saw.
        training: Pictures that training saw.
        prompt_margin: Fall of the prompt measure that still counts as none.
        on_event: Listener.

    Returns:
        Measures and verdict.

    Raises:
        RunError: If the folders do not hold the same pictures, or have no prompts.
        VeneerError: If an embedder cannot be loaded.
    """
    pairs = find_pairs(base, tuned, prompts_beside(base))
    on_event(StageStarted(STAGE, 2, "embedders"))
    embedders = choose_embedders(embedder, base_model, pick_device())
    references = References(held_out=tuple(held_out), training=tuple(training))
    return compare_pairs(pairs, references, embedders, prompt_margin=prompt_margin, on_event=on_event)


def read_references(run: RunDir, recipe: Recipe) -> References:
    """What the pictures of a run are held against.

    Args:
        run: The run.
        recipe: The recipe.

    Returns:
        Held-out and training pictures, losses and sizes; empty where the run does not have them.
    """
    index = read_index(run.cache / "index.json")
    held_out, training = split_items(index, "held_out"), split_items(index, "train")
    candidates = read_candidates(run.candidates_json)
    side_px, native_px = recipe.generate.resolution or recipe.encode.resolution, index.get("native_px")
    return References(
        held_out=tuple(run.dataset / str(item["file_name"]) for item in held_out),
        training=tuple(run.dataset / str(item["file_name"]) for item in training),
        captions=tuple(str(item["caption"]) for item in training),
        losses=losses_of(candidates),
        picture_losses=picture_losses(candidates),
        native_px=native_px,
        side_px=side_px,
        has_two_passes=bool(native_px and recipe.generate.two_pass and side_px > native_px),
    )


def pictures_in(folder: Path | None) -> list[Path]:
    """Find the pictures of a folder.

    Args:
        folder: A folder of pictures or a data set; None for nothing.

    Returns:
        Its pictures, sorted.

    Raises:
        DatasetError: If there is no such folder.
    """
    if folder is None:
        return []
    return [folder / name for name in Dataset(folder).picture_names()]


def metrics(result: Comparison, run: RunDir) -> dict[str, Any]:
    """What ``report/metrics.json`` holds.

    Args:
        result: Measures and verdict.
        run: The run, which file names are relative to.

    Returns:
        Plain data: verdict, reasons, chosen step, measures (null where there is a reason in "unavailable"),
        prompts and seeds; further keys for the report.
    """
    plain, copies = result.plain(), _copies(result, run)
    if plain["chosen_step"] is None:
        plain["chosen_step"] = (read_candidates(run.candidates_json).get("chosen") or {}).get("step")
    return {**plain, "copies": copies}


def _copies(result: Comparison, run: RunDir) -> dict[str, Any] | None:
    if result.copies is None:
        return None
    styled = [pair for pair in result.pairs if pair.kind != "general"]
    nearest = [
        {
            "picture": styled[copy.picture].tuned.relative_to(run.root).as_posix(),
            "training": result.training[copy.training].relative_to(run.root).as_posix(),
            "similarity": round(copy.similarity, 4),
            "is_copy": copy.is_copy,
        }
        for copy in result.copies.nearest[:PAIRS_SHOWN]
    ]
    return {
        "num_copies": result.copies.num_copies,
        "num_pictures": len(styled),
        "threshold": round(result.copies.threshold, 4),
        "nearest": nearest,
    }
