"""A run that stands where `generate` begins: pictures, captions, index, candidates, log, a random adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from helpers.indexes import cache_index, cached_item
from veneer.config import Recipe
from veneer.lora.adapter import adapter_state, attach
from veneer.lora.file import write_diffusers
from veneer.lora.weights import from_state
from veneer.models.base import load_base
from veneer.recipe import resolve
from veneer.records.dataset import Dataset, Item
from veneer.records.files import write_json, write_text
from veneer.records.run import RunDir

CAPTIONS = (
    "a red circle",
    "a blue square",
    "a green circle",
    "the city",
    "a dog with a house",
    "red and blue",
)


def proof_recipe(base: Path, clip: Path, **tables: dict) -> Recipe:
    """A recipe that draws quickly on the tiny base."""
    settings: dict[str, dict[str, Any]] = {
        "base": {"model": str(base)},
        "encode": {"resolution": 32},
        "generate": {
            "prompts": ["picture of a dog", "picture of the city", "picture of a house"],
            "seeds": [0, 1, 2],
            "num_inference_steps": 2,
            "guidance_scale": 2.0,
        },
        "compare": {"embedder": str(clip), "held_out_prompts": 3, "general_prompts": ["a cup", "a tree"]},
    }
    for table, keys in tables.items():
        settings[table] = settings.get(table, {}) | keys
    return resolve(settings)


def make_run(root: Path, base: Path, pictures: Path, *, strength: float = 0.5) -> RunDir:
    """A run folder; `strength` is the deviation of the adapter's B, 0 for one that changes nothing."""
    run = RunDir(root)
    names = []
    (run.dataset / "images").mkdir(parents=True)
    for path in sorted(pictures.iterdir()):
        shutil.copy(path, run.dataset / "images" / path.name)
        names.append(f"images/{path.name}")
    captions = [
        f"picture of {CAPTIONS[i % 6]}" + (" with the city" if i > 5 else "") for i in range(len(names))
    ]
    described = list(zip(names, captions, strict=True))
    Dataset(run.dataset).write_metadata([Item(name, text) for name, text in described])
    items = [
        cached_item(file_name=name, caption=text, split="held_out" if index < 4 else "train")
        for index, (name, text) in enumerate(described)
    ]
    cache_index(items, native_px=32).write(run.cache_index)
    _write_training(run)
    write_lora(run.lora_file, base, strength)
    return run


def write_lora(path: Path, base: Path, strength: float) -> Path:
    """A random adapter for a base."""
    recipe = resolve({})
    unet = load_base(str(base), parts=("unet",)).unet
    attach(unet, recipe.lora, seed=0)
    random = torch.Generator().manual_seed(0)
    state = {
        name: weight if "lora_A" in name else strength * torch.randn(weight.shape, generator=random)
        for name, weight in adapter_state(unet).items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_diffusers(path, from_state(state, recipe.lora, {}))
    return path


def _write_training(run: RunDir) -> None:
    losses = {10: [0.21, 0.18, 0.20, 0.19], 20: [0.17, 0.15, 0.18, 0.16], 30: [0.18, 0.16, 0.19, 0.17]}
    judged = [
        {"step": step, "kind": "step", "loss": sum(one) / 4, "losses": one, "path": f"train/{step}"}
        for step, one in losses.items()
    ]
    base = {"step": 0, "kind": "step", "loss": 0.2, "losses": [0.22, 0.19, 0.21, 0.18], "path": None}
    chosen = judged[1] | {"reason": "lowest held-out loss of 3 candidates: 0.16500, below the base's 0.20000"}
    write_json(
        run.candidates_json,
        {
            "chosen": chosen,
            "base_loss": 0.2,
            "base": base,
            "candidates": judged,
            "stopped": None,
            "events": [],
        },
    )
    lines = [
        {
            "step": step,
            "loss": 0.3 / step**0.2,
            "lr": 1e-4 * (1 - step / 31),
            "grad_norm": 2.0 / step**0.5,
            "grad_norm_clipped": min(1.0, 2.0 / step**0.5),
            "images_per_second": 8.0,
            "seconds": 0.25,
        }
        for step in range(1, 31)
    ]
    write_text(run.log_jsonl, "\n".join(json.dumps(line) for line in lines) + "\n")
