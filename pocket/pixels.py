"""The training pictures where they are trained on."""

import numpy as np
import torch
from torch import Tensor

from .config import Size
from .device import training_device
from .draw import pictures_file


def load_pixels(size: Size) -> Tensor:
    """All pictures of a preset, (N, side, side, 3) uint8, on the device that trains (2 GB at 128 px)."""
    return torch.from_numpy(np.load(pictures_file(size))).to(training_device())
