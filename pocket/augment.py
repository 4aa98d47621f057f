"""Changes of pictures while training: pure functions of tensors and a generator, both on one device.

None of them makes blocks of pixels: pixelated pictures stay unseen, as a style to be learnt later.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def to_float(pictures: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 => (B, 3, H, W) float32 in [-1, 1]."""
    return pictures.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    """Uniform random numbers in [low, high)."""
    return torch.rand(shape, generator=generator, device=generator.device) * (high - low) + low


def random_share(pictures: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """1 for a share of the pictures, 0 for the others, (B, 1, 1, 1)."""
    return (uniform((len(pictures), 1, 1, 1), 0, 1, generator) < share).float()


def shift_colours(pictures: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Mix the channels by a random matrix near identity, and change brightness and contrast.

    Args:
        pictures: (B, 3, H, W) in [-1, 1].
        strength: 0 changes nothing; 1 is strong.
    """
    num = len(pictures)
    noise = torch.randn(num, 3, 3, generator=generator, device=generator.device)
    mix = torch.eye(3, device=generator.device) + strength * 0.5 * noise
    mix = mix / mix.sum(dim=2, keepdim=True).clamp_min(0.3)
    contrast = 1 + strength * uniform((num, 1, 1, 1), -0.4, 0.2, generator)
    brightness = strength * uniform((num, 1, 1, 1), -0.25, 0.25, generator)
    mixed = torch.einsum("nij,njhw->nihw", mix, pictures)
    return (mixed * contrast + brightness).clamp(-1, 1)


def move(pictures: Tensor, zoom: float, shift: float, degrees: float, generator: torch.Generator) -> Tensor:
    """Zoom, shift, turn and mirror at random; edges repeat.

    Args:
        pictures: (B, 3, H, W).
        zoom: Factor of zoom at most, either way, as a share.
        shift: Shift at most, as a share of half the side.
        degrees: Turn at most.
    """
    num = len(pictures)
    angle = uniform((num,), -degrees, degrees, generator) * torch.pi / 180
    scale = 1 + uniform((num,), -zoom, zoom, generator)
    mirror = torch.randint(0, 2, (num,), generator=generator, device=generator.device) * 2.0 - 1.0
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    offset = uniform((num, 2), -shift, shift, generator)
    theta = torch.stack(
        [
            torch.stack([cosine * mirror, -sine, offset[:, 0]], 1),
            torch.stack([sine * mirror, cosine, offset[:, 1]], 1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)


def fade_to_gray(pictures: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Take the colour out of a share of the pictures."""
    chosen = random_share(pictures, share, generator)
    return pictures + chosen * (pictures.mean(1, keepdim=True) - pictures)


def draw_outlines(pictures: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Darken the edges of a share of the pictures, as if drawn with a pen."""
    gray = pictures.mean(1, keepdim=True)
    high, low = F.max_pool2d(gray, 3, 1, 1), -F.max_pool2d(-gray, 3, 1, 1)
    ink = ((high - low) * 1.6 - 0.3).clamp(0, 1)
    chosen = random_share(pictures, share, generator)
    return pictures + chosen * ink * (-0.95 - pictures)


def blur(pictures: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Blur a share of the pictures."""
    chosen = random_share(pictures, share, generator)
    soft = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return pictures + chosen * (soft - pictures)


def soften(pictures: Tensor, share: float, sides: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Take the detail out of a share of the pictures: shrunk to a few pixels and smoothly enlarged again.

    What is left are slopes, never blocks.

    Args:
        pictures: (B, 3, H, W).
        share: Part of the pictures that is changed.
        sides: Lowest and highest side to shrink to, in pixels; one is drawn for all of them.
    """
    side = int(torch.randint(sides[0], sides[1] + 1, (), generator=generator, device=generator.device))
    chosen = random_share(pictures, share, generator)
    small = F.adaptive_avg_pool2d(pictures, side)
    soft = F.interpolate(small, pictures.shape[-2:], mode="bilinear", align_corners=False)
    return pictures + chosen * (soft - pictures)


def posterise(pictures: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Round the colours of a share of the pictures to a few levels."""
    chosen = random_share(pictures, share, generator)
    shape, device = (len(pictures), 1, 1, 1), generator.device
    num_levels = torch.randint(2, 6, shape, generator=generator, device=device).float()
    rounded = torch.round((pictures + 1) / 2 * num_levels) / num_levels * 2 - 1
    return pictures + chosen * (rounded - pictures)


def draw_shapes(num: int, side_px: int, generator: torch.Generator, num_shapes: int = 10) -> Tensor:
    """Pictures of random ellipses, boxes and stripes in random colours.

    Returns:
        (num, 3, side, side) in [-1, 1].
    """
    axis = torch.linspace(-1, 1, side_px, device=generator.device)
    y, x = axis.view(1, -1, 1), axis.view(1, 1, -1)
    canvas = uniform((num, 3, 1, 1), -1, 1, generator).expand(-1, -1, side_px, side_px).clone()
    for _ in range(num_shapes):
        angle = uniform((num, 1, 1), 0, 3.1416, generator)
        centre = uniform((num, 2, 1, 1), -1, 1, generator)
        radius = uniform((num, 2, 1, 1), 0.03, 0.6, generator)
        u = (torch.cos(angle) * (x - centre[:, 0]) + torch.sin(angle) * (y - centre[:, 1])) / radius[:, 0]
        v = (torch.cos(angle) * (y - centre[:, 1]) - torch.sin(angle) * (x - centre[:, 0])) / radius[:, 1]
        is_box = uniform((num, 1, 1), 0, 1, generator) < 0.5
        distance = torch.where(is_box, torch.maximum(u.abs(), v.abs()), (u * u + v * v).sqrt())
        soft = ((1 - distance) * radius.amin(1) * side_px / 2 + 0.5).clamp(0, 1).unsqueeze(1)
        canvas = canvas + soft * (uniform((num, 3, 1, 1), -1, 1, generator) - canvas)
    return canvas
