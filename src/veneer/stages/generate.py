"""Pictures of base and tuned model: the same prompts, seeds, sampler, steps and guidance.

Each picture is kept until something that it depends on changes: `veneer.proof.series`.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veneer.arguments import PathLike
from veneer.config import GenerateTable, Recipe
from veneer.encoding.choosing import choosing, choosing_jobs, judged_by
from veneer.errors import BaseModelError, RunError
from veneer.events import Event, Notice, OnEvent, Progress, StageStarted, ignore
from veneer.lora.embedding_file import load_textual_inversion, read_embedding
from veneer.lora.loading import load_lora, refuse_stranger
from veneer.lora.reader import file_of
from veneer.lora.textual_inversion import initial_embedding
from veneer.models.base import objective_by
from veneer.models.sampling import STAGE, Sampler, load_sampler
from veneer.notebook import in_notebook
from veneer.processes import is_main_process, wait_for_everyone
from veneer.proof.promptset import Job, build_jobs, build_prompts
from veneer.proof.series import Series, draw_series, notify_broken
from veneer.proof.strengths import Chooser, find_strength, strength_of
from veneer.records.cache import CacheIndex, known_index
from veneer.records.files import hash_file, write_json
from veneer.records.prompts import Prompt, Samples, Side, prompts_in, write_prompts
from veneer.records.run import AnyRun, RunDir, opened

MIN_TO_CHOOSE = 2
"""Held-out pictures that choosing a strength takes: one to choose and one to judge by."""
CHOOSING_PROMPTS = 8
"""Prompts at least that choose a strength: of fewer there is hardly an interval."""


@dataclass(frozen=True)
class GenerateResult:
    """What `generate` did.

    Attributes:
        folder: Folder of the pictures.
        num_pictures: Pictures in it, of base and tuned model together.
        num_drawn: Pictures drawn now; the others were there.
        num_broken: Pictures in it that came out as no finite numbers.
    """

    folder: Path
    num_pictures: int
    num_drawn: int
    num_broken: int

    @property
    def summary(self) -> str:
        """One line of what there is now."""
        broken = f", {self.num_broken} broken" if self.num_broken else ""
        return f"{self.num_pictures} pictures{broken}"


def generate(
    run: AnyRun, recipe: Recipe | PathLike | None = None, on_event: OnEvent = in_notebook
) -> GenerateResult:
    """Draw the prompt set of a run with the base and with its adapter.

    Args:
        run: The run; its cache tells the held-out captions, `lora/` holds the adapter.

    Returns:
        How many pictures there are; they lie in `samples/base` and `samples/tuned`. Where they are larger
        than the base was trained for, the same are drawn at the base's own size, in `samples/native`.

    Raises:
        RunError: If the run has no adapter yet.
        AdapterError: If the adapter does not fit the base.
        BaseModelError: If the base cannot be loaded or draws no finite numbers.
    """
    run, recipe = opened(run, recipe)
    lora, word = (path if path.is_file() else None for path in (run.lora_file, run.embedding_file))
    if lora is None and word is None:
        raise RunError(
            "the run has no adapter yet", where=str(run.lora_file), todo="Train and export it first"
        )
    index = known_index(run)
    held_out = [item.caption for item in judged_by(index, recipe)] if index else []
    prompts = build_prompts(recipe, held_out)
    jobs = build_jobs(prompts, recipe.generate.seeds)
    sampler = sampler_of(recipe, on_event)
    sizes = _sizes(sampler, run)
    scale = _scale(run, recipe, sampler, index, on_event)
    on_event(StageStarted(STAGE, 2 * len(jobs) * len(sizes), "pictures"))
    first_word = _load_first_word(sampler, recipe, on_event)
    adapter = _hashes(lora, scale, word)
    base = _series(sizes, "base", jobs, first_word, 0)
    tuned = _series(sizes, "tuned", jobs, first_word | adapter, len(sizes) * len(jobs))
    num_drawn = _draw_sizes(sizes, base, on_event)
    if num_broken := sum(one.num_broken for one in base):
        what = f"the base drew {num_broken} pictures that are no finite numbers"
        raise BaseModelError(what, where=recipe.base.model, todo="Try another generate.scheduler or base.vae")
    _put_on(sampler, lora, scale, word, on_event)
    num_drawn += _draw_sizes(sizes, tuned, on_event)
    wait_for_everyone()
    num_broken = sum(notify_broken(one, on_event) for one in tuned)
    if is_main_process():
        if len(sizes) == 1:
            shutil.rmtree(run.native_samples, ignore_errors=True)
        for (_, samples), before, after in zip(sizes, base, tuned, strict=True):
            _finish(samples, prompts, {"base": before, "tuned": after})
    total = 2 * len(jobs) * len(sizes)
    return GenerateResult(run.samples, total, num_drawn, num_broken)


def _scale(
    run: RunDir, recipe: Recipe, sampler: Sampler, index: CacheIndex | None, on_event: OnEvent
) -> float:
    """The recipe's strength, or the one that is found where it names several; one process looks for it."""
    if not recipe.compare.scales:
        return recipe.compare.scale
    if index is None or len(index.split("held_out")) < MIN_TO_CHOOSE:
        message = f"fewer than {MIN_TO_CHOOSE} held-out pictures: compare.scales is not tried"
        on_event(Notice(STAGE, "strength-not-chosen", message))
        if is_main_process():
            run.strength_json.unlink(missing_ok=True)  # of a run that had more
        return recipe.compare.scale
    if is_main_process():
        on_event(StageStarted(STAGE, len(recipe.compare.scales), "strengths"))
        found = find_strength(run, recipe, sampler, chooser_of(index, recipe), _as_own(on_event))
        on_event(Notice(STAGE, "strength", found.summary))
    wait_for_everyone()
    return strength_of(run, recipe)


def chooser_of(index: CacheIndex, recipe: Recipe) -> Chooser:
    """What a run's strengths are tried on.

    Raises:
        RecipeError: If there are not two held-out pictures, one to choose and one to judge by.
    """
    jobs = choosing_jobs(index, recipe, at_least=CHOOSING_PROMPTS)
    return Chooser(jobs, choosing(index), index.split("train"))


def _as_own(on_event: OnEvent) -> OnEvent:
    """Tell the progress of what is drawn and compared here as this stage's."""

    def tell(event: Event) -> None:
        if isinstance(event, Progress):
            on_event(dataclasses.replace(event, stage=STAGE))

    return tell


run = generate
"""The stage, as the pipeline calls it."""


def generate_files(
    base: str,
    prompts: Sequence[str],
    seeds: Sequence[int],
    out: Path,
    *,
    lora: Path | None = None,
    scale: float = 1.0,
    embedding: Path | None = None,
    generate: GenerateTable | None = None,
    vae: str | None = None,
    on_event: OnEvent = ignore,
) -> GenerateResult:
    """Draw prompts into a folder, without a run.

    Args:
        base: Base model: hub name, local folder, `.safetensors` checkpoint, or `pocket`.
        seeds: Seeds; every prompt is drawn with each.
        out: Folder of the pictures, named ``P-SEED.png`` by the prompt's place and the seed.
        lora: Adapter file, or a folder with one; None for the base alone.
        embedding: File of a learnt word (textual inversion); prompts call it by its name.
        generate: Sampler, steps, guidance and size; the defaults draw at the base's own size.
        vae: VAE in place of the base's own.

    Returns:
        How many pictures there are.

    Raises:
        RunError: If there is no prompt or no seed.
        AdapterError: If the adapter does not fit the base.
        BaseModelError: If the base cannot be loaded.
    """
    chosen = [Prompt(index=index, prompt=text, kind="recipe") for index, text in enumerate(prompts)]
    if not chosen:
        raise RunError("no prompt to draw", todo="Name at least one with --prompt")
    jobs = build_jobs(chosen, seeds)
    lora = None if lora is None else file_of(lora)
    if lora is not None:
        refuse_stranger(lora, base)
    on_event(StageStarted(STAGE, len(jobs), "pictures"))
    sampler = load_sampler(base, generate or GenerateTable(), vae=vae, on_event=on_event)
    settings = _settings(sampler) | _hashes(lora, scale, embedding)
    _put_on(sampler, lora, scale, embedding, on_event)
    series = Series(out, jobs, settings, 0, sampler.batch_size)
    num_drawn = draw_series(sampler, series, on_event)
    write_prompts(prompts_in(out), chosen)
    return GenerateResult(out, len(jobs), num_drawn, notify_broken(series, on_event))


def sampler_of(recipe: Recipe, on_event: OnEvent) -> Sampler:
    """The base of a run, ready to draw; no adapter is on it."""
    return load_sampler(
        recipe.base.model,
        recipe.generate,
        vae=recipe.base.vae,
        revision=recipe.base.revision,
        side_px=recipe.encode.resolution,
        objective=objective_by(recipe.base),
        on_event=on_event,
    )


def _settings(sampler: Sampler) -> dict[str, Any]:
    table = sampler.table.model_dump(mode="json", exclude={"prompts", "seeds", "resolution", "two_pass"})
    return {
        "base": sampler.fingerprint,
        **table,
        "side_px": sampler.side_px,
        "two_passes": sampler.has_two_passes,
    }


def _sizes(sampler: Sampler, run: RunDir) -> list[tuple[Sampler, Samples]]:
    """The size asked for and, where it is above the base's own, that one too; each with its folder."""
    asked = (sampler, run.drawn)
    if sampler.side_px <= sampler.native_px:
        return [asked]
    return [asked, (dataclasses.replace(sampler, side_px=sampler.native_px), run.drawn_at_native)]


def _series(
    sizes: Sequence[tuple[Sampler, Samples]], side: Side, jobs: Sequence[Job], own: dict[str, Any], start: int
) -> list[Series]:
    """The pictures of one model at every size."""
    return [
        Series(samples.of(side), jobs, _settings(one) | own, start + number * len(jobs), one.batch_size)
        for number, (one, samples) in enumerate(sizes)
    ]


def _draw_sizes(sizes: Sequence[tuple[Sampler, Samples]], series: Sequence[Series], on_event: OnEvent) -> int:
    """Draw one model at every size; how many were drawn."""
    return sum(draw_series(sampler, one, on_event) for (sampler, _), one in zip(sizes, series, strict=True))


def _put_on(sampler: Sampler, lora: Path | None, scale: float, word: Path | None, on_event: OnEvent) -> None:
    if lora is not None:
        load_lora(sampler, lora, scale, on_event)
    if word is not None:
        load_textual_inversion(sampler.pipeline, read_embedding(word), str(word))


def _hashes(lora: Path | None, scale: float, word: Path | None) -> dict[str, Any]:
    """What a picture depends on beside the base."""
    settings: dict[str, Any] = {}
    if lora is not None:
        settings |= {"lora": hash_file(lora), "scale": scale}
    if word is not None:
        settings |= {"embedding": hash_file(word)}
    return settings


def _load_first_word(sampler: Sampler, recipe: Recipe, on_event: OnEvent) -> dict[str, Any]:
    """Let the base read a learnt word as it was before training, and not as letters that mean nothing."""
    settings = recipe.lora
    token = settings.embedding_token
    if not token:
        return {}
    if not any(token in prompt for prompt in recipe.generate.prompts):
        message = f"no prompt of generate.prompts calls the learnt word {token}, so it does not act on them"
        on_event(Notice(STAGE, "word-not-called", message))
    first = initial_embedding(sampler.pipeline.components, sampler.family, settings)
    load_textual_inversion(sampler.pipeline, first)
    return {"word": [token, settings.embedding_vectors, settings.embedding_init]}


def _finish(samples: Samples, prompts: Sequence[Prompt], series: Mapping[str, Series]) -> None:
    """Write what describes the pictures, and clear away pictures of an earlier prompt set."""
    for one in series.values():
        wanted = {job.file_name for job in one.jobs}
        for path in one.folder.glob("*.png"):
            if path.name not in wanted:
                path.unlink()
    write_prompts(samples.prompts_json, prompts)
    write_json(samples.settings_json, {name: dict(one.settings) for name, one in series.items()})
