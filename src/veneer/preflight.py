"""What a run will need, looked at in one go before its first stage: nothing is fetched, nothing written.

Models of the hub, the network, extras, room on the disk and a folder that can be written. Whatever is missing
is told together, instead of hours later, one after the other.
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import httpx
from huggingface_hub import HfApi, constants, get_session, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from veneer.choices import SEARCHES
from veneer.config import Recipe
from veneer.data.sources import refuse_unknown
from veneer.errors import DatasetError, RunError
from veneer.hubnames import OWN, TAGGER_FILES, embedder_names, is_tagger, revision_of, split_revision
from veneer.lora.textual_inversion import refuse_words
from veneer.models.base import load_base_of
from veneer.models.families.fit import refuse_beyond
from veneer.models.families.strangers import refuse_name
from veneer.models.modelfiles import current_name, looks_like_path
from veneer.records.run import RunDir
from veneer.training.optimizers import OPTIMIZERS

NeedState = Literal["here", "to fetch", "missing"]
STAGES_OF = {
    "base": ("encode", "train", "export", "generate"),
    "vae": ("encode", "generate"),
    "captioner": ("caption",),
    "embedder": ("compare",),
}
"""Which stages a model is needed for."""
ROOM_GIB = 1.0
"""Free disk below which a run is not begun."""
NOT_SAFE = "It has no safetensors weights, and others may run code: name a model that has them"
REACH_SECONDS = 5.0
"""How long the hub may take to answer at all."""


@dataclass(frozen=True)
class Need:
    """One thing that a run needs.

    Attributes:
        what: Its part in the run, such as "captioner".
        name: What the recipe calls it.
        state: "here", "to fetch" where the network gives it, or "missing".
        todo: What to do where it is missing.
    """

    what: str
    name: str
    state: NeedState
    todo: str = ""

    @property
    def words(self) -> str:
        """One line of it."""
        return f"{self.what} {self.name}: {self.state}"


def needs_of(run: RunDir, recipe: Recipe, to_do: Collection[str]) -> tuple[Need, ...]:
    """Everything that the stages to do will need, in the order in which they need it.

    The hub is asked whether it answers only where something has to come from it.

    Args:
        to_do: Names of the stages that are not done.
    """
    return tuple(
        need
        for found in (
            _sources(recipe, to_do),
            _models(recipe, to_do),
            _extras(recipe, to_do),
            _disk(run, to_do),
        )
        for need in found
    )


def refuse_base(recipe: Recipe, to_do: Collection[str]) -> None:
    """Refuse a base that is not customised, and what a recipe asks that its family cannot do.

    A model of the hub is told by its name, one that is here by its settings: nothing is fetched, and no
    weights are read.

    Args:
        to_do: Names of the stages that are not done.

    Raises:
        BaseModelError: If it is of a family that is not customised, distilled, or no base.
        RecipeError: If a key asks for what its family cannot do.
    """
    model = recipe.base.model
    if _is_idle("base", to_do):
        return
    if _comes_from_the_hub(model):
        refuse_name(model)
    elif Path(model).expanduser().exists():
        family = load_base_of(recipe.base.model_copy(update={"vae": None}), parts=()).family
        refuse_words(recipe.lora, family)
        refuse_beyond(recipe, family)


def refuse_missing(run: RunDir, needs: Collection[Need]) -> None:
    """Refuse to begin where something is missing.

    Raises:
        RunError: With all that is missing, and what to do about each.
    """
    missing = [need for need in needs if need.state == "missing"]
    if missing:
        what = f"{len(missing)} of what this run needs {'is' if len(missing) == 1 else 'are'} not to be had: "
        todo = "; ".join(dict.fromkeys(need.todo for need in missing))
        raise RunError(
            what + "; ".join(f"{need.what} {need.name}" for need in missing), where=str(run.root), todo=todo
        )


def fault_of(source: str) -> str:
    """What is wrong with the name of a source, and what to do; empty where nothing is."""
    try:
        refuse_unknown([source])
    except DatasetError as error:
        return f"{error.what}: {error.todo}"
    return ""


def _models(recipe: Recipe, to_do: Collection[str]) -> Iterator[Need]:
    is_online = functools.cache(hub_answers)  # asked once, and only where something has to come from it
    kept = TAGGER_FILES[0] if is_tagger(recipe.caption.model) else "config.json"
    asked = [
        ("base", recipe.base.model, "model_index.json", "Name a folder or a file with base.model"),
        ("vae", recipe.base.vae or "", "config.json", "Name a folder with base.vae, or leave it out"),
        ("captioner", recipe.caption.model, kept, "Name a folder with caption.model"),
        *(
            ("embedder", name, "config.json", "Measure with the bundled one: compare.embedder=pocket")
            for name in embedder_names(recipe.compare.embedder, recipe.base.model)
        ),
    ]
    for what, name, file, todo in asked:
        if _is_idle(what, to_do):
            continue
        if not _comes_from_the_hub(name):
            if _is_lost(name):
                yield Need(what, name, "missing", f"no such file or folder. {todo}")
            continue
        if what == "captioner" and _may_bring_captions(recipe):
            continue
        if _is_kept(name, recipe.base.revision if what == "base" else None, file):
            yield Need(what, name, "here")
        elif is_online():
            is_safe = what in ("base", "vae") or is_tagger(name) or has_safetensors(name)
            yield Need(what, name, "to fetch") if is_safe else Need(what, name, "missing", NOT_SAFE)
        else:
            yield Need(what, name, "missing", f"Connect to the network once, so that it is kept. {todo}")


def _is_idle(what: str, to_do: Collection[str]) -> bool:
    """Whether no stage to do needs this kind of model."""
    return set(STAGES_OF[what]).isdisjoint(to_do)


def _comes_from_the_hub(name: str) -> bool:
    bare, _ = split_revision(name)
    return name not in OWN and not Path(name).expanduser().exists() and not looks_like_path(bare)


def _is_lost(name: str) -> bool:
    return name not in ("", *OWN) and not Path(name).expanduser().exists()


def _is_kept(name: str, revision: str | None, file: str) -> bool:
    bare, own = split_revision(name)
    bare = current_name(bare)
    found = try_to_load_from_cache(bare, file, revision=revision_of(bare, own or revision))
    return isinstance(found, str)


def _may_bring_captions(recipe: Recipe) -> bool:
    """Folders and lists may bring every caption along, and then no captioner is loaded."""
    return all(not source.startswith(SEARCHES) for source in recipe.collect.sources)


def has_safetensors(name: str) -> bool:
    """Whether the hub lists safetensors weights for a model; True where it does not say."""
    bare, _ = split_revision(name)
    try:
        listed = HfApi().list_repo_files(bare, revision=revision_of(name))
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError):
        return True  # whatever is wrong with the name is said where it is loaded
    return any(file.endswith(".safetensors") for file in listed)


def hub_answers() -> bool:
    """Whether the hub can be reached now; False where it is switched off."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=REACH_SECONDS)
    except Exception:  # any failure of any client means the same: no answer
        return False
    return True


def _sources(recipe: Recipe, to_do: Collection[str]) -> Iterator[Need]:
    if "collect" not in to_do:
        return
    for source in recipe.collect.sources:
        if fault := fault_of(source):
            yield Need("source", source, "missing", fault)
        elif source.startswith("hf:") and find_spec("datasets") is None:
            yield Need("source", source, "missing", "Install what reads it: pip install 'veneer[hub]'")
        elif source.startswith((*SEARCHES, "hf:")):
            yield Need("source", source, "to fetch")


def _extras(recipe: Recipe, to_do: Collection[str]) -> Iterator[Need]:
    optimizer = OPTIMIZERS[recipe.train.optimizer]
    if "train" in to_do and optimizer.package and find_spec(optimizer.module) is None:
        todo = f"Install it with `pip install {optimizer.package}`, or take another train.optimizer"
        yield Need("optimizer", recipe.train.optimizer, "missing", todo)
    tags = "caption" in to_do and is_tagger(recipe.caption.model) and not _may_bring_captions(recipe)
    if tags and find_spec("onnxruntime") is None:
        todo = "Install what runs it: pip install 'veneer[tags]'"
        yield Need("captioner", recipe.caption.model, "missing", todo)


def _disk(run: RunDir, to_do: Collection[str]) -> Iterator[Need]:
    if not to_do:
        return
    place = next(folder for folder in (run.root, *run.root.absolute().parents) if folder.is_dir())
    if not os.access(place, os.W_OK):
        yield Need("folder", str(place), "missing", "Make it writable, or name another with --out")
    free = shutil.disk_usage(place).free / 2**30
    if free < ROOM_GIB:
        todo = f"Free at least {ROOM_GIB:g} GiB, or name another disk with --out"
        yield Need("disk", f"{place} ({free:.1f} GiB free)", "missing", todo)
