"""Base against tuned model: measures with intervals, and a verdict.

``veneer compare RUN``; for several adapters and strengths `compare_adapters`, which draws what it needs; for
two folders of pictures `compare_folders`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from veneer.arguments import PathLike
from veneer.config import Recipe
from veneer.encoding.choosing import judged_by
from veneer.errors import RunError
from veneer.events import Notice, OnEvent, StageStarted, ignore
from veneer.lora.reader import file_of
from veneer.machine import pick_device
from veneer.models.base import objective_by
from veneer.models.embedder import Embedders, choose_embedders
from veneer.models.sampling import load_sampler
from veneer.notebook import in_notebook
from veneer.proof.comparison import Comparison, compare_pairs
from veneer.proof.evidence import STAGE, References
from veneer.proof.history import losses_of, picture_losses
from veneer.proof.measures import CONTRACT
from veneer.proof.pairs import Pair, find_pairs, prompts_beside, read_pairs
from veneer.proof.sheet import Group, draw_sheet
from veneer.proof.strengths import strength_of
from veneer.proof.sweep import Swept, sweep_pairs
from veneer.records.cache import known_index
from veneer.records.candidates import known_candidates
from veneer.records.dataset import Dataset
from veneer.records.files import write_bytes, write_json
from veneer.records.metrics import Metrics
from veneer.records.run import AnyRun, RunDir, opened

PAIRS_SHOWN = 12


def compare(
    run: AnyRun, recipe: Recipe | PathLike | None = None, on_event: OnEvent = in_notebook
) -> Comparison:
    """Compare the pictures of a run, and write ``report/metrics.json``.

    Returns:
        Measures and verdict.

    Raises:
        RunError: If the run has no pictures, or not the same of both models.
        VeneerError: If an embedder cannot be loaded.
    """
    run, recipe = opened(run, recipe)
    pairs = read_pairs(run.drawn)
    references = read_references(run, recipe)
    embedders = choose_embedders(recipe.compare.embedder, recipe.base.model, pick_device())
    on_event(StageStarted(STAGE, len(embedders.names), "embedders"))
    result = compare_pairs(
        pairs, references, embedders, prompt_margin=recipe.compare.prompt_margin, on_event=on_event
    )
    for name, reason in result.unavailable.items():
        if name in CONTRACT:
            on_event(Notice(STAGE, "measure-unavailable", f"{name}: {reason}"))
    at_native = _at_native(run, recipe, references, embedders)
    found = metrics(result, run) | {"at_native": at_native, "scale": strength_of(run, recipe)}
    Metrics.model_validate(found).write(run.metrics_json)
    return result


run = compare
"""The stage, as the pipeline calls it."""


def _at_native(
    run: RunDir, recipe: Recipe, references: References, embedders: Embedders
) -> dict[str, Any] | None:
    """The same comparison at the base's own size, where the pictures are larger than that."""
    if not run.native_samples.is_dir():
        return None
    pairs = read_pairs(run.drawn_at_native)
    own = replace(
        references, losses=None, picture_losses=None, side_px=references.native_px, has_two_passes=False
    )
    plain = compare_pairs(pairs, own, embedders, prompt_margin=recipe.compare.prompt_margin).plain()
    kept = {key: plain[key] for key in ("verdict", "headline", "reasons", "measures", "unavailable")}
    for table in ("measures", "unavailable"):
        kept[table].pop("validation_loss", None)  # not a matter of how pictures are drawn
    return {"side_px": references.native_px, **kept}


@dataclass(frozen=True)
class AdaptersCompared:
    """Several adapters or strengths against the base of a run.

    Attributes:
        swept: Measures and verdict of each.
        sheet: Path of the picture of all pictures.
    """

    swept: tuple[Swept, ...]
    sheet: Path

    @property
    def summary(self) -> str:
        """One line for each."""
        return "\n".join(f"{one.name}: {one.comparison.summary}" for one in self.swept)

    @property
    def is_worse(self) -> bool:
        """Whether every one of them is `worse`."""
        return all(one.comparison.verdict.word == "worse" for one in self.swept)

    def plain(self) -> dict[str, Any]:
        """Write as plain data.

        Returns:
            What ``report/adapters.json`` holds.
        """
        entries = [
            {"lora": str(one.lora), "scale": one.scale, "name": one.name, **one.comparison.plain()}
            for one in self.swept
        ]
        return {"adapters": entries}


def compare_adapters(
    run: RunDir,
    recipe: Recipe,
    loras: Sequence[Path] = (),
    scales: Sequence[float] = (),
    on_event: OnEvent = ignore,
) -> AdaptersCompared:
    """Compare adapters at several strengths, on the prompts, seeds and pictures of a run.

    The base's pictures are the run's own; the others go to ``samples/adapters``, numbers to
    ``report/adapters.json``, a sheet to ``report/adapters.png``. The run's verdict stays what it is.

    Args:
        loras: Adapter files; none for the run's own.
        scales: Strengths, >= 0; none for the run's own.

    Returns:
        Measures and verdict of each.

    Raises:
        RunError: If the run has no pictures or learns a word, or a strength is below 0.
        AdapterError: If an adapter does not fit the run's base.
        VeneerError: If an embedder cannot be loaded.
    """
    files, strengths = (
        tuple(map(file_of, loras)) or (run.lora_file,),
        tuple(scales) or (strength_of(run, recipe),),
    )
    if recipe.lora.embedding_token:
        todo = "Draw with `veneer generate --embedding`, and compare the two folders"
        raise RunError("this run learns a word, which its prompts call", where=str(run.root), todo=todo)
    if min(strengths) < 0:
        raise RunError("a strength below 0", where="--scale", todo="0 is the base, 1 the adapter as trained")
    pairs = read_pairs(run.drawn)
    on_event(StageStarted(STAGE, len(files) * len(strengths), "adapters"))
    base, own = recipe.base, read_references(run, recipe)
    sampler = load_sampler(
        base.model,
        recipe.generate,
        vae=base.vae,
        revision=base.revision,
        side_px=recipe.encode.resolution,
        objective=objective_by(base),
    )
    foreign = replace(own, losses=None, picture_losses=None)  # held-out losses are those of the run's adapter
    swept = sweep_pairs(
        sampler,
        pairs,
        {lora: own if lora.resolve() == run.lora_file.resolve() else foreign for lora in files},
        strengths,
        out=run.adapter_samples,
        embedders=choose_embedders(recipe.compare.embedder, base.model, pick_device()),
        prompt_margin=recipe.compare.prompt_margin,
        on_event=on_event,
    )
    result = AdaptersCompared(tuple(swept), run.adapters_png)
    write_bytes(result.sheet, draw_sheet(_groups(pairs, swept), "The base, and adapters at their strengths"))
    write_json(run.adapters_json, result.plain())
    return result


def _groups(pairs: Sequence[Pair], swept: Sequence[Swept]) -> list[Group]:
    own = [pair for pair in pairs if pair.kind == "recipe"] or list(pairs)
    groups = []
    for prompt in dict.fromkeys(pair.prompt for pair in own):
        shown = [pair.base for pair in own if pair.prompt == prompt]
        rows = {one.name: [one.folder / path.name for path in shown] for one in swept}
        groups.append(Group(prompt, {"base": shown, **rows}))
    return groups


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
        embedder: As the recipe's key `compare.embedder`.
        base_model: Base model, for the embedder "auto".
        held_out: Pictures of the style that training never saw.
        training: Pictures that training saw.

    Returns:
        Measures and verdict.

    Raises:
        RunError: If the folders do not hold the same pictures, or have no prompts.
        VeneerError: If an embedder cannot be loaded.
    """
    pairs = find_pairs(base, tuned, prompts_beside(base))
    embedders = choose_embedders(embedder, base_model, pick_device())
    on_event(StageStarted(STAGE, len(embedders.names), "embedders"))
    references = References(held_out=tuple(held_out), training=tuple(training))
    return compare_pairs(pairs, references, embedders, prompt_margin=prompt_margin, on_event=on_event)


def read_references(run: RunDir, recipe: Recipe) -> References:
    """What the pictures of a run are held against.

    Returns:
        Held-out and training pictures, losses and sizes; empty where the run does not have them.
    """
    index = known_index(run)
    held_out, training = (judged_by(index, recipe), index.split("train")) if index else ((), ())
    known = known_candidates(run)
    side_px, native_px = (
        recipe.generate.resolution or recipe.encode.resolution,
        index.native_px if index else None,
    )
    return References(
        held_out=tuple(run.dataset / item.file_name for item in held_out),
        training=tuple(run.dataset / item.file_name for item in training),
        captions=tuple(item.caption for item in training),
        held_out_captions=tuple(item.caption for item in held_out),
        losses=losses_of(known),
        picture_losses=picture_losses(known),
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

    Returns:
        Plain data: verdict, reasons, chosen step, measures (null where there is a reason in "unavailable"),
        prompts and seeds; further keys for the report.
    """
    plain, copies = result.plain(), _copies(result, run)
    if plain["chosen_step"] is None:
        chosen = known_candidates(run).chosen
        plain["chosen_step"] = None if chosen is None else chosen.step
    return {**plain, "copies": copies, "targets": _targets(result, run)}


def _targets(result: Comparison, run: RunDir) -> list[dict[str, Any]]:
    """True, base's and tuned picture of every held-out caption, by their paths in the run."""
    return [
        {
            "caption": one.caption,
            "true": result.held_out[one.held_out].relative_to(run.root).as_posix(),
            "base": result.pairs[one.pair].base.relative_to(run.root).as_posix(),
            "tuned": result.pairs[one.pair].tuned.relative_to(run.root).as_posix(),
            "ranks": None if one.ranks is None else list(one.ranks),
            "num_prompts": len({pair.prompt for pair in result.pairs}),
            "similarity": [round(number, 4) for number in one.similarity],
        }
        for one in result.targets
    ]


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
