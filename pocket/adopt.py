"""Go on from the shipped weights where no checkpoint is left: ``python -m pocket adopt``.

Checkpoints hold optimizer states and stay on the machine that made them; the weights travel with
the package. A training that has no checkpoint begins at the shipped averages, with the steps and
seconds that ``trained.json`` beside the weights tells and with a fresh optimizer.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import BlipForConditionalGeneration, CLIPModel, CLIPTokenizer

from .config import SHIPPED, Size
from .tokenizer import tokenizer_folder
from .train_captioner import captioner_folder
from .train_clip import clip_folder, vision_folder
from .train_layout import layout_folder
from .train_unet import unet_folder
from .train_vae import decoder_folder, vae_folder
from .trainee import Trainee

TRAINED = "trained.json"


def stage_folders(size: Size) -> dict[str, Path]:
    """Where each training keeps its checkpoint, by the name of its command."""
    return {
        "clip": clip_folder(size),
        "vision": vision_folder(size),
        "vae": vae_folder(size),
        "decoder": decoder_folder(size),
        "layout": layout_folder(size),
        "unet": unet_folder(size),
        "captioner": captioner_folder(size),
    }


def adopt_shipped(size: Size, shipped: Path = SHIPPED) -> None:
    """Write a checkpoint for every training that has none and can go on.

    The layout is not one of them: what read the latents is not shipped, and the text tower that is knows it.

    The autoencoder is adopted with its latents already scaled; folding the scale once more is then
    nearly no change. Its two trainings begin at the same weights, as do the two of CLIP.
    """
    spent = json.loads((shipped / TRAINED).read_text())
    tokenizer = tokenizer_folder(size)
    if not (tokenizer / "tokenizer_config.json").exists():
        CLIPTokenizer.from_pretrained(shipped / "tokenizer").save_pretrained(tokenizer)
    for stage, folder in stage_folders(size).items():
        if not (folder / "checkpoint.pt").exists() and stage in spent and stage in _LOADERS:
            _write_start(folder, _LOADERS[stage](shipped), spent[stage])


def _write_start(folder: Path, model: nn.Module, spent: dict[str, float]) -> None:
    trainee = Trainee(folder, model.float(), None, 0.0)
    trainee.step, trainee.seconds = int(spent["steps"]), float(spent["seconds"])
    trainee.save()


def write_trained(size: Size, target: Path) -> None:
    """Tell beside the weights how long each of them trained; what was not trained on here stays as told."""
    file = target / TRAINED
    spent = json.loads(file.read_text()) if file.exists() else {}
    for stage, folder in stage_folders(size).items():
        if (folder / "checkpoint.pt").exists():
            state = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
            spent[stage] = {"steps": state["step"], "seconds": round(state["seconds"])}
    file.write_text(json.dumps(spent, indent=1) + "\n")


def _clip(shipped: Path) -> nn.Module:
    return CLIPModel.from_pretrained(shipped / "clip")


def _vae(shipped: Path) -> nn.Module:
    return AutoencoderKL.from_pretrained(shipped / "vae")


def _unet(shipped: Path) -> nn.Module:
    return UNet2DConditionModel.from_pretrained(shipped / "unet")


def _captioner(shipped: Path) -> nn.Module:
    return BlipForConditionalGeneration.from_pretrained(shipped / "captioner")


_LOADERS: dict[str, Callable[[Path], nn.Module]] = {
    "clip": _clip,
    "vision": _clip,
    "vae": _vae,
    "decoder": _vae,
    "unet": _unet,
    "captioner": _captioner,
}
