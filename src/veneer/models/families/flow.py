"""The path of flow-matching models: straight from a picture to noise, its direction the target.

``x_s = (1 - s) x_0 + s noise`` with ``s`` in (0, 1]; the network predicts ``noise - x_0``. The path is cut
into T steps, ``s = (t + 1) / T``: timesteps are integers as on other paths, and the last is noise alone.

Source: Lipman et al. 2022, "Flow Matching for Generative Modeling", section 4; Liu et al. 2022, "Flow
Straight and Fast", section 2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from veneer.config import LossWeighting
from veneer.models.families.paths import loss_weights, shifted_share

FLOW_STEPS = 1000
"""Steps that the path is cut into, as diffusers' schedulers cut it."""


@dataclass(frozen=True)
class Flow:
    """The path of flow-matching models.

    Attributes:
        shift: Pull of timesteps towards much noise, > 0; 1 for none.
    """

    shift: float = 1.0

    @property
    def num_timesteps(self) -> int:
        """Number of timesteps, T."""
        return FLOW_STEPS

    @property
    def prediction_type(self) -> str:
        """What the network predicts: the line's direction."""
        return "flow"

    def place(self, share: float) -> float:
        """Where a share of draws lies on the path."""
        return shifted_share(share, self.shift)

    def shifted(self, shift: float) -> Flow:
        """The same path with another shift."""
        return replace(self, shift=shift)

    def mix(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noisy latents, shape (B, C, h, w)."""
        share = noise_share(timesteps).view(-1, 1, 1, 1)
        return (1 - share) * latents + share * noise

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network should predict, shape (B, C, h, w): the same wherever on the line."""
        return noise - latents

    def weights(self, weighting: LossWeighting, gamma: float) -> Tensor:
        """Loss weight of each timestep, shape (T,), float64.

        As for diffusion, a weighting is one of the clean latents' error, which is ``s`` times the
        direction's.
        """
        share = noise_share(torch.arange(FLOW_STEPS)).double()
        if weighting == "none":
            return torch.ones_like(share)
        return loss_weights(((1 - share) / share) ** 2, weighting, gamma, "sample") * share**2

    def to(self, device: torch.device) -> Flow:
        """The same path: it has no tables."""
        return self


def noise_share(timesteps: Tensor) -> Tensor:
    """Share of noise ``s`` at timesteps, in (0, 1], float32, of their shape."""
    return (timesteps.float() + 1) / FLOW_STEPS


def flow_path(scheduler: Mapping[str, Any]) -> Flow:
    """The path that a scheduler's settings describe.

    A shift that its sampler works out from the picture's size belongs to drawing, and is not taken over.

    Args:
        scheduler: Content of `scheduler_config.json` of a `FlowMatchEulerDiscreteScheduler`.
    """
    is_dynamic = bool(scheduler.get("use_dynamic_shifting", False))
    return Flow(1.0 if is_dynamic else float(scheduler.get("shift", 1.0)))
