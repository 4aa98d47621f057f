"""Pictures in the "8-bit" style: blocks and few colours. Pure functions of pictures.

Used for the demo pictures and to measure, never to train any part of the base.
"""

import numpy as np
from PIL import Image

MAX_COLOURS = 16


def pixelate(picture: Image.Image, num_blocks: int, num_colours: int = MAX_COLOURS) -> Image.Image:
    """The picture in ``num_blocks`` by ``num_blocks`` blocks and at most ``num_colours`` colours.

    Args:
        picture: RGB; its side is a multiple of ``num_blocks``.
        num_blocks: Blocks across, 16 or 32.
        num_colours: Size of the palette.

    Returns:
        A palette picture (mode "P") of the side of ``picture``.
    """
    blocks = picture.convert("RGB").resize((num_blocks, num_blocks), Image.Resampling.BOX)
    paletted = blocks.quantize(
        num_colours, method=Image.Quantize.MEDIANCUT, kmeans=3, dither=Image.Dither.NONE
    )
    return paletted.resize(picture.size, Image.Resampling.NEAREST)


def pixelate_array(pixels: np.ndarray, num_blocks: int) -> np.ndarray:
    """The same for one (side, side, 3) uint8 array."""
    return np.asarray(pixelate(Image.fromarray(pixels), num_blocks).convert("RGB"))
