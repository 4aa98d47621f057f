"""One look at a trained trial: on prompts, seeds and held-out pictures that choose and never judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from veneer.config import Recipe
from veneer.events import OnEvent, ignore
from veneer.models.sampling import Sampler
from veneer.proof.pairs import Pair
from veneer.proof.strengths import find_strength
from veneer.proof.sweep import draw_beside, pairs_beside
from veneer.recipe import fingerprint
from veneer.records.cache import read_index
from veneer.records.files import staged_folder
from veneer.records.run import RunDir
from veneer.records.sweeps import SweepDir, TrialRecord
from veneer.stages.generate import chooser_of, sampler_of


def look_at(folder: SweepDir, trial: RunDir, recipe: Recipe, on_event: OnEvent = ignore) -> str:
    """Draw with a trial's adapter at its strengths, and measure; the base's pictures are drawn once a sweep.

    Returns:
        Name of the folder of the base's pictures. What was found is the trial's ``strength.json``, which
        `generate` takes as it is.

    Raises:
        RecipeError: If there are not two held-out pictures, one to choose and one to judge by.
        VeneerError: If the base or an embedder cannot be loaded.
    """
    chooser = chooser_of(read_index(trial), recipe)
    sampler = sampler_of(recipe, on_event)
    home = draw_base(folder, recipe, sampler, chooser.jobs)
    find_strength(trial, recipe, sampler, chooser, on_event, beside=pairs_beside(chooser.jobs, home))
    return home.name


def draw_base(folder: SweepDir, recipe: Recipe, sampler: Sampler, jobs: Sequence[tuple[str, int]]) -> Path:
    """Draw the base's pictures of some prompts and seeds, unless a trial before needed the same.

    Returns:
        Their folder.
    """
    drawing = recipe.generate.model_dump(mode="json", exclude={"prompts", "seeds"})
    home = folder.base / fingerprint([sampler.fingerprint, sampler.side_px, drawing, list(jobs)])
    if not home.is_dir():
        with staged_folder(home) as aside:
            draw_beside(sampler, jobs, aside)
    return home


def pairs_of_trial(folder: SweepDir, trial: TrialRecord, recipe: Recipe, scale: float) -> list[Pair]:
    """Pictures of the base and of a trial at a strength, as `look_at` drew them.

    Args:
        recipe: The trial's.
    """
    run = folder.trial(trial.name)
    jobs = chooser_of(read_index(run), recipe).jobs
    tuned = run.strength_samples / f"0-{run.lora_file.stem}-{scale:g}"
    pairs = pairs_beside(jobs, folder.base / trial.beside)
    return [replace(pair, tuned=tuned / pair.base.name) for pair in pairs]
