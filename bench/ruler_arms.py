"""The arms of the ruler: how each adapter is trained, what it draws, and what that is worth."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from bench.plain_loop import Settings, train_plainly
from bench.ruler import NUM_TO_CHOOSE, TRAINED_WORDS, Style, Task, judge_pictures
from veneer.config import Recipe
from veneer.models.drawing import Easel, paint
from veneer.models.embedder import Embedder
from veneer.models.modelfiles import pocket_folder
from veneer.recipe import load_recipe
from veneer.rundir import RunDir, write_json
from veneer.stages.encode import encode
from veneer.stages.export import export
from veneer.stages.train import train

ARMS = ("veneer", "veneer-third", "plain-report", "plain-tuned")


@dataclass(frozen=True)
class Plan:
    """What the bench is asked for.

    Attributes:
        steps: Optimizer steps of an arm.
        seeds: Seeds of training and of the choice of pictures.
        styles: The styles.
        work: Folder of data sets, adapters and pictures.
        num_subjects: Pictures learnt from, and subjects asked for.
    """

    steps: int
    seeds: tuple[int, ...]
    styles: tuple[Style, ...]
    work: Path
    num_subjects: int


@dataclass(frozen=True)
class Scores:
    """An arm on one style and seed; one value for each asked subject, or each general prompt (drift).

    Attributes:
        similarity: Cosine similarity to the true picture.
        first: 1 where the true picture is the nearest of all.
        style: Log odds of the style against all others.
        styled: 1 where the style is the most probable one.
        prompt: Cosine similarity of picture and prompt.
        subject: 1 where the own prompt is the nearest of all.
        drift: Cosine distance to the base's own picture.
        seconds: Seconds of training.
    """

    similarity: list[float]
    first: list[float]
    style: list[float]
    styled: list[float]
    prompt: list[float]
    subject: list[float]
    drift: list[float]
    seconds: float


def recommended(steps: int, seed: int) -> Recipe:
    """Veneer's recipe for the pocket base.

    Args:
        steps: Optimizer steps.
        seed: Seed of the run.

    Returns:
        `pocket-8bit` with these settings, so that what is measured is what is shipped.
    """
    every = max(1, steps // 6)
    overrides = [
        f"train.max_train_steps={steps}",
        f"train.seed={seed}",
        f"train.validation_steps={every}",
        f"train.checkpointing_steps={every}",
    ]
    return load_recipe("pocket-8bit", overrides)


def train_arm(arm: str, plan: Plan, task: Task, seed: int, folder: Path) -> tuple[Path, float]:
    """Train one arm, unless it is done.

    Args:
        arm: Name of the arm.
        plan: What the bench is asked for.
        task: What is learnt.
        seed: Seed of the training.
        folder: Folder of this style and seed; the data set is in ``data``.

    Returns:
        The LoRA file, and the seconds that training took.
    """
    out, clock = folder / arm / "lora.safetensors", folder / arm / "seconds.json"
    if not clock.is_file():
        began = time.monotonic()
        recipe = recommended(plan.steps // 3 if arm == "veneer-third" else plan.steps, seed)
        if arm.startswith("plain"):
            settings = Settings(
                pocket_folder(), folder / "data", out, plan.steps, resolution=task.side_px, seed=seed
            )
            if arm == "plain-tuned":
                table = recipe.train
                settings = replace(
                    settings, learning_rate=table.learning_rate, batch_size=table.train_batch_size
                )
            train_plainly(settings)
        else:
            _train_veneer(recipe, folder, arm, out)
        write_json(clock, time.monotonic() - began)
    return out, float(json.loads(clock.read_text()))


def _train_veneer(recipe: Recipe, folder: Path, arm: str, out: Path) -> None:
    run = RunDir(folder / arm / "run")
    run.root.mkdir(parents=True, exist_ok=True)
    if not run.dataset.exists():
        run.dataset.symlink_to((folder / "data").resolve(), target_is_directory=True)
    for stage in (encode, train, export):
        stage(run, recipe)
    out.write_bytes(run.lora_file.read_bytes())


def draw_all(easel: Easel, prompts: Sequence[str]) -> np.ndarray:
    """Draw one picture for each prompt; the seed is the prompt's place.

    Args:
        easel: The base, with or without an adapter.
        prompts: N prompts.

    Returns:
        Pictures, (N, side, side, 3) uint8.
    """
    jobs = [(prompt, number) for number, prompt in enumerate(prompts)]
    return np.stack([np.asarray(one.image) for one in paint(easel, jobs)])


def best_word(easel: Easel, task: Task) -> str:
    """The style word with which the base comes nearest to the style, chosen on learnt subjects.

    Args:
        easel: The base.
        task: The task.

    Returns:
        One of the base's own style words, the style's word, or none.
    """
    subjects = task.learnt[:NUM_TO_CHOOSE]
    true = task.true_pictures(subjects)
    nearness = {
        word: judge_pictures(
            draw_all(easel, task.prompts(word, subjects)), true, task.style
        ).similarity.mean()
        for word in (*TRAINED_WORDS, task.style.word, "")
    }
    return max(nearness, key=lambda word: float(nearness[word]))


def score(
    easel: Easel, clip: Embedder, task: Task, word: str, *, general: np.ndarray | None, seconds: float
) -> tuple[Scores, np.ndarray]:
    """Draw what is asked and measure it.

    Args:
        easel: The base, with or without an adapter.
        clip: The bundled CLIP.
        task: The task.
        word: Style word of the prompts.
        general: The base's own features on general prompts, (G, D); None for the base itself.
        seconds: Seconds that training took.

    Returns:
        The scores, and the pictures.
    """
    drawn = draw_all(easel, task.prompts(word, task.asked))
    judged = judge_pictures(drawn, task.true_pictures(task.asked), task.style)
    seen = clip.image_features([Image.fromarray(one) for one in drawn])
    read = clip.text_features(task.prompts("", task.asked))
    assert read is not None
    likeness = seen @ read.T
    drift = [0.0]
    if general is not None:
        drift = list(1 - (general_features(easel, clip) * general).sum(1))
    scores = Scores(
        judged.similarity.tolist(),
        judged.is_first.astype(float).tolist(),
        judged.style.tolist(),
        judged.is_styled.astype(float).tolist(),
        likeness.diagonal().tolist(),
        (likeness.argmax(1) == np.arange(len(drawn))).astype(float).tolist(),
        [float(one) for one in drift],
        seconds,
    )
    return scores, drawn


def general_features(easel: Easel, clip: Embedder) -> np.ndarray:
    """Features of pictures of the recipe's general prompts.

    Args:
        easel: The base, with or without an adapter.
        clip: The bundled CLIP.

    Returns:
        Rows of unit length, (G, D).
    """
    prompts = recommended(6, 0).compare.general_prompts
    return clip.image_features([Image.fromarray(one) for one in draw_all(easel, prompts)])
