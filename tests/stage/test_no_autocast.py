"""Every kind of adapter trains without autocast, as on a GPU: nothing meets in two precisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator

from helpers.marks import heavy_but
from helpers.training import copy_run, encoded_run, log_lines, recipe_for, train_quietly
from veneer import processes
from veneer.records.run import RunDir

KINDS = {
    "plain": {},
    "convolutions": {"target_modules": "attention+ff+conv"},
    "magnitudes": {"use_dora": True},
    "masked ranks": {"timestep_rank": True},
    "dropout": {"dropout": 0.1},
    "text encoder": {"text_encoder": True},
    "word": {"embedding_token": "picture", "embedding_init": "city", "target_modules": "none"},
}


@pytest.fixture(scope="module")
def ready(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return encoded_run(tmp_path_factory.mktemp("cast") / "run", recipe_for(base_folder))


@pytest.mark.parametrize("lora", heavy_but(("plain", "word"), KINDS))
def test_it_trains(
    ready: RunDir, base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: dict[str, Any]
) -> None:
    train = {"max_train_steps": 1, "mixed_precision": "bf16"}
    recipe = recipe_for(base_folder, train=train, lora=lora)
    cast, plain = copy_run(ready, tmp_path / "cast"), copy_run(ready, tmp_path / "plain")
    train_quietly(cast, recipe)
    monkeypatch.setattr(processes, "Accelerator", lambda mixed_precision, cpu: Accelerator(cpu=cpu))
    train_quietly(plain, recipe)
    for key, rel in (("loss", 0.01), ("grad_norm", 0.1)):
        wanted = [line[key] for line in log_lines(cast)]
        assert [line[key] for line in log_lines(plain)] == pytest.approx(wanted, rel=rel)
