"""Bases that are not customised: told by their names, classes and tensors, and what to take instead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from veneer.errors import BaseModelError

TENSORS = (
    ("lora_", "a LoRA, not a base model"),
    (".lora", "a LoRA, not a base model"),
    (".lokr_", "a LyCORIS file, not a base model"),
    (".hada_", "a LyCORIS file, not a base model"),
    ("double_stream_modulation", "FLUX.2, its transformer alone"),
    ("double_blocks.", "Flux"),
    ("joint_blocks.", "Stable Diffusion 3"),
    ("context_refiner.", "Z-Image or Lumina"),
    ("transformer_blocks.0.img_mod.", "Qwen-Image"),
    ("conditioner.embedders.0.model.", "the refiner of Stable Diffusion XL"),
    ("control_model.", "a ControlNet"),
)
"""Parts of names that only one kind has among the tensors of a file, from the newest to the oldest."""
PIPELINES = {
    "StableDiffusion3Pipeline": "Stable Diffusion 3",
    "FluxPipeline": "Flux",
    "FluxKontextPipeline": "Flux Kontext",
    "Flux2Pipeline": "FLUX.2",
    "Flux2KleinKVPipeline": "FLUX.2-klein, distilled",
    "Flux2KleinInpaintPipeline": "FLUX.2-klein inpainting",
    "ZImageOmniPipeline": "Z-Image Omni",
    "Krea2Pipeline": "Krea 2",
    "QwenImagePipeline": "Qwen-Image",
    "StableCascadeCombinedPipeline": "Stable Cascade",
    "PixArtSigmaPipeline": "PixArt",
    "KolorsPipeline": "Kolors",
    "SanaPipeline": "Sana",
    "LatentConsistencyModelPipeline": "a distilled base (LCM)",
    "StableDiffusionInpaintPipeline": "Stable Diffusion inpainting",
    "StableDiffusionXLInpaintPipeline": "Stable Diffusion XL inpainting",
    "StableDiffusionInstructPix2PixPipeline": "InstructPix2Pix",
    "StableDiffusionXLInstructPix2PixPipeline": "InstructPix2Pix",
}
HUB_NAMES = {
    r"stable-diffusion-3": "Stable Diffusion 3",
    r"flux\.?1": "Flux",
    r"flux\.?2-klein(?!-base)": "FLUX.2-klein, distilled",
    r"flux\.?2(?!-klein)": "FLUX.2",
    r"krea": "Krea",
    r"z-image-turbo": "Z-Image Turbo, distilled",
    r"z-image-(?:edit|omni)": "Z-Image Omni or Edit",
    r"qwen-image": "Qwen-Image",
    r"xl-refiner": "the refiner of Stable Diffusion XL",
    r"inpaint": "Stable Diffusion inpainting",
}
"""Patterns in the names of hub repositories, by which a base is refused before anything is fetched."""
DISTILLED = re.compile(
    r"(?:^|[-_. ])(?:turbo|lightning|lcm|hyper|dmd2?|schnell)(?:$|[-_. \d])", re.IGNORECASE
)
WAY_OUT = (
    "Veneer customises Stable Diffusion 1.x, 2.x, XL and FLUX.2-klein's base: take one of those, or the "
    "bundled base, `pocket`"
)
WAYS_OUT = {
    "transformer alone": "Take the whole model in Hugging Face layout, such as "
    "black-forest-labs/FLUX.2-klein-base-4B",
    "Z-Image Turbo": "Train on the Z-Image that is not distilled, and draw with the LoRA on this one",
    "FLUX.2-klein, distilled": "Train on black-forest-labs/FLUX.2-klein-base-4B (or -9B), and draw with the "
    "LoRA on the distilled one",
    "distilled": "Train on the base that it was distilled from, such as "
    "stabilityai/stable-diffusion-xl-base-1.0, and draw with the LoRA on the distilled one",
    "refiner": "Train on stabilityai/stable-diffusion-xl-base-1.0: the refiner only finishes its pictures",
    "inpainting": "Train on the base that it came from: the LoRA then acts on the inpainting one too",
    "text encoder": "Take the whole model: a folder in Hugging Face layout, or the file that has them",
    "LoRA": "Name the base that it was made for, and give the LoRA with --lora",
    "LyCORIS": "Name the base that it was made for",
}
"""What to do, by a word in what the base is."""


def refused_base(kind: str, where: str) -> BaseModelError:
    """The refused_base of a base, by what it is.

    Args:
        kind: What it is, such as "Flux".
        where: Its path or name.
    """
    todo = next((way for word, way in WAYS_OUT.items() if word in kind), WAY_OUT)
    return BaseModelError(f"this base is of another family: {kind}", where=where, todo=todo)


def refuse_name(name: str) -> None:
    """Refuse a hub name that says by itself that the base is not customised.

    Args:
        name: Such as ``stabilityai/sdxl-turbo``.

    Raises:
        BaseModelError: If it does.
    """
    own = name.partition("@")[0].rpartition("/")[2]
    for pattern, kind in HUB_NAMES.items():
        if re.search(pattern, own, re.IGNORECASE):
            raise refused_base(f"{kind}, by its name", name)
    if DISTILLED.search(own):
        raise refused_base("a distilled base, by its name", name)


def distilled(denoiser: Mapping[str, Any], scheduler: Mapping[str, Any]) -> str | None:
    """Whether settings are those of a base that was distilled to a few steps.

    Args:
        denoiser: PartSettings of what predicts.
        scheduler: PartSettings of the scheduler.

    Returns:
        What it is; None where nothing tells.
    """
    if denoiser.get("time_cond_proj_dim"):
        return "a distilled base (LCM: its UNet is told the guidance)"
    if scheduler.get("_class_name") in {"LCMScheduler", "TCDScheduler"}:
        return f"a distilled base ({scheduler['_class_name']})"
    is_trailing = scheduler.get("timestep_spacing") == "trailing"
    if is_trailing and scheduler.get("_class_name") == "EulerAncestralDiscreteScheduler":
        return "a distilled base (Turbo, by its scheduler)"
    return None
