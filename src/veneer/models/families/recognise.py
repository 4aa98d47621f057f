"""Which family a base is of: those of `FAMILIES` are customised, others refused by their name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from veneer.errors import BaseModelError
from veneer.models.families.family import Family
from veneer.models.families.flux2 import FLUX2_KLEIN
from veneer.models.families.sd import SD1, SD2
from veneer.models.families.sdxl import SDXL
from veneer.models.families.strangers import DISTILLED, PIPELINES, TENSORS, distilled, refused_base
from veneer.models.families.zimage import Z_IMAGE
from veneer.models.modelfiles import open_safetensors, read_json

FAMILIES: tuple[Family, ...] = (Z_IMAGE, FLUX2_KLEIN, SDXL, SD2, SD1)
"""Every family that is customised, the newest first."""
FAMILY_MARK = "veneer_family"
"""Attribute of a loaded network: the name of the family that it was loaded for."""
FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
GUIDED_TIME = "time_embed.cond_proj.weight"
"""Tensor of bases that are told the guidance, as LCM's are."""


def family_named(name: str) -> Family | None:
    """The family of a name, as files have it; None for none."""
    return next((family for family in FAMILIES if family.name == name), None)


def family_of_network(module: Any) -> Family:
    """The family that a network was loaded for; of one that was not loaded, one that has its class.

    Families share classes of VAEs that they use differently, so that a loaded one is marked.
    """
    marked = family_named(getattr(module, FAMILY_MARK, ""))
    return marked or next(one for one in FAMILIES if isinstance(module, tuple(one.networks.values())))


def family_of_folder(folder: Path) -> Family:
    """Family of a model in Hugging Face layout; no weights are looked at.

    Raises:
        BaseModelError: If it is of none that is customised, or no model at all.
    """
    name = _pipeline_name(folder)
    if name not in {known for family in FAMILIES for known in family.pipelines}:
        raise refused_base(PIPELINES.get(name, name), str(folder))
    part = next(family.denoiser for family in FAMILIES if name in family.pipelines)
    denoiser = read_json(folder / part / "config.json")
    if part == "unet" and denoiser.get("in_channels", 4) != 4:
        raise refused_base(_by_channels(int(denoiser["in_channels"])), str(folder))
    family = next((family for family in FAMILIES if family.is_folder(name, denoiser)), None)
    if family is None:
        raise refused_base(f"a {name or 'folder'} whose {part} is of another one", str(folder))
    settings = {"pipeline": _settings(folder / "model_index.json"), part: denoiser}
    scheduler = _settings(folder / "scheduler" / "scheduler_config.json")
    if kind := family.checked_folder(settings) or distilled(denoiser, scheduler):
        raise refused_base(kind, str(folder))
    _refuse_without_text(folder, family)
    return family


def family_of_checkpoint(path: Path) -> Family:
    """Family of a single-file checkpoint, told by its tensors' names.

    Args:
        path: The `.safetensors` file; only its header is read.

    Raises:
        BaseModelError: If it is of none that is customised, incomplete or damaged.
    """
    with open_safetensors(path) as file:
        names = list(file.keys())
        family = _by_names(names, path)
        if family.single_file is None:
            raise BaseModelError(
                f"a {family.label} checkpoint does not say what it predicts (noise or velocity)",
                where=str(path),
                todo="Take the same model in Hugging Face layout, whose scheduler_config.json says it",
            )
        if FIRST_LAYER not in names:
            raise BaseModelError(
                "the checkpoint has no UNet", where=str(path), todo="Take the whole model's file"
            )
        if (channels := file.get_slice(FIRST_LAYER).get_shape()[1]) != 4:
            raise refused_base(_by_channels(channels), str(path))
    return family


def objective_of_checkpoint(path: Path, family: Family) -> dict[str, Any]:
    """What a single file says of its objective: keys of a scheduler's settings.

    Args:
        path: The file; only its header is read.
    """
    with open_safetensors(path) as file:
        return family.objective_of(list(file.keys()), file.metadata() or {})


def _pipeline_name(folder: Path) -> str:
    if not (folder / "model_index.json").is_file():
        if (folder / "transformer" / "config.json").is_file():
            return str(read_json(folder / "transformer" / "config.json").get("_class_name", "a transformer"))
        return ""
    return str(read_json(folder / "model_index.json").get("_class_name", ""))


def _settings(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _refuse_without_text(folder: Path, family: Family) -> None:
    for part in family.text_encoders:
        if not (folder / part / "config.json").is_file():
            what = f"a {family.label} without its text encoder ({part} is missing)"
            raise refused_base(what, str(folder))


def _by_names(names: Sequence[str], path: Path) -> Family:
    for mark, kind in TENSORS:
        if any(mark in name for name in names):
            raise refused_base(kind, str(path))
    if any(name.endswith(GUIDED_TIME) for name in names) or DISTILLED.search(path.stem):
        raise refused_base("a distilled base", str(path))
    family = next((one for one in FAMILIES if one.is_checkpoint(names)), None)
    if family is not None:
        return family
    if any(
        name.startswith(("model.diffusion_model.", "input_blocks.", "diffusion_model.")) for name in names
    ):
        raise refused_base("a checkpoint without its text encoder", str(path))
    raise refused_base("unknown", str(path))


def _by_channels(channels: int) -> str:
    match channels:
        case 9:
            return "Stable Diffusion inpainting (a UNet with 9 input channels)"
        case 8:
            return "InstructPix2Pix"
        case _:
            return f"a UNet with {channels} input channels"
