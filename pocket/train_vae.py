"""Train the autoencoder: ``python -m pocket vae``, then ``python -m pocket decoder``.

The first trains both halves. The second holds the encoder, so that latents stay what the UNet
was trained on, and sharpens the decoder for as long as one likes.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from .augment import draw_shapes, fade_to_gray, move, shift_colours, to_float, uniform
from .choosing import choose_evenly
from .config import LATENT_CHANNELS, Size, work_folder
from .device import low_precision, prepare_torch, step_generator, training_device
from .muon import muon
from .pixels import load_pixels
from .stepping import compile_ahead
from .trainee import Trainee
from .training import Budget, planned_rate, train
from .waiting import wait_for

KL_WEIGHT = 3e-4
EDGE_WEIGHT = 0.5
SHARE_SHAPES = 0.25
OUTER_LAYERS = ("encoder.conv_in", "decoder.conv_out")


def build_vae(size: Size) -> AutoencoderKL:
    """An untrained autoencoder; its latents need no scaling once folded."""
    depth = len(size.vae_channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
        block_out_channels=size.vae_channels,
        layers_per_block=size.vae_layers,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=16,
        sample_size=size.picture_px,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


def train_vae(size: Size, budget: Budget) -> None:
    """Train encoder and decoder together."""
    model = build_vae_seeded(size).to(training_device(), memory_format=torch.channels_last)
    trainee = Trainee(vae_folder(size), model, muon(model, OUTER_LAYERS), 0.998)
    rate = planned_rate(size.vae_learning_rate, 100, budget)
    _train(trainee, size, budget, rate, waits_for="draw")


def train_decoder(size: Size, budget: Budget) -> None:
    """Go on with the decoder alone, from the first training's average; last, to leave a GPU to the UNet."""
    wait_for(size, "vae")
    model = load_vae_average(size, vae_folder(size))
    model.to(training_device(), memory_format=torch.channels_last)
    for part in (model.encoder, model.quant_conv):
        part.requires_grad_(False)
    trainee = Trainee(decoder_folder(size), model, muon(model, OUTER_LAYERS), 0.995)
    rate = planned_rate(size.decoder_learning_rate, 100, budget)
    _train(trainee, size, budget, rate, waits_for="unet")


def build_vae_seeded(size: Size) -> AutoencoderKL:
    """An untrained autoencoder, the same each time."""
    prepare_torch()
    return build_vae(size)


def vae_folder(size: Size) -> Path:
    """Checkpoints of the first training."""
    return work_folder() / size.name / "vae"


def decoder_folder(size: Size) -> Path:
    """Checkpoints of the decoder's training."""
    return work_folder() / size.name / "decoder"


def load_vae_average(size: Size, folder: Path) -> AutoencoderKL:
    """The moving average of a training, float32, latents not yet folded."""
    model = build_vae_seeded(size)
    state = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(state["ema"])
    return model.eval()


def _train(
    trainee: Trainee, size: Size, budget: Budget, rate: Callable[[int, float], float], waits_for: str
) -> None:
    name, model = trainee.folder.name, trainee.model

    def loss(pictures: Tensor, noise: Tensor) -> Tensor:
        with low_precision(pictures.device):
            return vae_loss(model, pictures, noise)

    if size.is_compiled:
        generator = step_generator(name, 0)
        shapes = draw_shapes(size.vae_batch, size.picture_px, generator)
        trial = (shapes.contiguous(memory_format=torch.channels_last), latent_noise(size, generator))
        compile_ahead(trainee, [model.encoder, model.decoder], loss, trial)
    wait_for(size, waits_for)
    pixels = load_pixels(size)

    def make_batch(step: int) -> tuple[Tensor, Tensor]:
        generator = step_generator(name, step)
        pictures = vae_batch(pixels, size, generator).contiguous(memory_format=torch.channels_last)
        return pictures, latent_noise(size, generator)

    train(trainee, make_batch, loss, rate, budget)


def latent_noise(size: Size, generator: torch.Generator) -> Tensor:
    """Noise of the shape of a batch's latents, (B, C, h, w)."""
    shape = (size.vae_batch, LATENT_CHANNELS, size.latent_side, size.latent_side)
    return torch.randn(shape, generator=generator, device=generator.device)


def vae_batch(pixels: Tensor, size: Size, generator: torch.Generator) -> Tensor:
    """Pictures of drawings and of random shapes, (B, 3, H, W) in [-1, 1]."""
    num_shapes = max(1, round(size.vae_batch * SHARE_SHAPES))
    chosen = choose_evenly(len(pixels), size.vae_batch - num_shapes, generator)
    pictures = torch.cat([to_float(pixels[chosen]), draw_shapes(num_shapes, size.picture_px, generator)])
    is_moved = uniform((), 0, 1, generator) < 0.5
    if is_moved:
        pictures = move(pictures, zoom=0.3, shift=0.2, degrees=15, generator=generator)
        pictures = fade_to_gray(shift_colours(pictures, 0.7, generator), 0.1, generator)
    return pictures


def vae_loss(model: AutoencoderKL, pictures: Tensor, noise: Tensor) -> Tensor:
    """L1, L2 and edges of the reconstruction, and a little KL divergence unless the encoder is held."""
    is_encoder_held = not model.quant_conv.weight.requires_grad
    with torch.set_grad_enabled(not is_encoder_held):
        posterior = model.encode(pictures).latent_dist
        latents = posterior.mean + posterior.std * noise
    rebuilt = model.decode(latents).sample.float()
    loss = (
        F.l1_loss(rebuilt, pictures)
        + 2 * F.mse_loss(rebuilt, pictures)
        + EDGE_WEIGHT * edge_loss(rebuilt, pictures)
    )
    return loss if is_encoder_held else loss + KL_WEIGHT * posterior.kl().mean() / latents[0].numel()


def edge_loss(ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean absolute difference of the steps between neighbouring pixels."""
    across = F.l1_loss(ours.diff(dim=3), theirs.diff(dim=3))
    return across + F.l1_loss(ours.diff(dim=2), theirs.diff(dim=2))


@torch.no_grad()
def encode_pictures(vae: AutoencoderKL, pixels: Tensor, batch: int = 64) -> tuple[Tensor, Tensor]:
    """(N, H, W, 3) uint8 => mean and standard deviation of the posteriors, (N, C, h, w); on one device."""
    device = pixels.device
    means, stds = [], []
    for part in pixels.split(batch):
        with low_precision(device):
            posterior = vae.encode(to_float(part)).latent_dist
        means.append(posterior.mean.float())
        stds.append(posterior.std.float())
    return torch.cat(means), torch.cat(stds)


@torch.no_grad()
def fold_latent_scale(vae: AutoencoderKL, mean: Tensor, std: Tensor) -> None:
    """Make latents have mean 0 and standard deviation 1 per channel, by the two outer convolutions.

    Pictures decoded from encoded ones stay the same; only the latents between change.

    Args:
        vae: Changed in place.
        mean: Mean of each latent channel, shape (C,).
        std: Standard deviation of each latent channel, shape (C,).
    """
    num = len(mean)
    into, out = vae.quant_conv, vae.post_quant_conv
    into.weight[:num] /= std.view(-1, 1, 1, 1)
    into.bias[:num] = (into.bias[:num] - mean) / std
    into.bias[num:] -= 2 * std.log()
    out.bias += (out.weight.squeeze(-1).squeeze(-1) @ mean.view(-1, 1)).squeeze(1)
    out.weight *= std.view(1, -1, 1, 1)


def channel_moments(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of latents (N, C, h, w)."""
    return latents.mean((0, 2, 3)), latents.std((0, 2, 3))


def psnr(ours: Tensor, theirs: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each picture; both (B, 3, H, W) in [-1, 1]."""
    return 10 * torch.log10(4 / (ours - theirs).square().mean((1, 2, 3)).clamp_min(1e-8))
