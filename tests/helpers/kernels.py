"""What the tests of Veneer's own kernels share: a small UNet of plain layers, and a distance."""

from typing import Any

import diffusers
import torch


def small_unet() -> Any:
    """A random frozen UNet with attention at one level and convolutions at two."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=4,
        ).requires_grad_(False)


def relative_error(seen: torch.Tensor, wanted: torch.Tensor) -> float:
    """Distance from the truth as a share of its norm, in float64."""
    seen, wanted = seen.detach().double(), wanted.detach().double()
    return float((seen - wanted).norm() / wanted.norm())
