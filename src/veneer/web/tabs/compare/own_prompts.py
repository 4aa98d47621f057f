"""Prompts tried out on a run: base and tuned, at any strength, from any checkpoint."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veneer.config import BaseTable, GenerateTable, Recipe
from veneer.errors import RunError, VeneerError
from veneer.events import OnEvent
from veneer.recipe import fingerprint, resolve
from veneer.records.run import ADAPTER_FILE, RunDir
from veneer.web.studio import Studio

MAX_PICTURES = 64


@dataclass(frozen=True)
class OwnPrompts:
    """What to draw.

    Attributes:
        base: The base model.
    """

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    scale: float
    table: GenerateTable
    base: BaseTable

    @property
    def key(self) -> str:
        """A folder's name for these pictures, whatever the strength."""
        return fingerprint([self.prompts, self.seeds, self.table.model_dump(mode="json")])


def read_own_prompts(recipe: Recipe, prompts: str, seeds: str, scale: float, steps: str) -> OwnPrompts:
    """Read what the user asked for.

    Args:
        prompts: One prompt a line.
        seeds: Numbers with commas or spaces between.
        steps: Denoising steps; empty for the recipe's.

    Returns:
        What to draw.

    Raises:
        VeneerError: If a prompt or seed is missing or no number, or it would be too many pictures.
    """
    lines = tuple(line.strip() for line in prompts.splitlines() if line.strip())
    words = [word for word in re.split(r"[\s,;]+", seeds) if word]
    if not lines:
        raise VeneerError("no prompt to draw", todo="Write at least one")
    wrong = [word for word in words if not word.isdigit()]
    if wrong or not words:
        raise VeneerError("seeds are whole numbers", where=", ".join(wrong), todo="Write them as in: 0, 1, 2")
    if len(lines) * len(words) > MAX_PICTURES:
        raise VeneerError(
            f"{len(lines) * len(words)} pictures at once", todo=f"Ask for at most {MAX_PICTURES}"
        )
    table = recipe.generate.model_dump(mode="json") | {
        "resolution": recipe.generate.resolution or recipe.encode.resolution,
        "num_inference_steps": steps.strip() or recipe.generate.num_inference_steps,
    }
    drawn = resolve({"generate": table}, "the page").generate
    return OwnPrompts(lines, tuple(map(int, words)), float(scale), drawn, recipe.base)


def draw_pictures(
    run: RunDir,
    trial: OwnPrompts,
    lora: Path | None,
    out: Path,
    on_event: OnEvent,
    *,
    embedding: Path | None = None,
) -> Any:
    """Draw with a run's base.

    Args:
        lora: The adapter; None for the base alone.
        out: Folder of the pictures.
        embedding: File of the learnt word; None for none.

    Returns:
        What `veneer generate` returns.
    """
    from veneer.stages.generate import generate_files

    word = run.embedding_file if lora is not None and run.embedding_file.is_file() else None
    return generate_files(
        trial.base.model,
        trial.prompts,
        trial.seeds,
        out,
        lora=lora,
        scale=trial.scale,
        embedding=word,
        generate=trial.table,
        vae=trial.base.vae,
        on_event=on_event,
    )


def place(studio: Studio, run: str, trial: OwnPrompts) -> Path:
    """Where the pictures of a trial are kept.

    Returns:
        A folder; the base's pictures go to ``base/`` in it.
    """
    return studio.workspace.private / "drawn" / run / trial.key


def tuned_folder(trial: OwnPrompts) -> str:
    """Name of the folder of a strength's pictures.

    Returns:
        Such as ``tuned-0.8``.
    """
    return f"tuned-{trial.scale:g}"


def checkpoints(run: RunDir) -> list[str]:
    """Names of a run's checkpoints.

    Returns:
        Such as ``step-000500``, by rising step.
    """
    return sorted(path.parent.name for path in run.checkpoints.glob(f"step-*/{ADAPTER_FILE}"))


def checkpoint_lora(run: RunDir, name: str, out: Path) -> Path:
    """A checkpoint as a LoRA file.

    Args:
        out: Folder for the file.

    Returns:
        The file, written anew where the checkpoint changed.

    Raises:
        RunError: If there is no such checkpoint.
    """
    from veneer.lora.convert import export_file

    if name not in checkpoints(run):
        raise RunError("the checkpoint is gone", where=name, todo="Choose another one")
    source, target = run.checkpoints / name / ADAPTER_FILE, out / f"{name}.safetensors"
    if not target.is_file() or target.stat().st_mtime < source.stat().st_mtime:
        export_file(source, target, layout="diffusers")
    return target


def learnt(run: RunDir) -> tuple[Path | None, Path | None]:
    """What a run has made.

    Returns:
        The adapter and the learnt word, each None where the run has none.

    Raises:
        RunError: If it has neither.
    """
    found = [path if path.is_file() else None for path in (run.lora_file, run.embedding_file)]
    if found == [None, None]:
        raise RunError("this run has no LoRA yet", where=run.name, todo="Wait for its end, or resume it")
    return found[0], found[1]


def shell_words(run: RunDir, trial: OwnPrompts, out: str) -> list[str]:
    """The shell command that draws the tuned pictures of a trial.

    Args:
        trial: What is drawn.
        out: Folder of the pictures.

    Returns:
        Words after ``veneer``.
    """
    prompts: Sequence[str] = [word for prompt in trial.prompts for word in ("--prompt", prompt)]
    seeds = [word for seed in trial.seeds for word in ("--seed", str(seed))]
    lora, embedding = learnt(run)
    files = ["--lora", f"runs/{run.name}/lora/{lora.name}", "--scale", f"{trial.scale:g}"] if lora else []
    files += ["--embedding", f"runs/{run.name}/lora/{embedding.name}"] if embedding else []
    table = trial.table
    how = ["--steps", str(table.num_inference_steps), "--guidance", f"{table.guidance_scale:g}"]
    how += ["--scheduler", table.scheduler, "--resolution", str(table.resolution)]
    return ["generate", "--base", trial.base.model, *files, *prompts, *seeds, *how, "--out", out]
