"""Which family a base is of: Stable Diffusion 1.x and 2.x are customised, others refused by their name."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from veneer.errors import BaseModelError
from veneer.models.modelfiles import what_it_is

Family = Literal["sd1", "sd2"]

# Names that only one family has among the tensors of a checkpoint, from the newest to the oldest.
CHECKPOINT_MARKS = (
    ("lora_", "a LoRA, not a base model"),
    (".lora", "a LoRA, not a base model"),
    ("double_blocks.", "Flux"),
    ("joint_blocks.", "Stable Diffusion 3"),
    ("conditioner.embedders.", "Stable Diffusion XL"),
    ("control_model.", "a ControlNet"),
    ("cond_stage_model.model.", "sd2"),
    ("cond_stage_model.transformer.", "sd1"),
)
PIPELINES = {
    "StableDiffusionXLPipeline": "Stable Diffusion XL",
    "StableDiffusionXLImg2ImgPipeline": "Stable Diffusion XL",
    "StableDiffusion3Pipeline": "Stable Diffusion 3",
    "FluxPipeline": "Flux",
    "StableDiffusionInpaintPipeline": "Stable Diffusion inpainting",
}
SAME_PARTS = {"StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", ""}
"""Pipelines of the parts that Veneer customises."""
_TODO = "Veneer customises Stable Diffusion 1.x and 2.x: take one of those, or the bundled base, `pocket`"


def family_of_folder(folder: Path) -> Family:
    """Family of a model in Hugging Face layout.

    Returns:
        "sd1" or "sd2".

    Raises:
        BaseModelError: If it is of another family or no model at all.
    """
    name = _pipeline_name(folder)
    unet = read_json(folder / "unet" / "config.json")
    if name not in SAME_PARTS:
        raise _refusal(PIPELINES.get(name, name), folder)
    if unet.get("addition_embed_type") == "text_time":
        raise _refusal("Stable Diffusion XL", folder)
    if unet.get("in_channels", 4) != 4:
        raise _refusal(_by_channels(int(unet["in_channels"])), folder)
    is_second = unet.get("cross_attention_dim") == 1024 or bool(unet.get("use_linear_projection"))
    return "sd2" if is_second else "sd1"


def family_of_checkpoint(path: Path) -> Family:
    """Family of a single-file checkpoint, told by its tensors' names.

    Args:
        path: The `.safetensors` file; only its header is read.

    Returns:
        "sd1".

    Raises:
        BaseModelError: If it is of another family, incomplete or damaged.
    """
    with open_safetensors(path) as file:
        names = list(file.keys())
        family = _by_names(names)
        if family == "sd2":
            raise BaseModelError(
                "a Stable Diffusion 2.x checkpoint does not say what it predicts (noise or velocity)",
                where=str(path),
                todo="Take the same model in Hugging Face layout, whose scheduler_config.json says it",
            )
        if family != "sd1":
            raise _refusal(family, path)
        conv_in = "model.diffusion_model.input_blocks.0.0.weight"
        if conv_in not in names:
            raise BaseModelError(
                "the checkpoint has no UNet", where=str(path), todo="Take the whole model's file"
            )
        if file.get_slice(conv_in).get_shape()[1] != 4:
            raise _refusal(_by_channels(file.get_slice(conv_in).get_shape()[1]), path)
    return "sd1"


def read_json(path: Path) -> dict[str, Any]:
    """Read a settings file of a model.

    Returns:
        Its content.

    Raises:
        BaseModelError: If it is missing or damaged.
    """
    if not path.is_file():
        raise BaseModelError(
            f"not a Stable Diffusion folder: {path.name} is missing",
            where=str(path),
            todo="A folder in Hugging Face layout has unet/, vae/, text_encoder/, tokenizer/ and scheduler/",
        )
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except ValueError as error:
        raise BaseModelError(f"a settings file is damaged: {error}", where=str(path)) from error


def open_safetensors(path: Path) -> Any:
    """Open a safetensors file for reading on the CPU.

    Returns:
        The open file, a context manager.

    Raises:
        BaseModelError: If it cannot be read.
    """
    if other := what_it_is(path):
        raise BaseModelError(other.what, where=str(path), todo=other.todo)
    try:
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        todo = "Fetch the file again: it may have been cut short"
        raise BaseModelError(f"the file is damaged: {error}", where=str(path), todo=todo) from error


def _pipeline_name(folder: Path) -> str:
    if not (folder / "model_index.json").is_file():
        if (folder / "transformer" / "config.json").is_file():
            return str(read_json(folder / "transformer" / "config.json").get("_class_name", "a transformer"))
        return ""
    return str(read_json(folder / "model_index.json").get("_class_name", ""))


def _by_names(names: Collection[str]) -> str:
    for mark, family in CHECKPOINT_MARKS:
        if any(mark in name for name in names):
            return family
    if any(name.startswith("model.diffusion_model.") for name in names):
        return "a checkpoint without its text encoder"
    return "unknown"


def _by_channels(channels: int) -> str:
    match channels:
        case 9:
            return "Stable Diffusion inpainting"
        case 8:
            return "InstructPix2Pix"
        case _:
            return f"a UNet with {channels} input channels"


def _refusal(family: str, path: Path) -> BaseModelError:
    return BaseModelError(f"this base is of another family: {family}", where=str(path), todo=_TODO)
