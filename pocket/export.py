"""Write the base as it ships: ``python -m pocket export``.

Float16 safetensors in diffusers' layout, and ``checksums.json`` over every file.
"""

import hashlib
import json
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from transformers import BlipImageProcessorPil, BlipProcessor, CLIPImageProcessorPil, CLIPModel, CLIPTextModel

from .adopt import write_trained
from .config import Size, shipped_folder
from .latent_cache import load_folded_vae
from .tokens import load_tokenizer
from .train_captioner import captioner_folder, load_captioner_average, make_caption_tokenizer
from .train_clip import clip_folder, grown_clip_folder
from .train_layout import load_laid_out_clip
from .train_unet import build_scheduler, load_unet_average
from .train_vae import decoder_folder, vae_folder
from .waiting import wait_for

WEIGHTS = ("tokenizer", "text_encoder", "unet", "vae", "scheduler", "clip", "captioner")
CHECKSUMS = "checksums.json"
MAX_MEGABYTES = 66


def export_base(size: Size, target: Path | None = None) -> None:
    """Write the averages of every training that has been run, to ``shipped_folder`` unless told otherwise."""
    wait_for(size, "decoder", "captioner")
    target = target or shipped_folder()
    target.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    export_pipeline(size, partial)
    export_clip(size, partial / "clip")
    if (captioner_folder(size) / "checkpoint.pt").exists():
        export_captioner(size, partial / "captioner")
    for part in ("text_encoder", "clip", "captioner"):
        load_in_float32(partial / part / "config.json")
    for made in partial.iterdir():
        _replace(made, target / made.name)
    partial.rmdir()
    write_checksums(target)
    write_trained(size, target)


def export_pipeline(size: Size, folder: Path) -> None:
    """The parts that ``StableDiffusionPipeline.from_pretrained`` loads."""
    vae_from = decoder_folder(size) if (decoder_folder(size) / "checkpoint.pt").exists() else vae_folder(size)
    clip = load_laid_out_clip(size, clip_folder(size))
    text_encoder = CLIPTextModel(clip.config.text_config)
    text_encoder.load_state_dict(clip.text_model.state_dict(), strict=False)
    pipeline = StableDiffusionPipeline(
        vae=load_folded_vae(size, vae_from),
        text_encoder=text_encoder,
        tokenizer=load_tokenizer(size),
        unet=load_unet_average(size),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(folder)


def export_clip(size: Size, folder: Path) -> None:
    """Both towers, with tokenizer and image processor."""
    clip = load_laid_out_clip(size, grown_clip_folder(size))
    CLIPModel.save_pretrained(clip.half(), folder)
    load_tokenizer(size).save_pretrained(folder)
    side = size.picture_px
    CLIPImageProcessorPil(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    ).save_pretrained(folder)


def export_captioner(size: Size, folder: Path) -> None:
    """The captioner and its processor."""
    load_captioner_average(size).half().save_pretrained(folder)
    side = size.picture_px
    pictures = BlipImageProcessorPil(
        size={"height": side, "width": side}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    BlipProcessor(pictures, make_caption_tokenizer()).save_pretrained(folder)


def load_in_float32(config: Path) -> None:
    """Let transformers load float16 weights in float32 unless asked otherwise, as diffusers does."""
    if config.exists():
        config.write_text(config.read_text().replace('"dtype": "float16"', '"dtype": "float32"'))


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of every file of the weights."""
    files = [folder / "model_index.json"]
    files += [file for part in WEIGHTS for file in sorted((folder / part).rglob("*")) if file.is_file()]
    sums = {file.relative_to(folder).as_posix(): file_sha256(file) for file in files}
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=1) + "\n")


def file_sha256(file: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _replace(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)
