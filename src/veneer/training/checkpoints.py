"""Checkpoints: folders written aside, flushed, renamed, and verified by checksum when they are read.

::

    train/checkpoints/step-000500/adapter.safetensors  the LoRA, peft's names, float32
    train/checkpoints/step-000500/...                  ema, optimizer: whatever the trainer hands over
    train/checkpoints/step-000500/state.json           step, sha256 of each file, plain values, own sha256
    train/stopped/step-000512/...                      the same, of an interruption between two of those

A state is a tree of dicts, lists, tensors and plain values. Tensors go to safetensors files, the rest to
JSON; nothing is pickled, and Python's floats come back from JSON with every bit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from veneer.errors import DISK_FULL, RunError, is_disk_full
from veneer.events import Notice, OnEvent
from veneer.records.files import staged_folder

State = dict[str, Any]
_TENSOR = "__tensor__"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, read and verified.

    Attributes:
        step: Optimizer step that it holds.
        tensors: Tensors by file (without suffix) and name.
        state: Everything else.
    """

    step: int
    path: Path
    tensors: Mapping[str, Mapping[str, Tensor]]
    state: State


def save(path: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: State) -> None:
    """Write a checkpoint whole or not at all.

    Args:
        path: Its folder; one of the same name is replaced.
        step: Optimizer step that it holds.
        tensors: Tensors by file (without suffix) and name.
        state: Plain values that JSON can write.

    Raises:
        RunError: If the disk is full; older checkpoints are untouched.
    """
    with as_run_error(path.parent), staged_folder(path) as aside:
        files = {}
        for stem, content in tensors.items():
            raw = safetensors.torch.save({k: v.detach().cpu().contiguous() for k, v in content.items()})
            (aside / f"{stem}.safetensors").write_bytes(raw)
            files[f"{stem}.safetensors"] = hashlib.sha256(raw).hexdigest()
        told: State = {"step": step, "files": files, "state": state}
        text = json.dumps(told | {"sha256": _checksum(told)}, indent=1)
        (aside / "state.json").write_text(text, "utf-8")


def load(path: Path) -> Checkpoint:
    """Read a checkpoint and verify it.

    Returns:
        The checkpoint, tensors on the CPU.

    Raises:
        RunError: If a file is missing or does not have the recorded checksum, `state.json` among them.
    """
    try:
        plain = json.loads((path / "state.json").read_text("utf-8"))
        if plain.pop("sha256", None) != _checksum(plain):
            raise ValueError("state.json does not have the recorded checksum")
        step, files, state = int(plain["step"]), dict(plain["files"]), dict(plain["state"])
        tensors = {Path(name).stem: _verified(path / name, sha256) for name, sha256 in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"the checkpoint is damaged: {error}", where=str(path)) from error
    return Checkpoint(step, path, tensors, state)


def saved_steps(folder: Path) -> list[int]:
    """Steps that have a checkpoint.

    Returns:
        Steps, ascending.
    """
    names = (path.name.removeprefix("step-") for path in folder.glob("step-*"))
    return sorted(int(name) for name in names if name.isdigit())


def path_of(folder: Path, step: int) -> Path:
    """Where a checkpoint lies.

    Args:
        step: Optimizer step, from 1.

    Returns:
        Its folder.
    """
    return folder / f"step-{step:06d}"


def load_newest(folders: Sequence[Path], on_event: OnEvent) -> Checkpoint | None:
    """Read the newest checkpoint that is whole; damaged ones are told of and removed.

    Args:
        folders: Folders of checkpoints; of two of the same step the one in the first folder is taken.

    Returns:
        The checkpoint, or None where there is none.

    Raises:
        RunError: If there are checkpoints and all are damaged.
    """
    there = [(step, -place) for place, folder in enumerate(folders) for step in saved_steps(folder)]
    damaged = []
    for step, place in sorted(there, reverse=True):
        path = path_of(folders[-place], step)
        try:
            found = load(path)
        except RunError as error:
            on_event(Notice("train", "checkpoint-damaged", f"{error}. The one before it is taken"))
            damaged.append(path)
        else:
            for path in damaged:
                shutil.rmtree(path)
            return found
    if damaged:
        raise RunError(
            f"all {len(damaged)} checkpoints are damaged",
            where=str(folders[0]),
            todo="Remove the folder to train from the start",
        )
    return None


def rotate(folder: Path, limit: int | None, keep: Collection[int]) -> None:
    """Remove the oldest checkpoints.

    Args:
        limit: Most to keep, the newest; None for all.
        keep: Steps that are never removed.
    """
    if limit is None:
        return
    for step in saved_steps(folder)[:-limit]:
        if step not in keep:
            shutil.rmtree(path_of(folder, step))


@contextlib.contextmanager
def as_run_error(where: Path) -> Iterator[None]:
    """Turn "no space left" into an error that says what to do.

    Args:
        where: What was being written, for the message.

    Raises:
        RunError: If the disk is full.
    """
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise RunError(
            DISK_FULL,
            where=str(where),
            todo="Free some space (train.checkpoints_total_limit keeps fewer) and run the same command",
        ) from error


def pack(tree: Any, tensors: dict[str, Tensor], name: str = "") -> Any:
    """Take the tensors out of a tree, so that JSON can write the rest.

    Args:
        tree: Dicts, lists, tuples, tensors and plain values.
        tensors: Gets the tensors, by their path in the tree.
        name: Path of ``tree`` itself.

    Returns:
        The tree with a reference in the place of each tensor.
    """
    if isinstance(tree, Tensor):
        tensors[name] = tree.detach().clone()
        return {_TENSOR: name}
    if isinstance(tree, Mapping):
        return {"__dict__": [[key, pack(value, tensors, f"{name}.{key}")] for key, value in tree.items()]}
    if isinstance(tree, (list, tuple)):
        kind = "__tuple__" if isinstance(tree, tuple) else "__list__"
        return {kind: [pack(value, tensors, f"{name}.{i}") for i, value in enumerate(tree)]}
    return tree


def unpack(plain: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo `pack`.

    Args:
        plain: What `pack` returned.
        tensors: The tensors that it took out.

    Returns:
        The tree.
    """
    if not isinstance(plain, dict):
        return plain
    if _TENSOR in plain:
        return tensors[plain[_TENSOR]].clone()
    if "__dict__" in plain:
        return {key: unpack(value, tensors) for key, value in plain["__dict__"]}
    if "__tuple__" in plain:
        return tuple(unpack(value, tensors) for value in plain["__tuple__"])
    return [unpack(value, tensors) for value in plain["__list__"]]


def _checksum(content: State) -> str:
    """Of the numbers and names as JSON reads them, not of how they are written."""
    return hashlib.sha256(json.dumps(json.loads(json.dumps(content))).encode()).hexdigest()


def _verified(path: Path, sha256: str) -> dict[str, Tensor]:
    raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise ValueError(f"{path.name} does not have the recorded checksum")
    return dict(safetensors.torch.load(raw))
