"""From a decoded picture to what the VAE reads: resized, cut, values in [-1, 1]; and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from veneer.encoding.buckets import Crop
from veneer.errors import DatasetError
from veneer.records.names import MASK


def open_mask(path: Path) -> Image.Image:
    """Read a mask.

    Returns:
        The mask, grey.

    Raises:
        DatasetError: If it cannot be read.
    """
    try:
        with Image.open(path) as opened:
            return opened.convert("L")
    except (OSError, ValueError, TypeError, SyntaxError) as error:
        raise DatasetError(f"the mask cannot be read: {error}", where=str(path), todo="Replace it") from error


def mask_path(picture: Path) -> Path:
    """The mask that belongs to a picture.

    Args:
        picture: Such as ``images/000001.png``.

    Returns:
        Such as ``images/000001.mask.png``; it need not exist.
    """
    return picture.with_name(picture.stem + MASK)


def pixel_values(picture: Image.Image, crop: Crop, bucket: tuple[int, int], *, mirrored: bool) -> Tensor:
    """Resize, cut and scale a picture for the VAE.

    Args:
        picture: RGB.
        crop: How it is resized and cut.
        bucket: Width and height that come out, in pixels.
        mirrored: Whether left and right change places.

    Returns:
        Shape (3, height, width), float32, in [-1, 1].
    """
    values = np.asarray(_cut(picture, crop, bucket, mirrored=mirrored), dtype=np.float32)
    return torch.from_numpy(values / 127.5 - 1.0).permute(2, 0, 1).contiguous()


def mask_values(
    mask: Image.Image, crop: Crop, bucket: tuple[int, int], factor: int, *, mirrored: bool
) -> Tensor:
    """Resize, cut and scale a mask to the latents' size.

    Args:
        mask: Grey, white where the loss counts in full.
        crop: The crop of its picture.
        bucket: Width and height of the picture's bucket, in pixels.
        factor: Pixels for each latent pixel.
        mirrored: Whether left and right change places.

    Returns:
        Shape (1, h, w), float32, in [0, 1].
    """
    size = bucket[0] // factor, bucket[1] // factor
    cut = _cut(mask, crop, bucket, mirrored=mirrored).resize(size, Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(cut, dtype=np.float32) / 255.0)[None]


def _cut(picture: Image.Image, crop: Crop, bucket: tuple[int, int], *, mirrored: bool) -> Image.Image:
    if picture.size != (crop.width, crop.height):
        picture = picture.resize((crop.width, crop.height), Image.Resampling.LANCZOS)
    picture = picture.crop((crop.left, crop.top, crop.left + bucket[0], crop.top + bucket[1]))
    return ImageOps.mirror(picture) if mirrored else picture
