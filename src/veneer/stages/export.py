"""Export: the chosen checkpoint as files that other tools load, each loaded back before it counts.

Run as ``veneer export RUN``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veneer.config import Recipe
from veneer.errors import RunError
from veneer.events import Notice, OnEvent, Progress, StageStarted, ignore
from veneer.lora.check import verify, wearing_outputs
from veneer.lora.checkpoint import read_checkpoint
from veneer.lora.file import write_diffusers, write_kohya
from veneer.lora.weights import from_state
from veneer.models.base import Base, load_base
from veneer.recipe import to_toml
from veneer.rundir import RunDir, staged_folder
from veneer.versions import VERSION

STAGE = "export"


@dataclass(frozen=True)
class ExportResult:
    """What the stage wrote.

    Attributes:
        paths: The files.
        step: Optimizer step of the weights.
        kind: "step", "ema" or "average".
        differences: For each file, the largest difference of an output after loading it back, as a share of
            the adapter's own effect.
    """

    paths: tuple[Path, ...]
    step: int
    kind: str
    differences: Mapping[str, float]

    @property
    def summary(self) -> str:
        """One line of what was written and how well it loads."""
        names, worst = ", ".join(path.name for path in self.paths), max(self.differences.values())
        which = "weights" if self.kind == "step" else self.kind
        return f"{which} of step {self.step}: {names}; loaded back, at most {worst:.1g} of its effect is off"


def export(run: RunDir, recipe: Recipe, on_event: OnEvent = ignore) -> ExportResult:
    """Write the chosen checkpoint of a run in both layouts, and load both back.

    Args:
        run: The run, trained.
        recipe: Its recipe.
        on_event: Listener for progress and notices.

    Returns:
        The files and how they load.

    Raises:
        RunError: If nothing was trained, or no checkpoint was chosen.
        AdapterError: If a written file does not load as it was trained.
    """
    chosen = _chosen(run)
    on_event(StageStarted(STAGE, 2, "files"))
    parts = ("tokenizer", "text_encoder", "unet", "scheduler")
    base = load_base(recipe.base.model, revision=recipe.base.revision, parts=parts, on_event=on_event)
    state = read_checkpoint(_inside(run, str(chosen["path"])))
    lora = from_state(state, recipe.lora, _metadata(recipe, base, chosen))
    if recipe.lora.timestep_rank:
        message = "trained with timestep_rank (T-LoRA): other tools use all ranks at every timestep"
        on_event(Notice(STAGE, "timestep-rank", message))
    measure, differences = wearing_outputs(base, lora), {}
    with staged_folder(run.lora) as folder:
        for number, (path, write) in enumerate(
            ((run.lora_file, write_diffusers), (run.kohya_file, write_kohya)), 1
        ):
            staged = folder / path.relative_to(run.lora)
            write(staged, lora)
            differences[path.name] = verify(staged, lora, base, measure=measure)
            on_event(Progress(STAGE, number, path.name))
    return ExportResult(
        (run.lora_file, run.kohya_file), int(chosen["step"]), str(chosen["kind"]), differences
    )


def _chosen(run: RunDir) -> dict[str, Any]:
    if not run.candidates_json.is_file():
        raise RunError("nothing was trained yet", where=str(run.root), todo="Run `veneer train RUN` first")
    chosen = json.loads(run.candidates_json.read_text("utf-8")).get("chosen")
    if not chosen or not chosen.get("path"):
        raise RunError(
            "no checkpoint was chosen", where=str(run.candidates_json), todo="Train for more steps"
        )
    return dict(chosen)


def _inside(run: RunDir, name: str) -> Path:
    path = run.root / name
    return path / "adapter.safetensors" if path.is_dir() else path


def _metadata(recipe: Recipe, base: Base, chosen: Mapping[str, Any]) -> dict[str, str]:
    text = {
        "veneer.version": VERSION,
        "veneer.recipe": to_toml(recipe),
        "veneer.base": base.source,
        "veneer.base_fingerprint": base.fingerprint,
        "veneer.family": base.family,
        "veneer.prediction_type": base.prediction_type,
        "veneer.step": str(chosen["step"]),
        "veneer.kind": str(chosen["kind"]),
    }
    if recipe.lora.timestep_rank:
        text["veneer.timestep_rank"] = "true"
    return text
