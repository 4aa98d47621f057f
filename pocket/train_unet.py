"""Train the UNet: ``python -m pocket unet``; goes on where it was stopped.

On a CPU ``torchrun --nproc-per-node 2 -m pocket unet`` with one thread each learns from a third more
pictures a second than one process of two threads: a step of so small a network is not worth dividing.

Latents (mean and standard deviation of the posterior) and text embeddings are computed once and
kept in ``WORK/SIZE/``; the VAE and the text encoder must be done before.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from veneer.processes import is_main_process, num_processes, shard, wait_for_everyone

from .augment import uniform
from .choosing import choose_captions, choose_pictures, picture_chances
from .config import LATENT_CHANNELS, MAX_TOKENS, Size, work_folder
from .device import low_precision, prepare_torch, step_generator, training_device
from .draw import load_pictures
from .latent_cache import cache_latents
from .muon import muon
from .sources import RecipeError
from .stepping import compile_ahead
from .text_cache import cache_texts
from .train_clip import clip_folder
from .train_layout import TEXTS, load_laid_out_clip
from .trainee import Trainee
from .training import Budget, planned_rate, train
from .waiting import wait_for

SNR_GAMMA = 5.0
MAX_WEIGHT = 100.0
NOISE_OFFSET = 0.1
TIMESTEP_SHIFT = 2.5
OUTER_LAYERS = ("conv_in", "conv_out", "time_embedding")


def build_unet(size: Size) -> UNet2DConditionModel:
    """An untrained UNet."""
    depth = len(size.unet_channels)
    prepare_torch()
    return UNet2DConditionModel(
        sample_size=size.latent_side,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D",) * depth,
        up_block_types=("CrossAttnUpBlock2D",) * depth,
        block_out_channels=size.unet_channels,
        layers_per_block=size.unet_layers,
        attention_head_dim=size.unet_heads,
        cross_attention_dim=size.text_width,
        norm_num_groups=16,
    )


def build_scheduler() -> DDPMScheduler:
    """SD's noise schedule; latents are never clipped."""
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        clip_sample=False,
        steps_offset=1,
    )


def unet_folder(size: Size) -> Path:
    """Checkpoints of the UNet."""
    return work_folder() / size.name / "unet"


def load_unet_average(size: Size) -> UNet2DConditionModel:
    """The moving average of the UNet, float32."""
    model = build_unet(size)
    state = torch.load(unet_folder(size) / "checkpoint.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(state["ema"])
    return model.eval()


def train_unet(size: Size, budget: Budget) -> None:
    """Train on cached latents and text embeddings."""
    device = training_device()
    model = build_unet(size).to(device, memory_format=torch.channels_last)
    trainee = Trainee(unet_folder(size), model, muon(model, OUTER_LAYERS), size.ema_decay)

    def loss(*parts: Tensor) -> Tensor:
        return unet_loss(model, UnetBatch(*parts))

    if size.is_compiled:
        compile_ahead(trainee, [model], loss, trial_batch(size, device).shared())
    wait_for(size, "layout")
    latents, texts = load_caches(size, device)
    alphas = build_scheduler().alphas_cumprod.to(device)
    chances = picture_chances(load_pictures(size)).to(device)

    def make_batch(step: int) -> UnetBatch:
        generator = step_generator("unet", step)
        chosen = choose_pictures(chances, size.unet_batch, generator)
        return unet_batch(latents, texts, alphas, chosen, generator).shared()

    train(trainee, make_batch, loss, planned_rate(size.unet_learning_rate, 200, budget), budget)


def load_caches(size: Size, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Latents and text embeddings on a device; of several processes the main one makes what is missing."""
    if not is_main_process():
        wait_for_everyone()
    latents = {name: part.to(device) for name, part in cache_latents(size).items()}
    clip = load_laid_out_clip(size, clip_folder(size)).to(device)
    texts = cache_texts(size, clip, TEXTS)
    if is_main_process():
        wait_for_everyone()
    return latents, texts


class UnetBatch(NamedTuple):
    """What one step learns from.

    Attributes:
        noisy_latents: (B, C, h, w).
        timesteps: (B,).
        encoder_hidden_states: (B, 77, width).
        noise: The target, (B, C, h, w).
        weight: Weight of each sample, (B,).
    """

    noisy_latents: Tensor
    timesteps: Tensor
    encoder_hidden_states: Tensor
    noise: Tensor
    weight: Tensor

    def shared(self) -> "UnetBatch":
        """This process's samples of those that all processes have drawn alike.

        Raises:
            RecipeError: If the processes don't divide the samples: gradients are averaged as equals.
        """
        num = len(self.timesteps)
        if num % num_processes():
            raise RecipeError(f"{num} samples a step cannot be shared by {num_processes()} processes")
        return UnetBatch(*(shard(part) for part in self))


def trial_batch(size: Size, device: torch.device) -> UnetBatch:
    """Of the shapes of a batch, to compile by."""
    num, shape = size.unet_batch, (size.unet_batch, LATENT_CHANNELS, size.latent_side, size.latent_side)
    noise, states = (
        torch.randn(shape, device=device),
        torch.randn(num, MAX_TOKENS, size.text_width, device=device),
    )
    return UnetBatch(noise, torch.arange(num, device=device), states, noise, torch.ones(num, device=device))


def unet_batch(
    latents: dict[str, Tensor],
    texts: dict[str, Tensor],
    alphas: Tensor,
    chosen: Tensor,
    generator: torch.Generator,
) -> UnetBatch:
    """Pictures by their rows with random noise, each with one of its captions; all on one device."""
    num = len(chosen)
    normal = partial(torch.randn, generator=generator, device=generator.device)
    mean, std = latents["mean"][chosen].float(), latents["std"][chosen].float()
    clean = mean + std * normal(mean.shape)
    noise = normal(mean.shape)
    noise = noise + NOISE_OFFSET * normal((num, mean.shape[1], 1, 1))
    timesteps = shifted_timesteps(uniform((num,), 0, 1, generator), len(alphas))
    alpha = alphas[timesteps].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    weight = loss_weight(alpha.flatten() / (1 - alpha.flatten()))
    rows = choose_captions(texts["rows"][chosen], generator)
    return UnetBatch(noisy, timesteps, texts["states"][rows].float(), noise, weight)


def shifted_timesteps(uniform: Tensor, num: int) -> Tensor:
    """More of the noisy timesteps, where the caption decides what is drawn.

    Args:
        uniform: Numbers in [0, 1).
        num: Number of timesteps.

    Source: Esser et al. 2024, "Scaling Rectified Flow Transformers", section 5.3.2.
    """
    return (num * TIMESTEP_SHIFT * uniform / (1 + (TIMESTEP_SHIFT - 1) * uniform)).long().clamp(max=num - 1)


def loss_weight(snr: Tensor) -> Tensor:
    """Weight of the squared error of the noise: that of v-prediction, with min-SNR's cap.

    At high noise the error of the noise is tiny whatever picture is drawn, so unweighted training hardly
    learns there which picture a caption asks for; weighted so, the error is nearly the picture's own.

    Args:
        snr: Signal-to-noise ratios, shape (B,), > 0.

    Source: Salimans & Ho 2022, "Progressive Distillation", section 4; Hang et al. 2023, section 3.4.
    """
    return (snr.clamp(max=SNR_GAMMA) / snr * (1 + 1 / snr)).clamp(max=MAX_WEIGHT)


def unet_loss(model: nn.Module, batch: UnetBatch) -> Tensor:
    """Squared error of the predicted noise, weighted per sample."""
    noisy = batch.noisy_latents.contiguous(memory_format=torch.channels_last)
    with low_precision(noisy.device):
        model_pred = model(noisy, batch.timesteps, batch.encoder_hidden_states).sample
    error = (model_pred.float() - batch.noise).square().mean((1, 2, 3))
    return (error * batch.weight).mean()
