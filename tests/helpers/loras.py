"""Trained-looking LoRAs on the tiny base, for the tests of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from veneer.config import LoraTable
from veneer.lora.adapter import adapter_state, attach
from veneer.lora.weights import LoraFile, from_state
from veneer.models.base import load_base


def random_lora(base_folder: Path, *, seed: int = 0, **settings: Any) -> LoraFile:
    """An adapter with every weight moved off its start; ``settings`` are the recipe's [lora] table."""
    table = LoraTable(**settings)
    base = load_base(str(base_folder), parts=("unet", "text_encoder"))
    attach(base.unet, table, seed=seed)
    state = adapter_state(base.unet)
    for part, module in base.text_encoders.items() if table.text_encoder else ():
        attach(module, table, seed=seed)
        state |= {f"{part}.{name}": weight for name, weight in adapter_state(module).items()}
    generator = torch.Generator().manual_seed(seed + 1)
    moved = {}
    for name, weight in sorted(state.items()):
        noise = torch.randn(weight.shape, generator=generator)
        moved[name] = weight * (1 + 0.1 * noise) if "magnitude" in name else weight + 0.05 * noise
    return from_state(
        moved, table, {"veneer.base": "tiny", "veneer.family": base.family.name, "veneer.step": "7"}
    )


@torch.no_grad()
def unet_output(unet: Any) -> torch.Tensor:
    """What the tiny UNet says to fixed inputs."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 16, 16, generator=generator)
    hidden = torch.randn(1, 77, 16, generator=generator)
    return unet(latents.to(unet.dtype), 100, hidden.to(unet.dtype), return_dict=False)[0]
