"""Teach the text tower where things are: ``python -m pocket layout``, after the VAE and before the UNet.

A small UNet is slow to lay out a whole picture by words alone: after half a million samples it was further
from the clean latents at the noisiest steps than the mean picture of the subject is. So sixteen of the
places that a caption leaves empty learn to hold the latents that it asks for, patch by patch, which takes
minutes; the UNet has to learn only to fetch each patch. The states of the words stay what they were, so
CLIP reads as before, and nothing changes for whoever loads the base.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPModel

from .choosing import choose_captions, choose_pictures, picture_chances
from .config import LATENT_CHANNELS, Size, work_folder
from .device import low_precision, step_generator, training_device
from .draw import load_pictures
from .latent_cache import cache_latents
from .muon import muon
from .text_cache import cache_texts, forget_texts
from .tokens import cache_tokens
from .train_clip import clip_folder, load_clip_average
from .trainee import Trainee
from .training import Budget, planned_rate, train
from .waiting import wait_for

OUTER_LAYERS = ("text_model.embeddings", "to_patch")
FIRST_PLACE, PATCHES_ACROSS = 32, 4
LAST_PLACE = FIRST_PLACE + PATCHES_ACROSS**2
"""Captions are shorter than ``FIRST_PLACE`` tokens; a longer prompt writes over the layout."""
TEXTS = "texts-layout"
"""Name of the cache of the states that the UNet reads."""


class LayoutTower(nn.Module):
    """A text tower, and what reads the latents from its states.

    Args:
        size: The preset.
    """

    def __init__(self, text_model: nn.Module, size: Size) -> None:
        super().__init__()
        self.text_model = text_model
        self.to_patch = nn.Linear(
            size.text_width, LATENT_CHANNELS * (size.latent_side // PATCHES_ACROSS) ** 2
        )
        nn.init.zeros_(self.to_patch.weight)
        nn.init.zeros_(self.to_patch.bias)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Read captions.

        Args:
            tokens: (B, ``LAST_PLACE``); the tower is causal, so places behind them change nothing.

        Returns:
            States before the layout, (B, ``FIRST_PLACE``, width), and the patches, (B, 16, values).
        """
        states = self.text_model(input_ids=tokens).last_hidden_state
        return states[:, :FIRST_PLACE], self.to_patch(states[:, FIRST_PLACE:])


def patches_of(latents: Tensor) -> Tensor:
    """Cut latents into 4 x 4 patches, row by row: (B, C, h, w) => (B, 16, C * h/4 * w/4)."""
    side = latents.shape[-1] // PATCHES_ACROSS
    return F.unfold(latents, side, stride=side).transpose(1, 2)


def layout_folder(size: Size) -> Path:
    """Checkpoints of this training."""
    return work_folder() / size.name / "layout"


def load_laid_out_clip(size: Size, folder: Path) -> CLIPModel:
    """The CLIP of a training with the text tower that knows the layout, where one was trained; float32."""
    clip = load_clip_average(size, folder)
    file = layout_folder(size) / "checkpoint.pt"
    if file.exists():
        tower = LayoutTower(clip.text_model, size)
        tower.load_state_dict(torch.load(file, map_location="cpu", weights_only=True)["ema"])
    return clip.eval()


def train_layout(size: Size, budget: Budget) -> None:
    """Train on captions and cached latents."""
    forget_texts(size, TEXTS)  # what another layout wrote is not what the UNet is to read
    wait_for(size, "clip", "latents")
    device = training_device()
    clip = load_clip_average(size, clip_folder(size)).to(device)
    latents, known = cache_latents(size)["mean"].to(device), cache_tokens(size)
    tokens, rows = known["tokens"][:, :LAST_PLACE].to(device), known["rows"].to(device)
    before = cache_texts(size, clip)["states"][:, :FIRST_PLACE].contiguous()
    tower = LayoutTower(clip.text_model, size).to(device)
    trainee = Trainee(layout_folder(size), tower, muon(tower, OUTER_LAYERS), 0.99)
    chances = picture_chances(load_pictures(size)).to(device)

    def make_batch(step: int) -> tuple[Tensor, Tensor, Tensor]:
        generator = step_generator("layout", step)
        chosen = choose_pictures(chances, size.layout_batch, generator)
        captions = choose_captions(rows[chosen], generator)
        return tokens[captions].long(), before[captions], patches_of(latents[chosen].float())

    def loss(input_ids: Tensor, held: Tensor, wanted: Tensor) -> Tensor:
        with low_precision(device):
            states, patches = tower(input_ids)
        return F.mse_loss(states.float(), held.float()) + F.mse_loss(patches.float(), wanted)

    train(trainee, make_batch, loss, planned_rate(3e-3, 50, budget), budget)
