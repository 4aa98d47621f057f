"""Train the UNet: ``python -m pocket unet``; goes on where it was stopped.

Latents (mean and standard deviation of the posterior) and text embeddings are computed once and
kept in ``WORK/SIZE/``; the VAE and the text encoder must be done before.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .config import LATENT_CHANNELS, Size, work_folder
from .draw import Picture, load_pictures
from .muon import muon
from .text_cache import cache_texts
from .train_clip import clip_folder, load_clip_average, load_tokenizer
from .train_vae import channel_moments, encode_pictures, fold_latent_scale, load_vae_average, vae_folder
from .training import (
    Budget,
    Trainee,
    low_precision,
    planned_rate,
    prepare_torch,
    step_generator,
    train,
    training_device,
)

SHARE_EMPTY = 0.1
SHARE_UNSTYLED = 0.2
SHARE_STRANGE = 0.2
SHARE_PLAIN = 0.6
SNR_GAMMA = 5.0
MAX_WEIGHT = 100.0
NOISE_OFFSET = 0.1
OUTER_LAYERS = ("conv_in", "conv_out", "time_embedding")


def build_unet(size: Size) -> UNet2DConditionModel:
    """An untrained UNet."""
    depth = len(size.unet_channels)
    prepare_torch()
    return UNet2DConditionModel(
        sample_size=size.latent_side,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * (depth - 1),
        up_block_types=("CrossAttnUpBlock2D",) * (depth - 1) + ("UpBlock2D",),
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
    latents, texts = cache_latents(size), load_texts(size)
    device = training_device()
    model = build_unet(size).to(device, memory_format=torch.channels_last)
    trainee = Trainee(unet_folder(size), model, muon(model, OUTER_LAYERS), size.ema_decay)
    alphas = build_scheduler().alphas_cumprod
    forward = torch.compile(model) if size.is_compiled else model
    chances = picture_chances(load_pictures(size)[1])

    def step_loss(step: int) -> Tensor:
        generator = step_generator("unet", step)
        chosen = torch.multinomial(chances, size.unet_batch, replacement=True, generator=generator)
        batch = unet_batch(latents, texts, alphas, chosen, generator)
        return unet_loss(forward, batch.on(device))

    train(trainee, step_loss, planned_rate(size.unet_learning_rate, 200, budget), budget, size.unet_batch)


@dataclass(frozen=True)
class UnetBatch:
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

    def on(self, device: torch.device) -> "UnetBatch":
        """The same on a device."""
        return UnetBatch(*(part.to(device) for part in vars(self).values()))


def picture_chances(pictures: list[Picture]) -> Tensor:
    """How often each picture is trained on, summing to 1: plain ones most, as prompts ask for them most."""
    is_plain = torch.tensor([p.background == "white" and not p.size for p in pictures])
    plain, varied = is_plain.float(), (~is_plain).float()
    return SHARE_PLAIN * plain / plain.sum() + (1 - SHARE_PLAIN) * varied / varied.sum()


def unet_batch(
    latents: dict[str, Tensor],
    texts: dict[str, Tensor],
    alphas: Tensor,
    chosen: Tensor,
    generator: torch.Generator,
) -> UnetBatch:
    """Pictures by their rows with random noise, each with one of its captions."""
    num = len(chosen)
    mean, std = latents["mean"][chosen].float(), latents["std"][chosen].float()
    clean = mean + std * torch.randn(mean.shape, generator=generator)
    noise = torch.randn(mean.shape, generator=generator)
    noise = noise + NOISE_OFFSET * torch.randn(num, mean.shape[1], 1, 1, generator=generator)
    timesteps = torch.randint(0, len(alphas), (num,), generator=generator)
    alpha = alphas[timesteps].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    weight = loss_weight(alpha.flatten() / (1 - alpha.flatten()))
    rows = choose_captions(texts["rows"][chosen], generator)
    return UnetBatch(noisy, timesteps, texts["states"][rows].float(), noise, weight)


def loss_weight(snr: Tensor) -> Tensor:
    """Weight of the squared error of the noise: that of v-prediction, with min-SNR's cap.

    At high noise the error of the noise is tiny whatever picture is drawn, so unweighted training hardly
    learns there which picture a caption asks for; weighted so, the error is nearly the picture's own.

    Args:
        snr: Signal-to-noise ratios, shape (B,), > 0.

    Source: Salimans & Ho 2022, "Progressive Distillation", section 4; Hang et al. 2023, section 3.4.
    """
    return (snr.clamp(max=SNR_GAMMA) / snr * (1 + 1 / snr)).clamp(max=MAX_WEIGHT)


def choose_captions(rows: Tensor, generator: torch.Generator) -> Tensor:
    """One caption's row for each picture: styled, unstyled, strangely styled or empty (row 0).

    Args:
        rows: Rows of two styled captions, one unstyled and one with strange words, (B, 4).
        generator: Source of randomness.
    """
    chance = torch.rand(len(rows), generator=generator)
    styled = (chance * 1e4).long() % 2
    rest = torch.where(chance < SHARE_UNSTYLED + SHARE_STRANGE, 3, styled)
    column = torch.where(chance < SHARE_UNSTYLED, 2, rest)
    chosen = rows.gather(1, column.unsqueeze(1)).squeeze(1)
    is_empty = torch.rand(len(rows), generator=generator) < SHARE_EMPTY
    return torch.where(is_empty, 0, chosen)


def unet_loss(model: nn.Module, batch: UnetBatch) -> Tensor:
    """Squared error of the predicted noise, weighted per sample."""
    noisy = batch.noisy_latents.contiguous(memory_format=torch.channels_last)
    with low_precision(noisy.device):
        model_pred = model(noisy, batch.timesteps, batch.encoder_hidden_states).sample
    error = (model_pred.float() - batch.noise).square().mean((1, 2, 3))
    return (error * batch.weight).mean()


def cache_latents(size: Size) -> dict[str, Tensor]:
    """Mean and standard deviation of the latents of every picture, folded scale, float16.

    The scale that was folded is kept beside them, so that the export folds the very same.
    """
    file = work_folder() / size.name / "latents.safetensors"
    if not file.exists():
        vae = load_vae_average(size, vae_folder(size)).to(training_device())
        pixels = torch.from_numpy(load_pictures(size)[0])
        means, stds = encode_pictures(vae, pixels)
        mean, std = channel_moments(means)
        means, stds = (means - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1), stds / std.view(1, -1, 1, 1)
        whole = {"mean": means.half(), "std": stds.half(), "fold_mean": mean, "fold_std": std}
        save_file({name: part.contiguous() for name, part in whole.items()}, file)
    return load_file(file)


def load_texts(size: Size) -> dict[str, Tensor]:
    """The text embeddings of the frozen text tower."""
    clip = load_clip_average(size, clip_folder(size)).to(training_device())
    return cache_texts(size, clip, load_tokenizer(size))


def load_folded_vae(size: Size, folder: Path) -> AutoencoderKL:
    """The autoencoder of a training with the latent scale that the UNet knows, float32."""
    vae = load_vae_average(size, folder)
    cached = cache_latents(size)
    fold_latent_scale(vae, cached["fold_mean"], cached["fold_std"])
    return vae
