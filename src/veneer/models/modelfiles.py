"""Where the files of a base model are: a folder, one checkpoint, the hub, or the bundled pocket base.

Only files are found and checked here; `veneer.models.parts` loads them. Pickled weights are refused, because
opening a pickle can run code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import snapshot_download
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError, safe_open

from veneer.errors import BaseModelError
from veneer.events import Notice, OnEvent, ignore
from veneer.hubnames import revision_of, split_revision
from veneer.records.files import hash_file

RENAMED = {"runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5"}
PICKLE_SUFFIXES = (".ckpt", ".bin", ".pt", ".pth", ".pkl")
MAGIC = {
    b"PK\x03\x04": "a zip or a pickle of PyTorch",
    b"\x1f\x8b": "a gzip",
    b"Rar!": "a rar",
    b"7z\xbc\xaf": "a 7z",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GGUF": "a GGUF",
    b"\x89HDF": "an HDF5",
}
"""First bytes of files that are taken for safetensors."""
WEIGHT_STEMS = {
    "unet": "diffusion_pytorch_model",
    "transformer": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model on this machine.

    Attributes:
        source: What the user asked for: a hub name, a path or `pocket`.
        path: The folder in Hugging Face layout, or the checkpoint.
        kind: Whether `path` is a folder or a single checkpoint.
        commit: Commit of a hub repository; empty for local files.
    """

    source: str
    path: Path
    kind: Literal["folder", "checkpoint"]
    commit: str = ""


def find_model(
    model: str,
    *,
    revision: str | None = None,
    parts: Collection[str] = (),
    on_event: OnEvent = ignore,
) -> ModelFiles:
    """Find a base model or a VAE, and fetch from the hub what is not here yet.

    Args:
        model: Hub name (with ``@REVISION`` if wanted), local folder, `.safetensors` checkpoint, or `pocket`.
        revision: Branch, tag or commit of a hub repository whose name says none; none for its main branch.
        parts: Folders of a hub repository to fetch ("unet", "vae", ...; "." for its top).
        on_event: Listener; told when an old hub name is replaced.

    Returns:
        The files' place.

    Raises:
        BaseModelError: If there is no such model, it is a pickle, damaged, or cannot be fetched.
    """
    path = Path(model).expanduser()
    if model == "pocket":
        return ModelFiles(model, pocket_folder(), "folder")
    if path.suffix in PICKLE_SUFFIXES:
        raise pickle_error(path)
    if path.is_dir():
        return ModelFiles(model, path, "folder")
    if path.is_file():
        return ModelFiles(model, _checkpoint(path), "checkpoint")
    if looks_like_path(model):
        raise BaseModelError(
            "no such base model",
            where=model,
            todo="Give an existing folder, a .safetensors file or a hub name",
        )
    name, own = split_revision(model)
    name = current_name(name, on_event)
    return _fetch(name, revision_of(name, own or revision), parts)


def current_name(model: str, on_event: OnEvent = ignore) -> str:
    """Name under which a hub repository is found today.

    Args:
        on_event: Listener; gets a notice where the name has changed.

    Returns:
        The name to ask the hub for.
    """
    name = RENAMED.get(model, model)
    if name != model:
        on_event(
            Notice("base", "base-renamed", f"{model} has left the hub; {name} is used, its present home")
        )
    return name


def looks_like_path(model: str) -> bool:
    """Tell a path from a hub name.

    Args:
        model: What the user wrote.

    Returns:
        True where it cannot be a hub name: a suffix of a weights file, or anything but ``owner/name``.
    """
    if model.startswith((".", "/", "~")) or "\\" in model or model.count("/") > 1:
        return True
    return model.endswith(".safetensors") or "/" not in model


def weights_of(folder: Path, part: str) -> tuple[tuple[Path, ...], str | None]:
    """Weight files of one part of a model folder.

    Args:
        part: Name of the part: "unet", "vae" or "text_encoder".

    Returns:
        The safetensors files, and the variant in their names ("fp16"), or none.

    Raises:
        BaseModelError: If there are none, or only pickled ones.
    """
    stem = WEIGHT_STEMS[part]
    named = {p.name.split(".")[1].partition("-")[0] for p in folder.glob(f"{stem}.*.safetensors")}
    for variant in (None, "fp16", *sorted(named - {"fp16"})):
        ending = f".{variant}.safetensors" if variant else ".safetensors"
        single = folder / f"{stem}{ending}"
        shards = sorted(folder.glob(f"{stem}*-of-*{ending}"))
        found = (single,) if single.is_file() else tuple(shards)
        if found:
            return found, variant
    pickles = [path for path in folder.glob("*") if path.suffix in PICKLE_SUFFIXES]
    if pickles:
        raise pickle_error(pickles[0])
    todo = f"{stem}.safetensors is expected there; a model that has .bin or .ckpt files alone is not loaded"
    raise BaseModelError(f"the base has no {part} weights", where=str(folder), todo=todo)


def pickle_error(path: Path) -> BaseModelError:
    """The refusal of a pickled weights file.

    Returns:
        The error, with the way out.
    """
    return BaseModelError(
        "pickled weights are not loaded, because opening a pickle can run code",
        where=str(path),
        todo="Take the .safetensors file of the same model, or convert it once where its code may run: "
        "load it with diffusers and write it with save_pretrained(FOLDER, safe_serialization=True)",
    )


@dataclass(frozen=True)
class Other:
    """What a file is in place of safetensors.

    Attributes:
        what: A sentence.
        todo: How to get the right file.
    """

    what: str
    todo: str


def what_it_is(path: Path) -> Other | None:
    """Tell what stands under the name of a safetensors file, by its first bytes.

    Returns:
        What it is; None where it begins as safetensors do, or as nothing that is known.
    """
    with path.open("rb") as file:
        head = file.read(512)
    again = "Download it again from the model's page, logged in where the page asks for it"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return Other("the file is empty", again)
    if head.startswith(b"version https://git-lfs"):
        return Other("the file is a Git LFS pointer and not the weights", "Fetch them with `git lfs pull`")
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return Other("the file is a web page and not the weights", again)
    if text.startswith((b"{", b"[")) and head[8:9] != b"{":
        return Other("the file is JSON, such as a server's error, and not the weights", again)
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and head[8:9] != b"{":
        return Other("the file is a pickle under another name", pickle_error(path).todo)
    for magic, what in MAGIC.items():
        if head.startswith(magic):
            return Other(f"the file is {what} and not safetensors", again)
    return None


def read_json(path: Path) -> dict[str, Any]:
    """Read a settings file of a model.

    Returns:
        Its content.

    Raises:
        BaseModelError: If it is missing or damaged.
    """
    if not path.is_file():
        raise BaseModelError(
            f"not a Stable Diffusion folder: {path.name} is missing",
            where=str(path),
            todo="A folder in Hugging Face layout has unet/, vae/, text_encoder/, tokenizer/ and scheduler/",
        )
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except ValueError as error:
        raise BaseModelError(f"a settings file is damaged: {error}", where=str(path)) from error


def open_safetensors(path: Path) -> Any:
    """Open a safetensors file for reading on the CPU.

    Returns:
        The open file, a context manager.

    Raises:
        BaseModelError: If it cannot be read.
    """
    if other := what_it_is(path):
        raise BaseModelError(other.what, where=str(path), todo=other.todo)
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        todo = "Fetch the file again: it may have been cut short"
        raise BaseModelError(f"the file is damaged: {error}", where=str(path), todo=todo) from error


def pocket_folder() -> Path:
    """The bundled pocket base, with every file checked against its checksum.

    Raises:
        BaseModelError: If a file is missing or damaged.
    """
    folder = Path(str(resources.files("veneer") / "pocket"))
    sums = folder / "checksums.json"
    restore = "Restore it with `git checkout -- src/veneer/pocket` or install veneer again"
    if not sums.is_file():
        raise BaseModelError("the bundled pocket base is not there", where=str(sums), todo=restore)
    for name, sha256 in json.loads(sums.read_text("utf-8")).items():
        path = folder / name
        if not path.is_file():
            raise BaseModelError("a file of the pocket base is missing", where=str(path), todo=restore)
        if hash_file(path) != sha256:
            raise BaseModelError("a file of the pocket base is damaged", where=str(path), todo=restore)
    return folder


def identity_of_files(files: ModelFiles, parts: Iterable[str]) -> str:
    """Name of exactly these weights; where the files lie does not count.

    Args:
        files: The model's files.
        parts: Folders whose weights count; "." for the top one.

    Returns:
        A hub repository with its commit, or 16 hexadecimal digits of a hash over all weights.
    """
    if files.commit:
        return f"{files.source}@{files.commit}"
    paths = [files.path]
    if files.kind == "folder":
        paths = [path for part in parts for path in sorted((files.path / part).glob("*.safetensors"))]
        paths += sorted(files.path.glob("scheduler/*.json"))
    sums = [hash_file(path) for path in paths]
    return hashlib.sha256("\n".join(sums).encode()).hexdigest()[:16]


def _checkpoint(path: Path) -> Path:
    if path.suffix != ".safetensors":
        raise BaseModelError("not a model: only folders and .safetensors files are loaded", where=str(path))
    return path


def _fetch(name: str, revision: str | None, parts: Collection[str]) -> ModelFiles:
    where = f"{name}@{revision}" if revision else name
    fetch = partial(snapshot_download, name, revision=revision)
    try:
        path = Path(fetch(allow_patterns=_patterns(parts, None)))
        if any(_lacks_weights(path, part) for part in parts if part in WEIGHT_STEMS):
            path = Path(fetch(allow_patterns=_patterns(parts, "fp16")))
    except GatedRepoError as error:
        todo = "Accept its terms on its page at huggingface.co, then run `hf auth login`"
        raise BaseModelError("the base asks for a licence to be accepted", where=where, todo=todo) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        todo = "Check the spelling; a private one needs `hf auth login`; a local folder is named by its path"
        raise BaseModelError("no such base model on the hub", where=where, todo=todo) from error
    except RevisionNotFoundError as error:
        raise BaseModelError(
            "the base has no such revision", where=where, todo="Check base.revision, or name NAME@main"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise _unreachable(where, error) from error
    return ModelFiles(name, path, "folder", commit=path.name)


def _unreachable(where: str, error: Exception) -> BaseModelError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    why = "HF_HUB_OFFLINE is set" if HF_HUB_OFFLINE else (lines or [type(error).__name__])[0]
    return BaseModelError(
        f"the base is not on this machine and cannot be fetched: {why}",
        where=where,
        todo="Go online once, or fetch it elsewhere with `hf download NAME --local-dir FOLDER` and name "
        "the folder, or take the bundled base, `pocket`",
    )


def _patterns(parts: Collection[str], variant: str | None) -> list[str]:
    dot = f".{variant}" if variant else ""
    patterns = ["model_index.json", "config.json", "*/*.json", "*/*.txt"]
    for part in parts:
        prefix = "" if part == "." else f"{part}/"
        if stem := WEIGHT_STEMS.get("vae" if part == "." else part):
            patterns += [f"{prefix}{stem}{dot}.safetensors", f"{prefix}{stem}*-of-*{dot}.safetensors"]
    return patterns


def _lacks_weights(folder: Path, part: str) -> bool:
    try:
        weights_of(folder / part, part)
    except BaseModelError:
        return True
    return False
