"""Latents of every picture, computed once by the frozen autoencoder: ``python -m pocket latents``.

Kept in ``WORK/SIZE/latents.safetensors``; read by ``train_layout.py`` and ``train_unet.py``.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor

from .config import Size, work_folder
from .device import training_device
from .pixels import load_pixels
from .train_vae import channel_moments, encode_pictures, fold_latent_scale, load_vae_average, vae_folder
from .waiting import wait_for


def cache_latents(size: Size) -> dict[str, Tensor]:
    """Mean and standard deviation of the latents of every picture, folded scale, float16.

    The scale that was folded is kept beside them, so that the export folds the very same.
    """
    file = work_folder() / size.name / "latents.safetensors"
    if not file.exists():
        wait_for(size, "vae")
        vae = load_vae_average(size, vae_folder(size)).to(
            training_device(), memory_format=torch.channels_last
        )
        pixels = load_pixels(size)
        means, stds = encode_pictures(vae, pixels)
        mean, std = channel_moments(means)
        means, stds = (means - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1), stds / std.view(1, -1, 1, 1)
        whole = {"mean": means.half(), "std": stds.half(), "fold_mean": mean, "fold_std": std}
        unfinished = file.with_suffix(".partial")
        save_file({name: part.cpu().contiguous() for name, part in whole.items()}, unfinished)
        unfinished.rename(file)
    return load_file(file)


def load_folded_vae(size: Size, folder: Path) -> AutoencoderKL:
    """The autoencoder of a training with the latent scale that the UNet knows, float32."""
    vae = load_vae_average(size, folder)
    cached = cache_latents(size)
    fold_latent_scale(vae, cached["fold_mean"], cached["fold_std"])
    return vae
