"""What the report shows, gathered from a run folder as plain data; pictures are data addresses."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from veneer.proof.blind import tally, tally_words
from veneer.proof.charts import Line, draw_chart
from veneer.proof.history import Curve, curves_of, held_out_curve
from veneer.proof.measure_text import describe_measures
from veneer.proof.pairs import Pair, read_pairs
from veneer.proof.sheet import Group
from veneer.proof.strengths import usage_of
from veneer.records.cache import known_index
from veneer.records.candidates import CandidatesFile, known_candidates
from veneer.records.dataset import Dataset
from veneer.records.metrics import Metrics
from veneer.records.run import RunDir
from veneer.records.trainlog import read_steps

PROMPT_KINDS = {
    "recipe": "Prompts of the recipe",
    "held_out": "Captions of held-out pictures",
    "general": "Prompts outside the style",
}
IN_WORDS = {"pocket": "the bundled CLIP"}
"""Embedders whose names say nothing to people."""
SAMPLE_PX, THUMBNAIL_PX, PIXEL_ART_PX = 512, 160, 128
TRAINING_SHOWN = 60


@dataclass(frozen=True)
class Shown:
    """A picture in the page.

    Attributes:
        source: Its bytes as a data address.
        is_small: Whether it is enlarged by repeating pixels.
        alt: What it shows, in words.
    """

    source: str
    is_small: bool
    alt: str


def gather(run: RunDir) -> dict[str, Any]:
    """Gather everything that the report shows.

    Returns:
        Plain data by name; the templates use nothing else.

    Raises:
        RunError: If the comparison is missing or damaged.
    """
    metrics = Metrics.of(run).model_dump()
    known = known_candidates(run)
    pairs = read_pairs(run.drawn)
    record = run.read_record()
    return {
        "name": run.name,
        "usage": usage_of(run, run.read_recipe()) if run.kohya_file.is_file() else None,
        "metrics": metrics,
        "votes": tally_words(tally(run), metrics["verdict"]) if run.votes_jsonl.is_file() else "",
        "rows": describe_measures(metrics),
        "native_rows": describe_measures(metrics["at_native"]) if metrics.get("at_native") else [],
        "embedders": [IN_WORDS.get(name, name) for name in metrics["embedders"]],
        "targets": shown_targets(run, metrics.get("targets") or []),
        "sections": _sections(pairs),
        "charts": _charts(run, known, metrics["chosen_step"]),
        "candidates": known.candidates,
        "base_loss": known.base_loss,
        "chosen": known.chosen,
        "stopped": known.stopped,
        "events": known.events,
        "training": _training(run),
        "copies": _copies(run, metrics.get("copies")),
        "notices": [
            {"stage": name, **notice.model_dump()}
            for name, stage in record.stages.items()
            for notice in stage.notices
        ],
        "recipe_toml": run.recipe_toml.read_text("utf-8") if run.recipe_toml.is_file() else "",
        "versions": record.versions,
        "stages": record.stages,
    }


def sheet_groups(run: RunDir) -> list[Group]:
    """Pictures for ``grid.png``: the recipe's own prompts.

    Returns:
        One group for each prompt; those of other kinds where the recipe has none.
    """
    pairs = read_pairs(run.drawn)
    own = [pair for pair in pairs if pair.kind == "recipe"] or pairs
    return [
        Group(prompt, {"base": [pair.base for pair in group], "tuned": [pair.tuned for pair in group]})
        for prompt, group in _by_prompt(own).items()
    ]


def show(path: Path, alt: str, side_px: int = SAMPLE_PX) -> Shown:
    """Turn a picture into a data address; large ones are made smaller.

    Args:
        alt: What it shows, in words.
        side_px: Longest side in the page, in pixels.

    Returns:
        The picture for the page.
    """
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    is_small = max(picture.size) <= PIXEL_ART_PX
    picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    out, form = io.BytesIO(), "png" if is_small else "webp"
    picture.save(out, form, **({"optimize": True} if is_small else {"quality": 86}))
    return Shown(f"data:image/{form};base64,{base64.b64encode(out.getvalue()).decode()}", is_small, alt)


def _sections(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    sections = []
    for kind, title in PROMPT_KINDS.items():
        groups = _by_prompt([pair for pair in pairs if pair.kind == kind])
        cells = [
            {"prompt": prompt, "cells": [_cell(pair) for pair in group]} for prompt, group in groups.items()
        ]
        if cells:
            sections.append({"kind": kind, "title": title, "groups": cells})
    return sections


def shown_targets(run: RunDir, targets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """True, base's and tuned picture of every held-out caption, each with what is said below it.

    Args:
        targets: What ``metrics.json`` holds; those whose pictures are gone are left out.
    """
    sides = {"true": "True picture", "base": "Base", "tuned": "Tuned"}
    return [
        {
            "caption": one["caption"],
            "is_doubtful": bool(one["ranks"]) and one["ranks"][0] > 1,
            "cells": [
                {
                    "name": name,
                    "picture": show(run.root / one[side], f"{name}: {one['caption']}"),
                    "words": words,
                }
                for (side, name), words in zip(sides.items(), target_words(one), strict=True)
            ],
        }
        for one in targets
        if are_own_pictures(run, [one[side] for side in sides])
    ]


def are_own_pictures(run: RunDir, names: Sequence[str]) -> bool:
    """Whether names in a run's metrics.json are files inside the run: it may be a stranger's."""
    root = run.root.resolve()
    paths = [(run.root / name).resolve() for name in names]
    return all(path.is_relative_to(root) and path.is_file() for path in paths)


def target_words(target: Mapping[str, Any]) -> tuple[str, str, str]:
    """What is said of the true, the base's and the tuned picture of a held-out caption."""
    ranks, (base, tuned) = target["ranks"], target["similarity"]
    places = [f"caption {_place(rank)} of {target['num_prompts']}" for rank in ranks] if ranks else [""] * 3
    likeness = ["", f"{base:.2f} like it", f"{tuned:.2f} like it"]
    found = [", ".join(filter(None, both)) for both in zip(likeness, places, strict=True)]
    return found[0], found[1], found[2]


def _place(rank: int) -> str:
    return "first" if rank == 1 else f"at place {rank}"


def _cell(pair: Pair) -> dict[str, Any]:
    about = f"{pair.prompt}, seed {pair.seed}"
    return {
        "seed": pair.seed,
        "about": about,
        "base": show(pair.base, f"Base: {about}"),
        "tuned": show(pair.tuned, f"Tuned: {about}"),
    }


def _by_prompt(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.prompt, []).append(pair)
    return groups


def _charts(run: RunDir, known: CandidatesFile, chosen_step: int | None) -> list[dict[str, str]]:
    log = curves_of(read_steps(run.log_jsonl))
    nothing = Curve((), ())
    loss = [
        Line("training loss", log.get("loss", nothing)),
        Line("held-out loss", held_out_curve(known), has_dots=True),
        Line("held-out, average", held_out_curve(known, "ema"), has_dots=True),
    ]
    alone = [Line("", nothing), *loss[1:]]  # the empty one keeps the colours of the chart beside it
    norms = [
        Line("before clipping", log.get("grad_norm", nothing)),
        Line("after clipping", log.get("grad_norm_clipped", nothing)),
    ]
    speed = [Line("pictures per second", log.get("images_per_second", nothing))]
    drawn = {
        "Loss": draw_chart("Loss over the steps", loss, chosen_step=chosen_step),
        "Held-out loss alone": draw_chart("Held-out loss over the steps", alone, chosen_step=chosen_step),
        "Gradient norm": draw_chart("Gradient norm over the steps", norms, logarithmic=True),
        "Learning rate": draw_chart("Learning rate over the steps", [Line("lr", log.get("lr", nothing))]),
        "Speed": draw_chart("Pictures per second over the steps", speed),
    }
    return [{"title": title, "svg": svg} for title, svg in drawn.items() if svg]


def _training(run: RunDir) -> dict[str, Any]:
    index = known_index(run)
    splits = {item.file_name: item.split for item in index.items} if index else {}
    items = Dataset(run.dataset).items() if run.dataset.is_dir() else []
    shown = [
        {
            "picture": show(run.dataset / item.file_name, item.caption, THUMBNAIL_PX),
            "caption": item.caption,
            "split": splits.get(item.file_name, "train"),
        }
        for item in items[:TRAINING_SHOWN]
    ]
    return {"shown": shown, "total": len(items)}


def _copies(run: RunDir, copies: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if copies is None:
        return None
    pairs = [
        {
            **one,
            "picture": show(run.root / one["picture"], "Tuned picture", THUMBNAIL_PX),
            "training": show(run.root / one["training"], "Nearest training picture", THUMBNAIL_PX),
        }
        for one in copies["nearest"]
        if (run.root / one["training"]).is_file()
    ]
    return {**copies, "nearest": pairs}
