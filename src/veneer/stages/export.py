"""Export: the chosen checkpoint as files that other tools load, each loaded back before it counts.

Run as ``veneer export RUN``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from veneer.arguments import PathLike
from veneer.config import Recipe
from veneer.errors import RunError
from veneer.events import Notice, OnEvent, Progress, StageStarted
from veneer.lora.adapter import tuner_layers
from veneer.lora.check import outputs_with, verify
from veneer.lora.checkpoint import read_checkpoint
from veneer.lora.embedding_file import Embedding, read_embedding
from veneer.lora.file import write_diffusers, write_kohya
from veneer.lora.keys import (
    OWN_BASE,
    OWN_FAMILY,
    OWN_FINGERPRINT,
    OWN_KIND,
    OWN_PREDICTION_TYPE,
    OWN_RECIPE,
    OWN_STEP,
    OWN_TIMESTEP_RANK,
    OWN_VERSION,
)
from veneer.lora.methods import (
    PEFT_CONFIG,
    PEFT_WEIGHTS,
    as_lora,
    difference_of_peft,
    method_applied,
    write_peft,
)
from veneer.lora.names import DENOISER, network_of, part_of
from veneer.lora.textual_inversion import file_stem, verify_embedding, write_embedding
from veneer.lora.usage import LoraUsage, write_usage
from veneer.lora.weights import DOWN, LoraFile, from_state
from veneer.models.base import Base, load_base_of
from veneer.notebook import in_notebook
from veneer.proof.strengths import usage_of
from veneer.recipe import to_toml
from veneer.records.candidates import Chosen, known_candidates
from veneer.records.files import staged_files
from veneer.records.run import ADAPTER_FILE, AnyRun, RunDir, opened
from veneer.versions import VERSION

STAGE = "export"
_FileJob = tuple[Path, Callable[[Path], float]]
"""A file in the end, and what writes it under another name and gives its difference once loaded back."""


@dataclass(frozen=True)
class ExportResult:
    """What the stage wrote.

    Attributes:
        paths: The files.
        step: Optimizer step of the weights.
        kind: "step", "ema" or "average".
        differences: For each file, the largest difference of an output after loading it back, as a share of
            the adapter's own effect; of a learnt word, as a share of the output.
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


def export(
    run: AnyRun, recipe: Recipe | PathLike | None = None, on_event: OnEvent = in_notebook
) -> ExportResult:
    """Write the chosen checkpoint of a run in both layouts, and load both back; a learnt word likewise.

    Returns:
        The files and how they load.

    Raises:
        RunError: If nothing was trained, or no checkpoint was chosen.
        AdapterError: If a written file does not load as it was trained.
    """
    run, recipe = opened(run, recipe)
    chosen, path = _chosen(run)
    state = read_checkpoint(path)
    base = _base_of(recipe, state, on_event)
    text = _metadata(recipe, base, chosen)
    if recipe.lora.timestep_rank:
        message = "trained with timestep_rank (T-LoRA): other tools use all ranks at every timestep"
        on_event(Notice(STAGE, "timestep-rank", message))
    jobs: list[_FileJob] = []
    if state:
        own = _converted(state, recipe, base, text, on_event) if recipe.lora.method else None
        jobs += _lora_jobs(run, own or from_state(state, recipe.lora, text), base, usage_of(run, recipe))
        jobs += _method_jobs(run, state, recipe, base) if recipe.lora.method else []
    if recipe.lora.embedding_token:
        word = read_embedding(path.with_name("embedding.safetensors"))
        jobs += _word_jobs(run, Embedding(recipe.lora.embedding_token, word.vectors, text), base)
    on_event(StageStarted(STAGE, len(jobs), "files"))
    differences = {}
    with staged_files(run.lora) as folder:
        for number, (final, write_and_verify) in enumerate(jobs, 1):
            name = final.relative_to(run.lora)
            differences[name.name] = write_and_verify(folder / name)
            on_event(Progress(STAGE, number, name.name))
    beside = {final.with_name(PEFT_CONFIG) for final, _ in jobs if final.name == PEFT_WEIGHTS}
    for path in set(run.exported) - {final for final, _ in jobs} - beside:  # of a recipe that wrote more
        path.unlink(missing_ok=True)
    return ExportResult(tuple(final for final, _ in jobs), chosen.step, chosen.kind, differences)


run = export
"""The stage, as the pipeline calls it."""


def _base_of(recipe: Recipe, state: Mapping[str, Tensor], on_event: OnEvent) -> Base:
    """The base; its text encoders, which may be the larger part, only where one of them was trained."""
    has_text = bool(recipe.lora.embedding_token) or any(network_of(name)[0] != DENOISER for name in state)
    parts = ("tokenizer", "unet", "scheduler", *(("text_encoder",) if has_text else ()))
    return load_base_of(recipe.base.model_copy(update={"vae": None}), parts=parts, on_event=on_event)


def _lora_jobs(run: RunDir, lora: LoraFile, base: Base, usage: LoraUsage) -> list[_FileJob]:
    """The second layout says its strength as far as it is known; the report knows the one that was found."""
    measure = outputs_with(base, lora)

    def written(write: Callable[[Path, LoraFile], None]) -> Callable[[Path], float]:
        def write_and_verify(path: Path) -> float:
            write(path, lora)
            return verify(path, lora, base, measure=measure)

        return write_and_verify

    def write_second(path: Path, lora: LoraFile) -> None:
        write_kohya(path, lora)
        write_usage(path, replace(usage, name=path.stem))

    return [(run.lora_file, written(write_diffusers)), (run.kohya_file, written(write_second))]


def _converted(
    state: Mapping[str, Tensor], recipe: Recipe, base: Base, text: dict[str, str], on_event: OnEvent
) -> LoraFile:
    """The plain LoRA nearest to a trained LoKr, LoHa or OFT; how near is told."""
    found: dict[str, Tensor] = {}
    errors: list[float] = []
    rank = 0
    for part, network in base.networks.items():
        with method_applied(network, recipe.lora, part_of(state, part)):
            if not tuner_layers(network):
                continue
            own = as_lora(network)
        prefix = "" if part == DENOISER else f"{part}."
        found |= {f"{prefix}{name}": weight for name, weight in own.state.items()}
        errors, rank = [*errors, own.error], max(rank, own.rank)
    lost, method = max(errors), recipe.lora.method
    message = f"the plain LoRA lacks {lost:.2%} of what {method} learnt, at rank {rank}; lora/peft has all"
    on_event(Notice(STAGE, "method-converted", message))
    alphas = {
        name.removesuffix(f".{DOWN}"): float(len(w)) for name, w in found.items() if name.endswith(DOWN)
    }
    return LoraFile(found, alphas, metadata=text)


def _method_jobs(run: RunDir, state: Mapping[str, Tensor], recipe: Recipe, base: Base) -> list[_FileJob]:
    """Peft's own files of the trained method, a folder a network."""

    def job(part: str, network: Any, own: dict[str, Tensor]) -> _FileJob:
        def write_and_verify(path: Path) -> float:
            with method_applied(network, recipe.lora, own):
                write_peft(path.parent, network)
            return difference_of_peft(path.parent, network, recipe.lora, own)

        name = base.family.denoiser if part == DENOISER else part
        return run.lora / "peft" / name / PEFT_WEIGHTS, write_and_verify

    parts = [(part, net, part_of(state, part)) for part, net in base.networks.items()]
    return [job(*one) for one in parts if one[2]]


def _word_jobs(run: RunDir, word: Embedding, base: Base) -> list[_FileJob]:
    def write_and_verify(path: Path) -> float:
        write_embedding(path, word)
        return verify_embedding(path, word, base)

    named = run.word_file(file_stem(word.token))
    return [(run.embedding_file, write_and_verify), (named, write_and_verify)]


def _chosen(run: RunDir) -> tuple[Chosen, Path]:
    """The chosen candidate, and its adapter."""
    if not run.candidates_json.is_file():
        raise RunError("nothing was trained yet", where=str(run.root), todo="Run `veneer train RUN` first")
    chosen = known_candidates(run).chosen
    if chosen is None or not chosen.path:
        raise RunError(
            "no checkpoint was chosen", where=str(run.candidates_json), todo="Train for more steps"
        )
    path = run.root / chosen.path
    return chosen, path / ADAPTER_FILE if path.is_dir() else path


def _metadata(recipe: Recipe, base: Base, chosen: Chosen) -> dict[str, str]:
    text = {
        OWN_VERSION: VERSION,
        OWN_RECIPE: to_toml(recipe),
        OWN_BASE: base.source,
        OWN_FINGERPRINT: base.fingerprint,
        OWN_FAMILY: base.family.name,
        OWN_PREDICTION_TYPE: base.prediction_type,
        OWN_STEP: str(chosen.step),
        OWN_KIND: chosen.kind,
    }
    if recipe.lora.timestep_rank:
        text[OWN_TIMESTEP_RANK] = "true"
    return text
