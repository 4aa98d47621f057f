"""What is trained: UNet and text encoder with their adapters, read out and put back as checkpoint files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from veneer.config import MixedPrecision, Recipe
from veneer.events import OnEvent, ignore
from veneer.lora.adapter import adapter_state, attach, load_adapter_state, trainable
from veneer.models.base import encode_prompt, load_base, tokenize_prompt
from veneer.training.batches import MicroBatch
from veneer.training.rankmask import RankMask

TEXT_PREFIX = "text_encoder."
Files = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder that is trained along.

    Attributes:
        tokenizer: The base's tokenizer.
        module: The text encoder with its adapter.
    """

    tokenizer: Any
    module: Any

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Embed captions.

        Args:
            captions: B captions.

        Returns:
            Shape (B, L, D).
        """
        return encode_prompt(self.module, tokenize_prompt(self.tokenizer, captions))


@dataclass(frozen=True)
class Network:
    """The networks with their adapters.

    Attributes:
        unet: The UNet; its own weights frozen, the adapter's float32.
        text: The text encoder where it is trained too; None where captions were embedded before.
        parameters: What is trained, by name, in a fixed order.
        alphas_cumprod: The scheduler's products, shape (T,), float32, on the CPU.
        dtype: Precision of the frozen weights.
        ranks: Tells the adapter which ranks act, for T-LoRA.
    """

    unet: Any
    text: TextEncoder | None
    parameters: Mapping[str, nn.Parameter]
    alphas_cumprod: Tensor
    dtype: torch.dtype
    ranks: RankMask | None

    @property
    def num_timesteps(self) -> int:
        """Timesteps of the base's scheduler."""
        return len(self.alphas_cumprod)

    def hidden_states(self, batch: MicroBatch) -> Tensor:
        """What the UNet attends to: the cached embeddings, or the captions through the trained text encoder.

        Args:
            batch: The batch.

        Returns:
            Shape (B, L, D).
        """
        return batch.encoder_hidden_states if self.text is None else self.text.encode(batch.captions)

    def predict(self, noisy_latents: Tensor, timesteps: Tensor, hidden_states: Tensor) -> Tensor:
        """Run the UNet.

        Args:
            noisy_latents: Shape (B, C, h, w).
            timesteps: Integers in [0, T), shape (B,).
            hidden_states: Caption embeddings, shape (B, L, D).

        Returns:
            Its prediction, shape (B, C, h, w).
        """
        if self.ranks is not None:
            self.ranks.set(timesteps)
        noisy_latents, hidden_states = noisy_latents.to(self.dtype), hidden_states.to(self.dtype)
        prediction: Tensor = self.unet(noisy_latents, timesteps, hidden_states, return_dict=False)[0]
        return prediction

    def train(self, mode: bool = True) -> None:
        """Switch between training (dropout and rank masks act) and judging (the adapter as others use it).

        Args:
            mode: True to train.
        """
        self.unet.train(mode)
        if self.text is not None:
            self.text.module.train(mode)

    def state(self) -> Files:
        """Read out what is trained.

        Returns:
            Tensors by file and name, float32, on the CPU; the text encoder's begin with "text_encoder.".
        """
        state = adapter_state(self.unet)
        if self.text is not None:
            own = adapter_state(self.text.module)
            state |= {f"{TEXT_PREFIX}{name}": tensor for name, tensor in own.items()}
        return {"adapter": state}

    def load(self, files: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Put back what `state` read out.

        Args:
            files: Tensors by file and name; further files are left alone.
        """
        state = files["adapter"]
        load_adapter_state(self.unet, {k: v for k, v in state.items() if not k.startswith(TEXT_PREFIX)})
        if self.text is not None:
            own = {k.removeprefix(TEXT_PREFIX): v for k, v in state.items() if k.startswith(TEXT_PREFIX)}
            load_adapter_state(self.text.module, own)

    @contextlib.contextmanager
    def holding(self, values: Sequence[Tensor]) -> Iterator[None]:
        """Other values in the trained parameters, inside the block.

        Args:
            values: One tensor for each parameter.

        Yields:
            Nothing.
        """
        parameters: list[Tensor] = list(self.parameters.values())
        own = [parameter.detach().clone() for parameter in parameters]
        with torch.no_grad():
            torch._foreach_copy_(parameters, list(values))
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(parameters, own)


def build_network(recipe: Recipe, device: torch.device, on_event: OnEvent = ignore) -> Network:
    """Load the base's UNet and attach a fresh adapter.

    Args:
        recipe: The resolved recipe.
        device: Where to train.
        on_event: Called with every event.

    Returns:
        The network.

    Raises:
        BaseModelError: If the base cannot be loaded.
        RecipeError: If an adapter setting fits no layer.
    """
    settings, lora = recipe.train, recipe.lora
    dtype = base_dtype(settings.mixed_precision)
    text_parts = ("tokenizer", "text_encoder") if lora.text_encoder else ()
    base = load_base(
        recipe.base.model,
        revision=recipe.base.revision,
        dtype=dtype,
        device=device,
        parts=("unet", "scheduler", *text_parts),
        on_event=on_event,
    )
    attach(base.unet, lora, seed=settings.seed)
    parameters = trainable(base.unet)
    text = None
    if lora.text_encoder:
        attach(base.text_encoder, lora, seed=settings.seed)
        text = TextEncoder(base.tokenizer, base.text_encoder)
        parameters |= {f"{TEXT_PREFIX}{n}": p for n, p in trainable(base.text_encoder).items()}
    if settings.gradient_checkpointing:
        base.unet.enable_gradient_checkpointing()
    alphas_cumprod = base.scheduler.alphas_cumprod.float()
    ranks = RankMask(base.unet, len(alphas_cumprod)) if lora.timestep_rank else None
    network = Network(base.unet, text, parameters, alphas_cumprod, dtype, ranks)
    network.train()
    return network


def base_dtype(mixed_precision: MixedPrecision) -> torch.dtype:
    """Precision of the frozen weights.

    Args:
        mixed_precision: The recipe's word.

    Returns:
        The dtype.
    """
    match mixed_precision:
        case "no":
            return torch.float32
        case "fp16":
            return torch.float16
        case "bf16":
            return torch.bfloat16
