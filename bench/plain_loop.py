"""The report's procedure, written straight with diffusers, peft and accelerate, its faults left in.

    python -m bench.plain_loop --base FOLDER --data DATASET --out FILE.safetensors [--steps N] [--cached]

This is the baseline of the style bench (`bench.bench_style`), not a part of Veneer. It does what the report
describes and what the widely copied reference script does: VAE and text encoder run in every step, a square
crop and a mirror drawn from the global generator, no held-out pictures, the last step is the result. Three
faults are kept on purpose, because a reader who follows the report gets them:

1. The trainable weights are a one-shot iterator that the optimizer uses up, so clipping sees none.
2. With mixed precision the adapter itself is cast, and most updates are rounded away.
3. The file has no alpha: a reader takes the rank for it.

With ``--cached`` latents and embeddings are made once, before the first step, as tools for training do: the
second baseline of `bench.bench_speed`.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import set_seed
from datasets import load_dataset
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from transformers import AutoTokenizer, CLIPTextModel

RANK = ALPHA = 4
TARGETS = ["to_k", "to_q", "to_v", "to_out.0"]
WEIGHT_DECAY = 1e-2
MAX_GRAD_NORM = 1.0

Encode = Callable[[torch.Tensor, list[str]], tuple[torch.Tensor, torch.Tensor]]
"""Pixel values (B, 3, H, W) and captions to scaled latents (B, 4, h, w) and states (B, L, D)."""


@dataclass(frozen=True)
class Settings:
    """What one training is asked for.

    Attributes:
        data: Image folder with metadata.csv.
        out: The LoRA file.
        learning_rate: Peak learning rate; the report's is 1e-4.
        batch_size: Pictures a step; the report's is 2.
        resolution: Side of the pictures, in pixels.
        mixed_precision: "no", "fp16" or "bf16".
        seed: Seed of the global generators.
        cached: Whether latents and embeddings are made once, before the first step.
        gradient_checkpointing: Whether activations are computed again in the backward pass.
    """

    base: Path
    data: Path
    out: Path
    steps: int = 10_000
    learning_rate: float = 1e-4
    batch_size: int = 2
    resolution: int = 512
    mixed_precision: str = "no"
    seed: int = 0
    cached: bool = False
    gradient_checkpointing: bool = False


def train_plainly(settings: Settings, on_step: Callable[[int], None] = lambda step: None) -> None:
    """Train and write the LoRA file.

    Args:
        on_step: Called after every step with its number, from 1.
    """
    accelerator = Accelerator(mixed_precision=settings.mixed_precision)
    set_seed(settings.seed)
    dtype = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[settings.mixed_precision]
    noise_scheduler = DDPMScheduler.from_pretrained(settings.base, subfolder="scheduler")
    # Nothing here keeps the encoder: with cached latents it must go.
    batches = encoded_batches(settings, load_encoder(settings.base, accelerator.device, dtype))
    unet = UNet2DConditionModel.from_pretrained(settings.base, subfolder="unet")
    unet.requires_grad_(False).to(accelerator.device, dtype)
    if settings.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, init_lora_weights="gaussian", target_modules=TARGETS)
    unet.add_adapter(lora)
    if settings.mixed_precision == "bf16":
        unet.to(dtype)  # fault 2
    layers = filter(lambda weight: weight.requires_grad, unet.parameters())  # fault 1
    optimizer = torch.optim.AdamW(layers, lr=settings.learning_rate, weight_decay=WEIGHT_DECAY)
    schedule = get_scheduler("cosine", optimizer, num_warmup_steps=0, num_training_steps=settings.steps)
    unet, optimizer, schedule = accelerator.prepare(unet, optimizer, schedule)
    unet.train()
    for step in range(1, settings.steps + 1):
        loss = step_loss(unet, noise_scheduler, *next(batches))
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(layers, MAX_GRAD_NORM)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        on_step(step)
    save(accelerator.unwrap_model(unet).float(), settings.out)


def load_encoder(base: Path, device: torch.device, dtype: torch.dtype) -> Encode:
    """Load what turns pictures and captions into the UNet's inputs.

    Args:
        device: Where it runs.
        dtype: Its precision.

    Returns:
        A function of pixel values and captions.
    """
    tokenizer = AutoTokenizer.from_pretrained(base, subfolder="tokenizer")
    vae = AutoencoderKL.from_pretrained(base, subfolder="vae").requires_grad_(False).to(device, dtype)
    text_encoder = CLIPTextModel.from_pretrained(base, subfolder="text_encoder")
    text_encoder.requires_grad_(False).to(device, dtype)

    def encode(pixel_values: torch.Tensor, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        latents = vae.encode(pixel_values.to(device, dtype)).latent_dist.sample()
        states = text_encoder(tokenize(tokenizer, captions).to(device))[0]
        return latents * vae.config.scaling_factor, states

    return encode


def encoded_batches(settings: Settings, encode: Encode) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The UNet's inputs without end: encoded at every step, or once for each picture.

    Args:
        encode: Turns pictures and captions into latents and states.

    Yields:
        Latents (B, 4, h, w), scaled, and states (B, L, D).
    """
    if not settings.cached:
        yield from (encode(*batch) for batch in endless_batches(settings))
    pictures = read_pictures(settings)
    stored = [encode(transform(picture, settings.resolution)[None], [text]) for picture, text in pictures]
    del encode  # and with it VAE and text encoder
    while True:
        for chosen in shuffled(len(stored), settings.batch_size):
            latents, states = zip(*(stored[i] for i in chosen), strict=True)
            yield torch.cat(latents), torch.cat(states)


def tokenize(tokenizer: Any, captions: list[str]) -> torch.Tensor:
    """Turn captions into token numbers of one length.

    Args:
        captions: B captions.

    Returns:
        Shape (B, 77).
    """
    length = tokenizer.model_max_length
    tokens = tokenizer(
        captions, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    return tokens.input_ids


def step_loss(unet: Any, scheduler: Any, latents: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Mean squared error of the predicted noise at random timesteps.

    Args:
        unet: The UNet with its adapter.
        scheduler: The noise schedule.
        latents: Latents, shape (B, 4, h, w), scaled.
        states: Text encoder's states, shape (B, L, D).

    Returns:
        The loss, a scalar.
    """
    noise = torch.randn_like(latents)
    timesteps = torch.randint(0, scheduler.config.num_train_timesteps, (len(latents),), device=latents.device)
    predicted = unet(scheduler.add_noise(latents, noise, timesteps), timesteps, states, return_dict=False)[0]
    target = noise
    if scheduler.config.prediction_type == "v_prediction":
        target = scheduler.get_velocity(latents, noise, timesteps)
    return F.mse_loss(predicted.float(), target.float())


def endless_batches(settings: Settings) -> Iterator[tuple[torch.Tensor, list[str]]]:
    """Shuffled epochs without end.

    Yields:
        Pixel values (B, 3, H, W) in [-1, 1], and captions.
    """
    pictures = read_pictures(settings)
    while True:
        for numbers in shuffled(len(pictures), settings.batch_size):
            chosen = [pictures[i] for i in numbers]
            yield torch.stack([transform(p, settings.resolution) for p, _ in chosen]), [c for _, c in chosen]


def read_pictures(settings: Settings) -> list[tuple[Image.Image, str]]:
    """Read the data set.

    Returns:
        RGB pictures with their captions.
    """
    data = load_dataset("imagefolder", data_dir=str(settings.data), split="train")
    return [(row["image"].convert("RGB"), row["caption"]) for row in data]


def shuffled(count: int, size: int) -> Iterator[list[int]]:
    """One epoch in random order.

    Args:
        count: Pictures.
        size: Pictures of a batch; the last may have fewer.

    Yields:
        Numbers of the pictures of each batch.
    """
    order = torch.randperm(count).tolist()
    yield from (order[start : start + size] for start in range(0, count, size))


def transform(picture: Image.Image, side: int) -> torch.Tensor:
    """Resize the short side, crop the middle, mirror every other time.

    Args:
        picture: RGB.
        side: Side of the result, in pixels.

    Returns:
        Pixel values, shape (3, side, side), in [-1, 1].
    """
    scale = side / min(picture.size)
    width, height = (max(side, round(n * scale)) for n in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - side) // 2, (height - side) // 2
    picture = picture.crop((left, top, left + side, top + side))
    if random.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return torch.from_numpy(np.asarray(picture, np.float32) / 127.5 - 1).permute(2, 0, 1)


def save(unet: Any, out: Path) -> None:
    """Write the adapter as the report's tools do (fault 3: without alpha).

    Args:
        out: The file.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionPipeline.save_lora_weights(str(out.parent), unet_lora_layers=layers, weight_name=out.name)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("base", "data", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--lr", dest="learning_rate", type=float, default=1e-4)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--mixed-precision", choices=("no", "fp16", "bf16"), default="no")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cached", action="store_true")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    train_plainly(Settings(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
