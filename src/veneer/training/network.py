"""What is trained: UNet and text encoder with their adapters, read out and put back as checkpoint files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from veneer import machine
from veneer.config import MixedPrecision, Recipe
from veneer.errors import RecipeError
from veneer.events import Notice, OnEvent, ignore
from veneer.kernels.fast import use_fast_kernels
from veneer.kernels.int8 import quantise
from veneer.lora.adapter import adapter_state, attach, load_adapter_state, trainable
from veneer.lora.embedding_file import file_names
from veneer.lora.methods import attach_method
from veneer.lora.names import DENOISER, part_of
from veneer.lora.textual_inversion import attach_embedding, initial_embedding, spell_out
from veneer.models.base import Base, encode_prompts, load_base_of
from veneer.models.families.family import Conditioning, Family
from veneer.models.families.paths import NoisePath
from veneer.training.batches import MicroBatch
from veneer.training.tlora import RankMask

KEPT_SHARE = 8
"""Part of the free memory, one in so many, in which attention weights may wait for the backward pass."""
WORD = "token_embedding"
"""Name of a learnt word's vectors among the trained parameters, after their text encoder's."""
Files = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class TextEncoders:
    """Text encoders that are trained along.

    Attributes:
        base: The base with its tokenizers and text encoders, adapters on them.
        word: Name of the word that is learnt, and its vectors by text encoder, each (n, D); None for none.
    """

    base: Base
    word: tuple[str, Mapping[str, nn.Parameter]] | None = None

    @property
    def modules(self) -> dict[str, Any]:
        """The text encoders by the names of their parts."""
        return self.base.text_encoders

    def encode(self, captions: Sequence[str]) -> Conditioning:
        """Embed captions.

        Args:
            captions: B captions.

        Returns:
            What the network is told of them, by name, each (B, ...).
        """
        spelt = captions if self.word is None else spell_out(self.base.tokenizer, captions)
        return encode_prompts(self.base, spelt)


@dataclass(frozen=True)
class Network:
    """The networks with their adapters.

    Attributes:
        unet: The network that predicts; its own weights frozen, the adapter's float32.
        text: The text encoders where they are trained too; None where captions were embedded before.
        parameters: What is trained, by name, in a fixed order.
        path: How the base mixes pictures with noise, its tables on the CPU.
        ranks: Tells the adapter which ranks act, for T-LoRA.
    """

    family: Family
    unet: Any
    text: TextEncoders | None
    parameters: Mapping[str, nn.Parameter]
    path: NoisePath
    dtype: torch.dtype
    ranks: RankMask | None

    @property
    def num_timesteps(self) -> int:
        """Timesteps of the base's path."""
        return self.path.num_timesteps

    def conditioning(self, batch: MicroBatch) -> Conditioning:
        """What the network is told: as cached, or of captions what the trained text encoders say.

        Returns:
            Tensors by name, each (B, ...).
        """
        if self.text is None:
            return batch.conditioning
        return batch.conditioning | self.text.encode(batch.captions)

    def predict(self, noisy_latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """Run the network.

        Args:
            noisy_latents: Shape (B, C, h, w).
            timesteps: Integers in [0, T), shape (B,).
            conditioning: What it is told, by name, each (B, ...).

        Returns:
            Its prediction, shape (B, C, h, w).
        """
        if self.ranks is not None:
            self.ranks.set(timesteps)
        noisy_latents = noisy_latents.to(self.dtype)
        if noisy_latents.is_cuda:
            noisy_latents = noisy_latents.contiguous(memory_format=torch.channels_last)
        return self.family.predict(self.unet, noisy_latents, timesteps, conditioning)

    def train(self, mode: bool = True) -> None:
        """Switch between training (dropout and rank masks act) and judging (the adapter as others use it).

        Args:
            mode: True to train.
        """
        self.unet.train(mode)
        for module in self._text_modules.values():
            module.train(mode)

    def state(self) -> Files:
        """Read out what is trained.

        Returns:
            Tensors by file and name, float32, on the CPU; a text encoder's begin with its name, such as
            "text_encoder.". A learnt word has a file of its own, which diffusers loads as it is.
        """
        state = adapter_state(self.unet)
        for part, module in self._text_modules.items():
            state |= {f"{part}.{name}": tensor for name, tensor in adapter_state(module).items()}
        if self.text is None or self.text.word is None:
            return {"adapter": state}
        named = file_names(*self.text.word)
        word = {name: vectors.detach().to("cpu", copy=True) for name, vectors in named.items()}
        return {"adapter": state, "embedding": word}

    def load(self, files: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Put back what `state` read out.

        Args:
            files: Tensors by file and name; further files are left alone.
        """
        state = files["adapter"]
        load_adapter_state(self.unet, part_of(state, DENOISER))
        for part, module in self._text_modules.items():
            load_adapter_state(module, part_of(state, part))
        if self.text is not None and self.text.word is not None:
            with torch.no_grad():
                for name, vectors in file_names(*self.text.word).items():
                    vectors.copy_(files["embedding"][name])

    @property
    def _text_modules(self) -> dict[str, Any]:
        return {} if self.text is None else self.text.modules

    @contextlib.contextmanager
    def holding(self, values: Sequence[Tensor]) -> Iterator[None]:
        """Other values in the trained parameters, inside the block."""
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
        device: Where to train.

    Raises:
        BaseModelError: If the base cannot be loaded.
        RecipeError: If an adapter setting fits no layer, or nothing is left to train.
    """
    settings, lora = recipe.train, recipe.lora
    dtype = base_dtype(settings.mixed_precision)
    text_parts: tuple[str, ...] = ()
    if lora.text_encoder or lora.embedding_token:
        text_parts = ("tokenizer", "text_encoder")
    base = load_base_of(
        recipe.base.model_copy(update={"vae": None}),
        dtype=dtype,
        device="cpu" if settings.base_weights else device,  # where its whole weights have room
        parts=("unet", "scheduler", *text_parts),
        on_event=on_event,
    )
    if settings.base_weights:
        _quantise(base, device, on_event)
    if device.type == "cuda":
        base.unet.to(memory_format=torch.channels_last)  # as its convolutions read
    put_on = attach_method if lora.method else attach
    put_on(base.unet, lora, seed=settings.seed)
    parameters = trainable(base.unet)
    text = _text_encoders(base, recipe, parameters) if text_parts else None
    if not parameters:
        todo = "Name layers, or a word to learn with lora.embedding_token"
        raise RecipeError("nothing is trained", where="lora.target_modules", todo=todo)
    if settings.gradient_checkpointing:
        # Nothing is drawn but dropout; and to keep a generator's state is nothing that can be recorded.
        base.unet.enable_gradient_checkpointing(
            partial(checkpoint, use_reentrant=False, preserve_rng_state=bool(lora.dropout))
        )
    path = base.path if settings.timestep_shift is None else base.path.shifted(settings.timestep_shift)
    ranks = RankMask(base.unet, path.num_timesteps) if lora.timestep_rank else None
    room = 0 if settings.gradient_checkpointing else machine.free_memory() // KEPT_SHARE
    is_compiled = settings.compile and device.type == "cuda"
    use_fast_kernels(base.unet, device, dtype, room=room, fuse_lora=not is_compiled)
    network = Network(base.family, base.unet, text, parameters, path, dtype, ranks)
    network.train()
    return network


def _quantise(base: Base, device: torch.device, on_event: OnEvent) -> None:
    """Put the base's linear layers into eight bits, and everything where it trains."""
    count = quantise(base.unet, base.family.lora.layers)
    for module in base.networks.values():
        module.to(device)
    held = sum(one.numel() * one.element_size() for one in base.unet.parameters()) / 2**30
    message = f"{count} layers of the base are kept in 8 bits: its weights take {held:.2f} GiB"
    on_event(Notice("train", "base-int8", message))


def _text_encoders(base: Base, recipe: Recipe, parameters: dict[str, nn.Parameter]) -> TextEncoders:
    """Put on the text encoders what is trained of them, and add that to ``parameters``."""
    lora, word = recipe.lora, None
    if lora.text_encoder:
        for part, module in base.text_encoders.items():
            put_on = attach_method if lora.method else attach
            put_on(module, lora, seed=recipe.train.seed)
            parameters |= {f"{part}.{n}": p for n, p in trainable(module).items()}
    if lora.embedding_token:
        first = initial_embedding(base.parts, base.family, lora)
        word = first.token, attach_embedding(base.parts, base.family, first)
        parameters |= {f"{part}.{WORD}": vectors for part, vectors in word[1].items()}
    return TextEncoders(base, word)


def base_dtype(mixed_precision: MixedPrecision) -> torch.dtype:
    """Precision of the frozen weights.

    Args:
        mixed_precision: The recipe's word.
    """
    match mixed_precision:
        case "no":
            return torch.float32
        case "fp16":
            return torch.float16
        case "bf16":
            return torch.bfloat16
