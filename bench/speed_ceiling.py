"""What a step takes at least: its operations by PyTorch's counter, and this machine's speed in a product."""

from __future__ import annotations

import time

import torch
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from bench.speed_systems import Case, recipe_of
from veneer.lora.adapter import attach
from veneer.models.base import load_base
from veneer.training.network import base_dtype

REPEATS = 3


def matrix_rate(precision: str, side: int | None = None) -> float:
    """Time a large matrix product.

    Args:
        precision: "no", "bf16" or "fp16".
        side: Side of the matrices; None for 8192 on a GPU and 4096 elsewhere.

    Returns:
        Floating-point operations a second, the best of three products after one to warm up.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    side = side or (8192 if device.type == "cuda" else 4096)
    dtype = base_dtype(precision)  # type: ignore[arg-type]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        product = left @ right
        float(product[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds[1:])


def flop_of_step(case: Case) -> int:
    """Count the operations of a training step of the UNet: forward, and backward to the adapter.

    What is computed a second time to save memory does not count: it is no work that had to be done.

    Args:
        case: What is trained.

    Returns:
        Operations of all pictures of a step, a multiplication and an addition counted as two.
    """
    base = load_base(case.base, parts=())
    config = base.settings["unet"]
    side = case.resolution // base.vae_factor
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config).requires_grad_(False)
        attach(unet, recipe_of(case).lora, seed=0)
        latents = torch.zeros(case.batch_size, config["in_channels"], side, side)
        states = torch.zeros(case.batch_size, 77, config["cross_attention_dim"])
        timesteps = torch.zeros(case.batch_size, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter:
            unet(latents, timesteps, states, return_dict=False)[0].sum().backward()
    return int(counter.get_total_flops())
