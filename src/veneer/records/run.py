"""The run folder: names every file of a run.

::

    RUN/recipe.toml  RUN/run.json  RUN/checksums.json
    RUN/dataset/{images/, metadata.csv, provenance.jsonl, rejected/}
    RUN/cache/{index.json, latents/*.safetensors, text/*.safetensors}
    RUN/train/{log.jsonl, candidates.json, checkpoints/step-000500/, previews/, stopped/step-000512/}
    RUN/lora/{pytorch_lora_weights.safetensors, kohya/NAME.safetensors, kohya/NAME.json}
    RUN/lora/{learned_embeds.safetensors, embeddings/WORD.safetensors}   where a word was learnt
    RUN/samples/{base,tuned}/P-SEED.png
    RUN/samples/{strength.json, strengths/}   where the strength was chosen
    RUN/report/{index.html, grid.png, metrics.json, report.md}
    RUN/tracking/   where `--track` asked for it
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veneer.arguments import PathLike, given_path, wrong_kind
from veneer.config import Recipe
from veneer.errors import RunError
from veneer.recipe import load_recipe, recipe_of, to_toml
from veneer.records.files import Record, write_json, write_text
from veneer.records.html import pictures_html, rows_html
from veneer.records.names import RUN_FILE
from veneer.records.prompts import Samples

ADAPTER_FILE = "adapter.safetensors"
"""Name of the adapter in the folder of a checkpoint or a candidate."""


class Identity(Record):
    """What the result of a stage depends on."""

    settings: Mapping[str, Mapping[str, Any]]
    """Values of the recipe by table and key."""
    inputs: Mapping[str, str]
    """Hashes of the files that it reads, by name; "" where a file is missing."""


class CountedNotice(Record):
    """What a stage said, and how often."""

    code: str
    """Short fixed name."""
    count: int
    """How often."""
    message: str
    """The first of its messages."""


class StageRecord(Record):
    """How a stage was done."""

    identity: Identity
    """With what it was done."""
    summary: str
    """One line of what came out."""
    seconds: float
    """Wall-clock seconds it took."""
    peak_memory_gib: float
    """Highest resident memory, in GiB."""
    peak_device_memory_gib: float = 0.0
    """Highest memory of tensors on the accelerator, in GiB; 0 on the CPU."""
    finished: str = ""
    """When, in UTC."""
    notices: tuple[CountedNotice, ...] = ()
    """What it said on the way."""


class RunRecord(Record):
    """How a run was done: ``run.json``."""

    stages: Mapping[str, StageRecord] = {}
    """Stages that are done, in order."""
    versions: Mapping[str, str] = {}
    """Packages of the last `veneer run`."""

    def write(self, path: Path) -> None:
        """Write it; what an older file does not say stays unsaid."""
        write_json(path, self.model_dump(exclude_unset=True))


@dataclass(frozen=True, init=False)
class RunDir:
    """A run folder; building one touches no disk."""

    root: Path

    def __init__(self, root: PathLike) -> None:
        object.__setattr__(self, "root", given_path(root, "root"))

    @property
    def name(self) -> str:
        """Name of the run, the folder's own."""
        return self.root.resolve().name

    @property
    def recipe_toml(self) -> Path:
        """The resolved recipe."""
        return self.root / "recipe.toml"

    @property
    def run_json(self) -> Path:
        """Versions, and for each stage hashes, seconds, peak memory and notices."""
        return self.root / RUN_FILE

    @property
    def checksums_json(self) -> Path:
        """Checksums of what finished stages left, and a second copy of run.json."""
        return self.root / "checksums.json"

    @property
    def dataset(self) -> Path:
        """The data set: a Hugging Face image folder."""
        return self.root / "dataset"

    @property
    def cache(self) -> Path:
        """Latents and text embeddings."""
        return self.root / "cache"

    @property
    def cache_index(self) -> Path:
        """What the cache holds, and from what it was made."""
        return self.cache / "index.json"

    @property
    def train(self) -> Path:
        """Log, checkpoints and previews."""
        return self.root / "train"

    @property
    def log_jsonl(self) -> Path:
        """One JSON object for each optimizer step."""
        return self.train / "log.jsonl"

    @property
    def candidates_json(self) -> Path:
        """Held-out loss of every candidate, and which was chosen."""
        return self.train / "candidates.json"

    @property
    def kept_candidates(self) -> Path:
        """Folder of the weights that were best when they were judged."""
        return self.train / "candidates"

    @property
    def previews(self) -> Path:
        """Folder of the pictures drawn while training."""
        return self.train / "previews"

    @property
    def profile(self) -> Path:
        """Where the time of a step went (`veneer train --profile`)."""
        return self.train / "profile"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.train / "checkpoints"

    @property
    def stopped(self) -> Path:
        """Folder of the checkpoint that an interruption leaves until the next regular one."""
        return self.train / "stopped"

    def checkpoint(self, step: int) -> Path:
        """Folder of one checkpoint.

        Args:
            step: Optimizer step, from 1.

        Returns:
            Its path, such as ``train/checkpoints/step-000500``.
        """
        return self.checkpoints / f"step-{step:06d}"

    @property
    def lora(self) -> Path:
        """The exported adapter."""
        return self.root / "lora"

    @property
    def lora_file(self) -> Path:
        """The exported adapter in diffusers' layout."""
        return self.lora / "pytorch_lora_weights.safetensors"

    @property
    def kohya_file(self) -> Path:
        """The exported adapter in kohya's layout."""
        return self.lora / "kohya" / f"{self.name}.safetensors"

    @property
    def webui_card(self) -> Path:
        """What A1111 and Forge read beside it: the words to call it by, and the strength to use."""
        return self.kohya_file.with_suffix(".json")

    @property
    def embedding_file(self) -> Path:
        """The learnt word, under the name that diffusers looks for; there where the recipe names one."""
        return self.lora / "learned_embeds.safetensors"

    def word_file(self, stem: str) -> Path:
        """The learnt word, under the name by which other tools' prompts call it."""
        return self.lora / "embeddings" / f"{stem}.safetensors"

    @property
    def exported(self) -> tuple[Path, ...]:
        """Every file that `export` may write; what else lies beside them is the user's."""
        own = [
            folder / file
            for folder in self.peft_folders
            for file in ("adapter_model.safetensors", "adapter_config.json")
        ]
        return self.lora_file, self.kohya_file, self.embedding_file, *own

    @property
    def peft_folders(self) -> tuple[Path, ...]:
        """LoKr, LoHa or OFT as peft's own files, a folder a network; there where one was trained."""
        networks = ("unet", "transformer", "text_encoder", "text_encoder_2")
        return tuple(self.lora / "peft" / name for name in networks)

    @property
    def samples(self) -> Path:
        """Pictures of base and tuned model."""
        return self.root / "samples"

    @property
    def drawn(self) -> Samples:
        """The same, with the names of what lies in that folder."""
        return Samples(self.samples)

    @property
    def native_samples(self) -> Path:
        """The same pictures at the base's own size, where the others are larger."""
        return self.samples / "native"

    @property
    def drawn_at_native(self) -> Samples:
        """The same, with the names of what lies in that folder."""
        return Samples(self.native_samples)

    @property
    def adapter_samples(self) -> Path:
        """Pictures of several adapters and strengths (`veneer compare --lora`)."""
        return self.samples / "adapters"

    @property
    def strength_samples(self) -> Path:
        """Pictures that chose the strength (`compare.scales`)."""
        return self.samples / "strengths"

    @property
    def strength_json(self) -> Path:
        """The strengths that were tried, and the one that was taken."""
        return self.samples / "strength.json"

    @property
    def report(self) -> Path:
        """The report and its parts."""
        return self.root / "report"

    @property
    def tracking(self) -> Path:
        """What trackers write (`--track`); no stage reads it."""
        return self.root / "tracking"

    @property
    def metrics_json(self) -> Path:
        """The measures and the verdict."""
        return self.report / "metrics.json"

    @property
    def votes_jsonl(self) -> Path:
        """What people said of pairs without names; no stage writes it."""
        return self.root / "votes.jsonl"

    @property
    def index_html(self) -> Path:
        """The report as one page."""
        return self.report / "index.html"

    @property
    def grid_png(self) -> Path:
        """Base and tuned pictures on one sheet."""
        return self.report / "grid.png"

    @property
    def report_md(self) -> Path:
        """The report as text."""
        return self.report / "report.md"

    @property
    def adapters_json(self) -> Path:
        """Measures and verdicts of several adapters and strengths."""
        return self.report / "adapters.json"

    @property
    def adapters_png(self) -> Path:
        """Their pictures on one sheet."""
        return self.report / "adapters.png"

    def read_recipe(self) -> Recipe:
        """Read the run's recipe.

        Returns:
            The resolved recipe.

        Raises:
            RunError: If the folder holds no run.
        """
        if not self.recipe_toml.is_file():
            raise RunError("not a run folder: recipe.toml is missing", where=str(self.root))
        return load_recipe(str(self.recipe_toml))

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the resolved recipe."""
        write_text(self.recipe_toml, to_toml(recipe))

    def read_record(self) -> RunRecord:
        """Read run.json.

        Returns:
            Its content, or an empty record where there is none yet.

        Raises:
            RunError: If the file is damaged.
        """
        if not self.run_json.is_file():
            return RunRecord(stages={})
        return RunRecord.read(self.run_json, "Use another --out, or remove it to do every stage again")

    def _repr_html_(self) -> str:
        """What a notebook shows: the stages that are done, and the pictures where there are some."""
        record = self.read_record()
        rows = {name: f"{stage.summary} ({stage.seconds:.1f} s)" for name, stage in record.stages.items()}
        files = {"report": self.index_html, "LoRA": self.lora_file}
        there = {name: path for name, path in files.items() if path.is_file()}
        grid = [(self.grid_png, "base above, tuned below")] if self.grid_png.is_file() else []
        shown = rows or {"stages": "none is done yet"}
        return rows_html(f"run {self.root}", {**shown, **there}) + (pictures_html(grid, 640) if grid else "")


AnyRun = RunDir | PathLike


def opened(run: AnyRun, recipe: Recipe | PathLike | None = None) -> tuple[RunDir, Recipe]:
    """A run and its recipe from what a Python function was handed.

    Args:
        run: The run, or its folder.
        recipe: The recipe, its name or file; None for the run's own.

    Raises:
        RunError: If there is no recipe, and the folder holds none.
        ArgumentError: If one of them is something else.
    """
    if not isinstance(run, RunDir):
        if not isinstance(run, (str, os.PathLike)):
            raise wrong_kind("run", "a run, or the path of its folder", run)
        run = RunDir(run)
    return run, run.read_recipe() if recipe is None else recipe_of(recipe)
