"""What a family of base models is: everything in which one differs from another, a file of its own each.

The rest of Veneer knows latents, timesteps and a mapping of tensors that the network is told
(*conditioning*). How to add a family: CONTRIBUTING.md.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import CLIPTokenizer

from veneer.models.families.paths import NoisePath

Conditioning = dict[str, Tensor]
"""What the network is told beside noisy latents and timestep: tensors by name, the items first."""
Parts = Mapping[str, Any]
"""Networks, tokenizers and scheduler by the names of their folders."""
PartSettings = Mapping[str, dict[str, Any]]
"""Content of each part's settings file; that of `model_index.json` under "pipeline"."""
Draw = Callable[[tuple[int, ...]], Tensor]
"""Makes a tensor of a shape."""


@dataclass(frozen=True)
class CropView:
    """How a cached view came from its picture; all in pixels.

    Attributes:
        size: Width and height of the picture.
        resized: Width and height that it was enlarged or reduced to.
        corner: First column and row that were kept of that.
        bucket: Width and height that were kept.
        mirrored: Whether left and right changed places afterwards.
    """

    size: tuple[int, int]
    resized: tuple[int, int]
    corner: tuple[int, int]
    bucket: tuple[int, int]
    mirrored: bool


@dataclass(frozen=True)
class SingleFile:
    """How a whole base lies in one file.

    Attributes:
        settings: Folder of the settings that such files go by, as they hold none.
        prefixes: Beginnings of each network's names.
        loaders: Networks that diffusers does not read by itself: what makes one of its tensors.
    """

    settings: Path
    prefixes: Mapping[str, tuple[str, ...]]
    loaders: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class LoraNames:
    """What a LoRA's layers are called by others.

    Attributes:
        layers: What the denoiser's layers are called after diffusers.
        native: Layers as the first release names them, "{}" for a block's number, and the layers after
            diffusers that lie in each side by side; empty where the second file is in kohya's layout.
        width: Width of the text states that cross-attention reads, which tells a LoRA's family; 0 where
            the layers' names tell it.
        text: Beginning of the names of each text encoder's layers in kohya's layout.
        is_sgm: Whether kohya's layout names the denoiser's blocks as the first release does.
        version: kohya's ``ss_base_model_version``, for noise and for velocity.
        architecture: ``modelspec.architecture``, for noise and for velocity.
        native_px: Side of usual pictures, for noise and for velocity, in pixels.
    """

    layers: re.Pattern[str]
    version: tuple[str, str]
    architecture: tuple[str, str]
    native_px: tuple[int, int]
    native: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    width: int = 0
    text: Mapping[str, str] = field(default_factory=dict)
    is_sgm: bool = False


@dataclass(frozen=True)
class Family(ABC):
    """A family of base models.

    Attributes:
        name: Name in files and messages for machines, such as "sd1".
        label: Name for people.
        pipelines: Classes of diffusers that its bases come as; "" for a folder that does not say.
        networks: Class of each network, by part, in the order of the base's fingerprint.
        text_encoders: Tokenizer of each text encoder, by part.
        denoiser: Part that predicts, and gets the adapter.
        lora: Names of a LoRA's layers in others' files.
        targets: Endings of the denoiser's layers in each named set of `lora.target_modules`.
        samplers: diffusers' class of each sampler that draws with its bases.
        tokenizer: Class of its tokenizers.
        single_file: How such a base lies in one file; None where it does not.
        learns_words: Whether words can be learnt (textual inversion).
        adapts_text: Whether text encoders can get an adapter.
        trains_small: Whether pictures well below the base's own size are trained as usual.
        has_negative: Whether its pipeline takes a negative prompt.
        has_refiner: Whether pictures can be drawn over, larger.
        holds_dora: Whether its LoRA files can hold a DoRA.
        fits_half: Whether its numbers fit float16.
        keeps_shapes: Whether every step has the same shapes, so that a GPU can record it.
        heavy_text: Whether the text encoder is read in bfloat16 where a GPU has it, and its states kept so.
    """

    name: str
    label: str
    pipelines: tuple[str, ...]
    networks: Mapping[str, Any]
    text_encoders: Mapping[str, str]
    lora: LoraNames
    targets: Mapping[str, tuple[str, ...]]
    samplers: Mapping[str, str]
    tokenizer: Any = CLIPTokenizer
    denoiser: str = "unet"
    single_file: SingleFile | None = None
    learns_words: bool = True
    adapts_text: bool = True
    trains_small: bool = True
    has_negative: bool = True
    has_refiner: bool = True
    holds_dora: bool = True
    heavy_text: bool = False
    fits_half: bool = True
    keeps_shapes: bool = True

    @property
    def tokenizers(self) -> tuple[str, ...]:
        """Parts that are tokenizers."""
        return tuple(self.text_encoders.values())

    @property
    def text_parts(self) -> tuple[str, ...]:
        """Parts that read prompts."""
        return (*self.tokenizers, *self.text_encoders)

    def parts_of(self, kinds: Sequence[str]) -> tuple[str, ...]:
        """The parts of some kinds.

        Args:
            kinds: Of "tokenizer", "text_encoder", "vae", "unet" (whatever predicts) and "scheduler".
        """
        groups = {
            "tokenizer": self.tokenizers,
            "text_encoder": tuple(self.text_encoders),
            "unet": (self.denoiser,),
        }
        return tuple(part for kind in kinds for part in groups.get(kind, (kind,)))

    @abstractmethod
    def is_folder(self, pipeline: str, denoiser: Mapping[str, Any]) -> bool:
        """Whether a folder in Hugging Face layout is of this family.

        Args:
            pipeline: Class that its `model_index.json` names; "" for none.
            denoiser: PartSettings of what predicts.
        """

    @abstractmethod
    def is_checkpoint(self, names: Sequence[str]) -> bool:
        """Whether a single file is of this family, by the names of its tensors."""

    def checked_folder(self, settings: PartSettings) -> str | None:
        """What speaks against customising a folder of this family.

        Args:
            settings: PartSettings of the pipeline and of what predicts.

        Returns:
            What the base is instead, such as a refiner; None where nothing does.
        """
        return None

    def objective_of(self, names: Sequence[str], metadata: Mapping[str, str]) -> dict[str, Any]:
        """What a single file says of its objective.

        Args:
            names: Names of its tensors.
            metadata: Text in its header.

        Returns:
            Keys of a scheduler's settings, over those that such files go by.
        """
        return {}

    @abstractmethod
    def prompt_tokens(self, tokenizer: Any) -> int:
        """Tokens of a prompt that are read, marks of beginning and end included; the rest is cut."""

    @abstractmethod
    def encode_prompts(self, parts: Parts, settings: PartSettings, prompts: Sequence[str]) -> Conditioning:
        """What the network is told of prompts.

        Args:
            parts: Tokenizers and text encoders.
            prompts: B prompts; "" is what a dropped caption is trained as.

        Returns:
            Tensors by name, each (B, ...), in the text encoders' precision and on their device.
        """

    def describe(self, view: CropView) -> Conditioning:
        """What the network is told of how a picture was cut.

        Returns:
            Tensors by name, without items; nothing where the network is told nothing of it.
        """
        return {}

    @abstractmethod
    def probe(self, settings: PartSettings, draw: Draw) -> Conditioning:
        """Conditioning of the right shapes for one item, to run the network with.

        Args:
            draw: Makes what the text encoders would say.
        """

    @abstractmethod
    def predict(self, network: Any, noisy_latents: Tensor, timesteps: Tensor, told: Conditioning) -> Tensor:
        """Run the network.

        Args:
            noisy_latents: Shape (B, C, h, w), in the network's precision.
            timesteps: Integers in [0, T), shape (B,).
            told: Conditioning, each (B, ...).

        Returns:
            What the path's target is held against, shape (B, C, h, w).
        """

    @abstractmethod
    def encode_pixels(self, vae: Any, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of pictures' latents, as the network takes them.

        Args:
            pixel_values: Pictures, shape (B, 3, H, W), in [-1, 1].

        Returns:
            Mean (B, C, h, w), and a deviation that spreads to that shape.
        """

    @abstractmethod
    def path(self, settings: PartSettings) -> NoisePath:
        """How the base mixes pictures with noise."""

    @abstractmethod
    def training_scheduler(self, settings: PartSettings) -> Any:
        """Diffusers' scheduler of the training's noise."""

    @abstractmethod
    def latent_channels(self, settings: PartSettings) -> int:
        """Channels of the latents that its VAE gives the network."""

    @abstractmethod
    def vae_factor(self, settings: PartSettings) -> int:
        """Pixels for each latent pixel, along a side."""

    @abstractmethod
    def native_px(self, settings: PartSettings) -> int:
        """Side of the square pictures that the base was trained on, in pixels."""

    @abstractmethod
    def size_multiple(self, settings: PartSettings) -> int:
        """What both sides of a picture must be multiples of, in pixels."""

    @abstractmethod
    def pipeline(self, parts: Parts, settings: PartSettings, scheduler: Any) -> Any:
        """The parts put together as diffusers' pipeline that draws from prompts; nothing is copied."""

    def refiner(self, pipeline: Any) -> Any:
        """Diffusers' pipeline that draws a picture over, on the parts of another one."""
        raise NotImplementedError(f"{self.label} draws nothing over")

    def negative(self, prompt: str) -> str | None:
        """What the pipeline wants for a negative prompt."""
        return prompt
