"""T-LoRA: fewer ranks of the adapter act at timesteps of much noise, while training.

The file that comes out is an ordinary LoRA, and judged as one: with all its ranks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from veneer.lora.adapter import ADAPTER
from veneer.training.diffusion import timestep_rank


class RankMask:
    """Silences ranks of every layer by the timestep of the item, in training mode alone.

    Args:
        unet: A UNet with an adapter.
        num_timesteps: Timesteps of the scheduler.

    Source: Soboleva et al. 2025, "T-LoRA: Single Image Diffusion Model Customization Without Overfitting",
        section 3.2.
    """

    def __init__(self, unet: nn.Module, num_timesteps: int) -> None:
        self._num_timesteps = num_timesteps
        self._timesteps = torch.zeros(1, dtype=torch.int64)
        self._masks: dict[int, Tensor] = {}
        for name, module in unet.named_modules():
            if name.endswith(f".lora_A.{ADAPTER}"):
                module.register_forward_hook(self._silence)

    def set(self, timesteps: Tensor) -> None:
        """Take in the timesteps of the next batch.

        Args:
            timesteps: Integers in [0, T), shape (B,).
        """
        self._timesteps = timesteps
        self._masks = {}

    def _silence(self, module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not module.training:
            return None
        axis = 1 if isinstance(module, nn.Conv2d) else -1
        rank = output.shape[axis]
        shape = [1] * output.ndim
        shape[0], shape[axis] = output.shape[0], rank
        return output * self._mask(rank).to(output.dtype).view(shape)

    def _mask(self, rank: int) -> Tensor:
        if rank not in self._masks:
            acting = timestep_rank(self._timesteps, rank, self._num_timesteps)
            self._masks[rank] = torch.arange(rank, device=acting.device)[None] < acting[:, None]
        return self._masks[rank]
