"""A LoRA's weights in memory, whatever file they came from.

Weights have peft's names; for each module the true alpha is kept, so that its update is
``alpha / rank * B @ A``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from veneer.config import LoraTable
from veneer.errors import AdapterError

Layout = Literal["diffusers", "kohya", "peft", "comfyui"]
DOWN, UP, MAGNITUDE = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"
INPUT_MAGNITUDE = "lora_magnitude_of_inputs"
"""Magnitudes of a DoRA over a weight's columns, shape (1, in) or (1, in, 1, 1), which peft does not know."""


@dataclass(frozen=True)
class LoraFile:
    """An adapter in memory.

    Attributes:
        state: Weights by peft's names; those of the text encoder begin with ``text_encoder.``.
        alphas: Alpha by module; the module's update is multiplied by alpha / rank.
        layout: Layout of the file that it was read from.
        metadata: Text that the file carries, by key.
    """

    state: Mapping[str, Tensor] = field(repr=False)
    alphas: Mapping[str, float] = field(repr=False)
    layout: Layout = "peft"
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the adapted modules, sorted."""
        return tuple(sorted(self.alphas))

    @property
    def ranks(self) -> dict[str, int]:
        """Rank by module."""
        return {module: int(self.state[f"{module}.{DOWN}"].shape[0]) for module in self.modules}

    @property
    def rank(self) -> int:
        """Rank of most modules."""
        return Counter(self.ranks.values()).most_common(1)[0][0]

    @property
    def alpha(self) -> float:
        """Alpha of most modules."""
        return Counter(self.alphas[module] for module in self.modules).most_common(1)[0][0]

    @property
    def use_dora(self) -> bool:
        """Whether weights are decomposed into magnitude and direction."""
        return any(name.endswith((MAGNITUDE, INPUT_MAGNITUDE)) for name in self.state)

    @property
    def is_by_inputs(self) -> bool:
        """Whether it is a DoRA over the input axis, which peft and diffusers cannot hold."""
        return any(name.endswith(INPUT_MAGNITUDE) for name in self.state)

    def refuse_by_inputs(self, what: str) -> None:
        """Refuse a DoRA over the input axis where only peft's kind can be.

        Args:
            what: What cannot be done with it.

        Raises:
            AdapterError: If it is one.
        """
        if self.is_by_inputs:
            raise AdapterError(
                f"a DoRA over the input axis {what}, because peft and diffusers know none",
                todo="Merge it into its base: `veneer export --lora FILE --layout merged --out FOLDER`",
            )

    def scaled(self, scale: float) -> LoraFile:
        """The same adapter, stronger or weaker.

        Args:
            scale: Factor on its strength.

        Returns:
            An adapter whose alphas are multiplied.

        Raises:
            AdapterError: For a DoRA, whose magnitude no factor can weaken.
        """
        if self.use_dora and scale != 1:
            raise AdapterError(
                "the strength of a DoRA cannot be written into a file", todo="Leave --scale out"
            )
        return replace(self, alphas={module: alpha * scale for module, alpha in self.alphas.items()})

    def cast(self, dtype: torch.dtype) -> LoraFile:
        """The same adapter in another precision.

        Args:
            dtype: Precision of the weights.

        Returns:
            An adapter with cast weights.
        """
        return replace(self, state={name: weight.to(dtype) for name, weight in self.state.items()})


def from_state(state: Mapping[str, Tensor], lora: LoraTable, metadata: Mapping[str, str]) -> LoraFile:
    """An adapter from what training gives.

    Args:
        state: Weights by peft's names; those of the text encoder begin with ``text_encoder.``.
        lora: The settings that they were trained with.
        metadata: Text to carry along.

    Returns:
        The adapter; a rank-stabilised scale becomes an alpha that says the same.
    """
    downs = {name.removesuffix(f".{DOWN}"): weight for name, weight in state.items() if name.endswith(DOWN)}
    alphas = {
        module: lora.lora_alpha * (math.sqrt(weight.shape[0]) if lora.use_rslora else 1.0)
        for module, weight in downs.items()
    }
    return LoraFile(dict(state), alphas, metadata=dict(metadata))


def split_name(name: str) -> tuple[str, str]:
    """Split a weight's name.

    Args:
        name: Peft's name.

    Returns:
        The module, and "lora_A.weight", "lora_B.weight" or "lora_magnitude_vector".
    """
    module, _, kind = name.rpartition(".lora_")
    return module, f"lora_{kind}"
