"""The stages of a run as one table: what each depends on, reads, leaves behind and follows.

What a stage does is ``run(run, recipe, on_event)`` in `veneer.stages.NAME`. What its result depends on is
recorded in ``run.json`` when it is done; `veneer.pipeline` skips it while that is unchanged.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veneer.config import Recipe
from veneer.records.candidates import known_candidates
from veneer.records.dataset import Dataset
from veneer.records.files import hash_file
from veneer.records.run import RunDir

Names = tuple[str, ...]
"""Keys of a recipe, such as ``train.seed``, and whole tables, such as ``base``."""
Settings = Mapping[str, Mapping[str, Any]]
"""Values of a recipe by table and key."""
Hashes = Mapping[str, str]
"""Hashes of files by name; "" where a file is missing."""

FREE_KEYS = (
    "train.cuda_graph",
    "train.deterministic",
    "train.preview_steps",
    "train.checkpoints_total_limit",
)
"""Keys that no result depends on: how a step is played, what is shown on the way, what is kept besides."""


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        name: Its name, and that of its module, its verb and its table.
        settings: Keys that its result depends on beside those that it inherits; `FREE_KEYS` are left out.
        inputs: Files of earlier stages that it reads.
        output: What is there when it is done.
        after: Stages that it follows: what they depend on, it depends on too.
        is_kept: Whether its result is never thrown away unasked.
        is_shared: Whether every process takes part; the main process alone does the others.
        takes_new_input: Whether it goes on from what it has when its input changed; otherwise it starts over.
        open_keys: Keys that may change before it is done, so that it goes on where it stopped.
        made: Files that hold its result and nothing of a person's: damaged ones are made anew.
        cleared: What is removed before it is done again; the others write over what is there.
        is_begun: Whether an interrupted command left a part that goes on with the same input alone.
    """

    name: str
    settings: Callable[[Recipe], Names]
    inputs: Callable[[RunDir], Hashes]
    output: Callable[[RunDir], Path]
    after: tuple[str, ...] = ()
    is_kept: bool = False
    is_shared: bool = False
    takes_new_input: bool = True
    open_keys: Names = ()
    made: Callable[[RunDir], list[Path]] = lambda _: []
    cleared: Callable[[RunDir], Iterable[Path]] = lambda _: ()
    is_begun: Callable[[RunDir], bool] = lambda _: False

    def settings_in(self, recipe: Recipe) -> Settings:
        """What its result depends on, in a recipe; the same plain data that ``run.json`` holds."""
        return pick(recipe, self.settings(recipe))

    @property
    def ancestors(self) -> frozenset[str]:
        """All stages that it follows, directly or not."""
        return frozenset(self.after).union(*(stage_of(name).ancestors for name in self.after))


def stage_of(name: str) -> Stage:
    """Look a stage up by its name."""
    return next(stage for stage in STAGES if stage.name == name)


def pick(recipe: Recipe, names: Iterable[str], without: Names = FREE_KEYS) -> dict[str, dict[str, Any]]:
    """Values of keys and whole tables, as plain data, without some keys."""
    tables = recipe.model_dump(mode="json")
    picked: dict[str, dict[str, Any]] = {}
    for name in names:
        table, _, one = name.partition(".")
        keys = [one] if one else [key for key in tables[table] if f"{table}.{key}" not in without]
        picked.setdefault(table, {}).update({key: tables[table][key] for key in keys})
    return picked


def short_hash(path: Path) -> str:
    """Hash of a file: 16 hexadecimal digits; empty where there is no such file."""
    return hash_file(path)[:16] if path.is_file() else ""


def hash_pictures(dataset: Path) -> str:
    """Hash of which pictures a data set holds, by name and size; empty where there is no such folder."""
    if not dataset.is_dir():
        return ""
    digest = hashlib.sha256()
    for name in Dataset(dataset).picture_names():
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
            digest.update(f"{name}\0{(dataset / name).stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def hash_captions(dataset: Path) -> str:
    """Hash of which pictures a data set holds and of their captions."""
    both = hash_pictures(dataset) + short_hash(Dataset(dataset).metadata_csv)
    return hashlib.sha256(both.encode()).hexdigest()[:16]


def _always(*names: str) -> Callable[[Recipe], Names]:
    return lambda recipe: names


def _check_settings(recipe: Recipe) -> Names:
    """The embedder "auto" is chosen by the base."""
    own = ("encode.resolution", "compare.embedder")
    return (*own, "base.model") if recipe.compare.embedder == "auto" else own


def _encode_settings(recipe: Recipe) -> Names:
    """The split, its masks and its prior; and how many tokens a learnt word takes in a caption."""
    train = ("validation_share", "seed", "masked_loss", "prior_sources", "prior_loss_weight")
    word = ("lora.embedding_token", "lora.embedding_vectors") if recipe.lora.embedding_token else ()
    return ("base", "encode", *(f"train.{key}" for key in train), *word)


def _train_settings(recipe: Recipe) -> Names:
    """Where style chooses the checkpoint, so do the prompts that it is looked for in."""
    looked_at = ("generate", "compare.embedder") if recipe.train.choose == "style" else ()
    return ("base", "lora", "train", *looked_at)


def _generate_settings(recipe: Recipe) -> Names:
    """Where a strength is chosen, so is what it is chosen by."""
    own = ("held_out_prompts", "general_prompts", "scale", "scales")
    chosen_by = ("embedder", "prompt_margin") if recipe.compare.scales else ()
    return ("base", "generate", *(f"compare.{key}" for key in (*own, *chosen_by)))


def _no_files(run: RunDir) -> Hashes:
    return {}


def _pictures(run: RunDir) -> Hashes:
    return {"pictures": hash_pictures(run.dataset)}


def _adapter(run: RunDir) -> Hashes:
    word = short_hash(run.embedding_file)
    return {"lora": short_hash(run.lora_file)} | ({"embedding": word} if word else {})


def _files_in(folder: Callable[[RunDir], Path]) -> Callable[[RunDir], list[Path]]:
    return lambda run: sorted(path for path in folder(run).rglob("*") if path.is_file())


def _trained(run: RunDir) -> list[Path]:
    """The list of candidates and the folder of the chosen one."""
    chosen = known_candidates(run).chosen
    folder = (run.root / chosen.path).parent if chosen and chosen.path else None
    return [run.candidates_json, *(sorted(folder.iterdir()) if folder and folder.is_dir() else ())]


def _drawn(run: RunDir) -> list[Path]:
    """Pictures of the run's own adapter; others are drawn and replaced by ``veneer compare --lora``."""
    files = _files_in(lambda run: run.samples)(run)
    return [path for path in files if not path.is_relative_to(run.adapter_samples)]


def _reported(run: RunDir) -> list[Path]:
    card = [run.webui_card] if run.kohya_file.is_file() else []
    return [run.index_html, run.grid_png, run.report_md, *card]


STAGES = (
    Stage(
        "collect",
        settings=_always("collect"),
        inputs=_no_files,
        output=lambda run: run.dataset,
        is_kept=True,
    ),
    Stage(
        "check",
        settings=_check_settings,
        inputs=_pictures,
        output=lambda run: Dataset(run.dataset).check_json,
        after=("collect",),
    ),
    Stage(
        "caption",  # not the embedder: a caption that was made is kept, through whatever it was looked at
        settings=_always("caption"),
        inputs=_pictures,
        output=lambda run: Dataset(run.dataset).metadata_csv,
        after=("collect",),
        is_kept=True,
        is_shared=True,
    ),
    Stage(
        "encode",
        settings=_encode_settings,
        inputs=lambda run: {"captions": hash_captions(run.dataset)},
        output=lambda run: run.cache_index,
        made=_files_in(lambda run: run.cache),
        after=("caption",),
        is_shared=True,
    ),
    Stage(
        "train",
        settings=_train_settings,
        inputs=lambda run: {"cache": short_hash(run.cache_index)},
        output=lambda run: run.candidates_json,
        made=_trained,
        after=("encode",),
        is_kept=True,
        is_shared=True,
        takes_new_input=False,
        open_keys=(
            "train.checkpointing_steps",
            "train.validation_steps",
            "train.validation_share",
            "train.patience",
            "train.average_last",
            "train.choose",
        ),
        cleared=lambda run: (run.train,),
        is_begun=lambda run: any(
            path.is_dir() for folder in (run.checkpoints, run.stopped) for path in folder.glob("step-*")
        ),
    ),
    Stage(
        "export",
        settings=_always(),
        inputs=lambda run: {"candidates": short_hash(run.candidates_json)},
        output=lambda run: run.lora_file if run.lora_file.exists() else run.embedding_file,
        made=lambda run: list(run.exported),
        after=("train",),
        cleared=lambda run: run.exported,
    ),
    Stage(
        "generate",
        settings=_generate_settings,
        inputs=_adapter,
        output=lambda run: run.samples,
        made=_drawn,
        after=("export",),
        is_shared=True,
    ),
    Stage(
        "compare",
        settings=_always("compare", "generate"),
        inputs=_adapter,
        output=lambda run: run.metrics_json,
        made=lambda run: [run.metrics_json],
        after=("generate",),
    ),
    Stage(
        "report",
        settings=_always(),
        inputs=lambda run: {"metrics": short_hash(run.metrics_json)},
        output=lambda run: run.index_html,
        made=_reported,
        after=("compare",),
    ),
)
"""Every stage of a run, in order."""

STAGE_NAMES = tuple(stage.name for stage in STAGES)
