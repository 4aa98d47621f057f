"""Checkpoints: whole or not at all, verified, rotated."""

from __future__ import annotations

import copy
import errno
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from veneer.errors import RunError
from veneer.events import Event, Notice, ignore
from veneer.training import checkpoints

WEIGHTS = {"adapter": {"a": torch.arange(4.0), "b": torch.ones(2, 2).t()}}


def save(folder: Path, *steps: int) -> None:
    for step in steps:
        checkpoints.save(folder / f"step-{step:06d}", step, WEIGHTS, {"x": 0.1})


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    save(tmp_path, 7)
    found = checkpoints.load(tmp_path / "step-000007")
    assert (found.step, found.state) == (7, {"x": 0.1})
    assert torch.equal(found.tensors["adapter"]["a"], WEIGHTS["adapter"]["a"])


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    files = [tmp_path / f"step-00000{i}" / "adapter.safetensors" for i in (1, 2)]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "no state"])
def test_damage_is_told_and_the_one_before_taken(tmp_path: Path, harm: str) -> None:
    save(tmp_path, 1, 2)
    file = tmp_path / "step-000002" / "adapter.safetensors"
    match harm:
        case "flip":
            file.write_bytes(file.read_bytes()[:-1] + b"\xff")
        case "cut":
            file.write_bytes(file.read_bytes()[:-1])
        case "remove":
            file.unlink()
        case "no state":
            (file.parent / "state.json").write_text("{")
    events: list[Event] = []
    found = checkpoints.load_newest([tmp_path], events.append)
    assert found is not None
    assert found.step == 1
    assert [e.code for e in events if isinstance(e, Notice)] == ["checkpoint-damaged"]
    assert checkpoints.saved_steps(tmp_path) == [1]


def test_if_all_are_damaged_nothing_starts_over_by_itself(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "step-000001" / "state.json").unlink()
    with pytest.raises(RunError, match="damaged"):
        checkpoints.load_newest([tmp_path], ignore)
    assert checkpoints.saved_steps(tmp_path) == [1]


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert checkpoints.load_newest([tmp_path / "none"], ignore) is None


def test_the_newest_stay(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3, 10)
    checkpoints.rotate(tmp_path, None, ())
    assert checkpoints.saved_steps(tmp_path) == [1, 2, 3, 10]
    checkpoints.rotate(tmp_path, 2, (1,))
    assert checkpoints.saved_steps(tmp_path) == [1, 3, 10]


def test_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="Free some space"), checkpoints.as_run_error(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(PermissionError), checkpoints.as_run_error(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_a_tree_survives_with_every_bit() -> None:
    tree: dict[str, Any] = {
        "state": {0: {"step": torch.tensor(3.0), "m": torch.rand(2)}},
        "groups": [{"betas": (0.9, 1 / 3)}],
        "n": None,
    }
    tensors: dict[str, torch.Tensor] = {}
    back: Any = checkpoints.unpack(checkpoints.pack(tree, tensors), tensors)
    assert back["groups"] == [{"betas": (0.9, 1 / 3)}]
    assert back["n"] is None
    assert torch.equal(back["state"][0]["m"], tree["state"][0]["m"])
    assert math.isclose(float(back["state"][0]["step"]), 3)


def test_no_part_of_the_state_can_be_changed_unnoticed(tmp_path: Path) -> None:
    state = {"health": {"returns": 0}, "ledger": {"best": [0.5, 1e-300, -0.0]}, "names": ["a", True, None]}
    checkpoints.save(tmp_path / "step-000001", 1, WEIGHTS, state)
    file = tmp_path / "step-000001" / "state.json"
    plain = json.loads(file.read_text())
    assert checkpoints.load(file.parent).state == state
    changes = [
        (("step",), 2),
        (("state", "health", "returns"), 1),
        (("state", "ledger", "best", 0), 0.25),
        (("state", "ledger", "best", 2), 0.0),
        (("state", "names", 1), False),
        (("state", "new"), 1),
        (("files",), {}),
        (("sha256",), None),
    ]
    for path, value in changes:
        changed = copy.deepcopy(plain)
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        file.write_text(json.dumps(changed))
        with pytest.raises(RunError, match=r"state\.json does not have"):
            checkpoints.load(file.parent)
    for text in ("", "[]", "null", "[" * 100_000, json.dumps(plain)[:-1]):
        file.write_text(text)
        with pytest.raises(RunError, match="damaged"):
            checkpoints.load(file.parent)
    file.write_text(json.dumps(plain))
    assert checkpoints.load(file.parent).step == 1
