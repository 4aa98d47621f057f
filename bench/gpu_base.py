"""SD 1.5's structure with random weights, made on the device; `bench.random_sd15` makes it anywhere."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from bench.random_sd15 import TIED, structure
from veneer.models.families.sd import SD1_SETTINGS as SD1
from veneer.models.vocabulary import find_vocabulary


def build_on_device(folder: Path, device: torch.device) -> Path:
    """Build the base; what is there already stays.

    Args:
        device: Where its numbers are drawn.

    Returns:
        The folder; weights are bfloat16, and signals neither die nor grow in them.
    """
    if folder.is_dir():
        return folder
    half_built = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(half_built, ignore_errors=True)
    shutil.copytree(SD1, half_built)
    find_vocabulary(half_built / "model.safetensors", half_built / "tokenizer")
    generator = torch.Generator(device).manual_seed(0)
    for part, module in structure().items():
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        prefix = "text_model." if part == "text_encoder" else ""
        shapes = {name: weight.shape for name, weight in module.state_dict().items() if name not in TIED}
        tensors = {f"{prefix}{name}": random_weight(name, shape, generator) for name, shape in shapes.items()}
        save_file(tensors, half_built / part / f"{stem}.safetensors", {"format": "pt"})
    half_built.rename(folder)
    return folder


def random_weight(name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """One weight: norms at one, biases at zero, the rest normal with a variance of one over its inputs.

    Args:
        shape: Its shape.
        generator: Source of the numbers; its device is the weight's.

    Returns:
        bfloat16, shape as asked.
    """
    device = generator.device
    if len(shape) == 1:
        make = torch.ones if "norm" in name and name.endswith("weight") else torch.zeros
        return make(shape, dtype=torch.bfloat16, device=device)
    spread = 1 / math.sqrt(shape.numel() / shape[0])
    return torch.randn(shape, dtype=torch.bfloat16, device=device, generator=generator) * spread
