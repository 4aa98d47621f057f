"""LoKr, LoHa and OFT trained, exported as themselves and as a plain LoRA, and the error told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.training import encoded_run, recipe_for, train_quietly
from veneer.events import Event, Notice
from veneer.lora.checkpoint import read_checkpoint
from veneer.lora.methods import layer_updates, method_applied
from veneer.lora.reader import read_lora
from veneer.models.base import load_base
from veneer.stages.export import export


@pytest.mark.parametrize("method", ["lokr", "loha", "oft"])
def test_a_run_of_the_method(base_folder: Path, tmp_path: Path, method: str) -> None:
    recipe = recipe_for(
        base_folder,
        lora={"method": method, "rank": 2},
        train={"max_train_steps": 2, "checkpointing_steps": 2, "validation_steps": 2, "learning_rate": 1e-2},
    )
    run = encoded_run(tmp_path / "run", recipe)
    train_quietly(run, recipe)
    told: list[Event] = []
    export(run, recipe, told.append)
    assert (run.lora / "peft" / "unet" / "adapter_model.safetensors").is_file()
    notices = [one for one in told if isinstance(one, Notice) and one.code == "method-converted"]
    assert len(notices) == 1 and method in notices[0].message
    plain = read_lora(run.lora_file)
    unet = load_base(str(base_folder), parts=("unet",)).unet
    state = read_checkpoint(run.root / "train/checkpoints/step-000002/adapter.safetensors")
    with method_applied(unet, recipe.lora, state):
        updates = dict(layer_updates(unet))
    largest = max(float(one.abs().max()) for one in updates.values())
    assert largest > 1e-4  # it learnt something
    for name, change in updates.items():
        down, up = plain.state[f"{name}.lora_A.weight"], plain.state[f"{name}.lora_B.weight"]
        torch.testing.assert_close(up @ down, change, rtol=0, atol=0.01 * largest)


def test_files_of_an_older_method_do_not_stay(base_folder: Path, tmp_path: Path) -> None:
    train = {"max_train_steps": 2, "checkpointing_steps": 2}
    recipe = recipe_for(base_folder, lora={"rank": 2}, train=train)
    run = encoded_run(tmp_path / "run", recipe)
    train_quietly(run, recipe)
    (run.lora / "peft" / "unet").mkdir(parents=True)
    (run.lora / "peft" / "unet" / "adapter_model.safetensors").write_bytes(b"of an older recipe")
    export(run, recipe)
    assert not (run.lora / "peft" / "unet" / "adapter_model.safetensors").exists()
