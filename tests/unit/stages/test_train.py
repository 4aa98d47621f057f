"""What binds a checkpoint to the settings that it was trained with."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from helpers.indexes import cache_index, cached_item
from veneer.errors import RunError
from veneer.recipe import resolve
from veneer.records.run import RunDir
from veneer.stage import FREE_KEYS, stage_of
from veneer.stages.train import checkpoint_identity, refuse_changes

RUN = RunDir(Path("run"))


def identity(**train: Any) -> dict[str, Any]:
    return checkpoint_identity(cache_index((cached_item(),)), resolve({"train": train}))


def test_free_and_open_keys_do_not_bind_a_checkpoint() -> None:
    held = {f"train.{key}" for key in identity()["train"]}
    assert held.isdisjoint({*FREE_KEYS, *stage_of("train").open_keys})
    refuse_changes(RUN, identity(), identity(choose="last", patience=2, cuda_graph=False))
    with pytest.raises(RunError, match=r"train\.learning_rate"):
        refuse_changes(RUN, identity(), identity(learning_rate=1.0))


def test_the_last_step_is_free_where_the_rate_does_not_depend_on_it() -> None:
    constant = {"lr_scheduler": "constant"}
    refuse_changes(RUN, identity(**constant), identity(**constant, max_train_steps=7))
    with pytest.raises(RunError, match=r"train\.max_train_steps"):
        refuse_changes(RUN, identity(), identity(max_train_steps=7))


def test_a_key_that_came_after_a_checkpoint_had_its_default_then() -> None:
    before = copy.deepcopy(identity())
    del before["train"]["snr_gamma"], before["lora"]["init"]
    refuse_changes(RUN, before, identity())
    with pytest.raises(RunError, match=r"train\.snr_gamma: 5\.0 -> 2\.0"):
        refuse_changes(RUN, before, identity(snr_gamma=2.0))
