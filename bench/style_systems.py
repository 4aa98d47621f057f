"""The systems of the style bench: how each adapter is trained, what it draws, and what that is worth."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.plain_loop import Settings, train_plainly
from bench.style_tasks import NUM_TO_CHOOSE, TRAINED_WORDS, Style, Task, judge_pictures, texture_distance
from veneer.config import Recipe
from veneer.models.embedder import Embedder
from veneer.models.modelfiles import pocket_folder
from veneer.models.sampling import Sampler, sample
from veneer.recipe import fingerprint, load_recipe
from veneer.records.run import RunDir
from veneer.stages.encode import encode
from veneer.stages.export import export
from veneer.stages.train import train

BASE, TRUTH = "base", "truth"
SYSTEMS = ("plain", "veneer", "veneer-third")
"""Systems that every run has; all but the base are trained."""
EXTRA_SYSTEMS = ("plain-report",)
"""Systems on request: the plain loop at the report's own learning rate and batch."""
PLAIN_LEARNING_RATE = 2e-3
"""The best of 1e-3, 2e-3 and 4e-3 for the plain loop on openmoji: its settings shall not be what beats it."""
NOT_SETTINGS: dict[str, Any] = {
    **dict.fromkeys(("collect", "caption", "generate", "compare"), True),
    "train": {"cuda_graph", "deterministic", "preview_steps"},
}
"""Of a recipe, what its training does not depend on beyond rounding."""
NUM_INFERENCE_STEPS = 14
VALIDATIONS = 4


@dataclass(frozen=True)
class Plan:
    """What the bench is asked for.

    Attributes:
        steps: Optimizer steps of a system.
        seeds: Seeds of training and of the choice of pictures.
        systems: The trained systems.
        work: Folder of data sets, adapters and pictures.
        num_subjects: Pictures learnt from, and subjects asked for.
        changes: Settings of Veneer's recipe to try instead of its own, as ``--set`` takes them.
        is_written: Whether the document is written with fewer than three seeds too.
    """

    steps: int
    seeds: tuple[int, ...]
    styles: tuple[Style, ...]
    systems: tuple[str, ...]
    work: Path
    num_subjects: int
    changes: tuple[str, ...] = ()
    is_written: bool = False


@dataclass(frozen=True)
class Scores:
    """A system on one style and seed; one value for each asked subject, or each general prompt (drift).

    Attributes:
        similarity: Cosine similarity to the true picture.
        first: 1 where the true picture is the nearest of all.
        style: Log odds of the style against all others.
        styled: 1 where the style is the most probable one.
        texture: Distance of texture to the style's, in its own deviations.
        prompt: Cosine similarity of picture and prompt.
        subject: 1 where the own prompt is the nearest of all.
        drift: Cosine distance to the base's own picture; empty for the truth.
    """

    similarity: list[float]
    first: list[float]
    style: list[float]
    styled: list[float]
    texture: list[float]
    prompt: list[float]
    subject: list[float]
    drift: list[float]


def recommended(steps: int, seed: int, changes: Sequence[str] = ()) -> Recipe:
    """Veneer's recipe for the pocket base.

    Args:
        changes: Settings to try instead of the recipe's own.

    Returns:
        `pocket-8bit` with these settings, so that what is measured is what is shipped.
    """
    every = max(1, steps // VALIDATIONS)
    overrides = [
        f"train.max_train_steps={steps}",
        f"train.seed={seed}",
        f"train.validation_steps={every}",
        f"train.checkpointing_steps={steps}",
        f"generate.num_inference_steps={NUM_INFERENCE_STEPS}",
        *changes,
    ]
    return load_recipe("pocket-8bit", overrides)


def steps_of(system: str, plan: Plan) -> int:
    """Optimizer steps of a system.

    Returns:
        The plan's steps, or a third of them.
    """
    return max(1, plan.steps // 3) if system == "veneer-third" else plan.steps


def settings_of(system: str, plan: Plan, seed: int) -> dict[str, Any]:
    """Everything that the training of a system depends on, beside base and pictures.

    Returns:
        Plain data; a system that was trained with other settings is trained again. Keys that are not set are
        left out, so that a new one does not ask for another training.
    """
    recipe = recommended(steps_of(system, plan), seed, plan.changes)
    if system.startswith("plain"):
        plain = _plain_settings(system, plan, seed, data=Path(), out=Path(), side_px=recipe.encode.resolution)
        return {key: value for key, value in asdict(plain).items() if key not in {"base", "data", "out"}}
    return recipe.model_dump(mode="json", exclude=NOT_SETTINGS, exclude_none=True)


def train_system(system: str, plan: Plan, seed: int, folder: Path, *, side_px: int) -> tuple[Path, float]:
    """Train one system.

    Args:
        seed: Seed of the training.
        folder: Folder of this style and seed; the data set is in ``data``.

    Returns:
        The LoRA file, and the seconds that encoding and training took.
    """
    out, began = folder / system / "lora.safetensors", time.monotonic()
    if system.startswith("plain"):
        train_plainly(_plain_settings(system, plan, seed, data=folder / "data", out=out, side_px=side_px))
    else:
        _train_veneer(recommended(steps_of(system, plan), seed, plan.changes), folder, system, out)
    return out, time.monotonic() - began


def _plain_settings(system: str, plan: Plan, seed: int, *, data: Path, out: Path, side_px: int) -> Settings:
    settings = Settings(pocket_folder(), data, out, steps_of(system, plan), resolution=side_px, seed=seed)
    if system == "plain-report":
        return settings
    batch_size = recommended(plan.steps, seed).train.train_batch_size
    return replace(settings, learning_rate=PLAIN_LEARNING_RATE, batch_size=batch_size)


def _train_veneer(recipe: Recipe, folder: Path, system: str, out: Path) -> None:
    """Encode (once for all systems of a seed), train and export."""
    run, shared = RunDir(folder / system / "run"), folder / f"cache-{fingerprint(recipe.encode.model_dump())}"
    for link, target in ((run.dataset, folder / "data"), (run.cache, shared)):
        if not link.is_symlink():
            target.mkdir(parents=True, exist_ok=True)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target.resolve(), target_is_directory=True)
    for stage in (encode, train, export):
        stage(run, recipe)
    out.write_bytes(run.lora_file.read_bytes())


def draw_all(sampler: Sampler, prompts: Sequence[str]) -> np.ndarray:
    """Draw one picture for each prompt; the seed is the prompt's place.

    Args:
        sampler: The base, with or without an adapter.
        prompts: N prompts.

    Returns:
        Pictures, (N, side, side, 3) uint8.
    """
    jobs = [(prompt, number) for number, prompt in enumerate(prompts)]
    return np.stack([np.asarray(one.image) for one in sample(sampler, jobs)])


def best_word(sampler: Sampler, task: Task) -> str:
    """The style word with which the base comes nearest to the style, chosen on learnt subjects.

    Returns:
        One of the base's own style words, the style's word, or none.
    """
    subjects = task.learnt[:NUM_TO_CHOOSE]
    words, true = (*TRAINED_WORDS, task.style.word, ""), task.true_pictures(subjects)
    drawn = draw_all(sampler, [prompt for word in words for prompt in task.prompts(word, subjects)])
    parts = np.split(drawn, len(words))
    nearness = [judge_pictures(part, true, task.style).similarity.mean() for part in parts]
    return words[int(np.argmax(nearness))]


def score(
    sampler: Sampler, clip: Embedder, task: Task, word: str, general: np.ndarray, *, is_base: bool = False
) -> tuple[Scores, np.ndarray]:
    """Draw what is asked and measure it.

    Args:
        sampler: The base, with or without an adapter.
        word: Style word of the prompts.
        general: The base's own features on general prompts, (G, D).
        is_base: Whether no adapter is on: drift is 0 then.

    Returns:
        The scores, and the pictures.
    """
    drawn = draw_all(sampler, task.prompts(word, task.asked))
    drift = np.zeros(len(general)) if is_base else 1 - (general_features(sampler, clip) * general).sum(1)
    return scores_of(drawn, clip, task, drift), drawn


def scores_of(drawn: np.ndarray, clip: Embedder, task: Task, drift: np.ndarray) -> Scores:
    """Measure pictures of the asked subjects; the true ones themselves tell what can be reached.

    Args:
        drawn: Pictures, (N, side, side, 3) uint8.
        drift: Cosine distances on general prompts.
    """
    true = task.true_pictures(task.asked)
    judged, texture = judge_pictures(drawn, true, task.style), texture_distance(drawn, true)
    seen = clip.image_features([Image.fromarray(one) for one in drawn])
    read = clip.text_features(task.prompts("", task.asked))
    assert read is not None
    likeness = seen @ read.T
    is_subject = likeness.argmax(1) == np.arange(len(drawn))
    columns = (judged.similarity, judged.is_first, judged.style, judged.is_styled, texture)
    numbers = (*columns, likeness.diagonal(), is_subject, drift)
    return Scores(*(np.asarray(one, float).round(5).tolist() for one in numbers))


def general_features(sampler: Sampler, clip: Embedder) -> np.ndarray:
    """Features of pictures of the recipe's general prompts.

    Args:
        sampler: The base, with or without an adapter.

    Returns:
        Rows of unit length, (G, D).
    """
    prompts = recommended(6, 0).compare.general_prompts
    return clip.image_features([Image.fromarray(one) for one in draw_all(sampler, prompts)])
