"""Train the CLIP: ``python -m pocket clip``, then ``python -m pocket vision``.

The first trains both towers. The second holds the text tower, which from then on is the frozen
text encoder of the base, and goes on with the image tower for as long as one likes.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from .augment import blur, draw_outlines, fade_to_gray, move, posterise, shift_colours, to_float, uniform
from .choosing import choose_evenly
from .config import MAX_TOKENS, Size, work_folder
from .device import low_precision, prepare_torch, step_generator, training_device
from .draw import Picture, load_pictures
from .muon import muon
from .pixels import load_pixels
from .subjects import load_subjects, with_article
from .text_cache import cache_texts, whitening
from .tokens import cache_tokens, load_tokenizer, without_padding
from .trainee import Trainee
from .training import Budget, planned_rate, train
from .waiting import wait_for

START_SCALE = 20.0
NUM_CAPTIONS, NUM_STYLED = 4, 2
NOT_MATRICES = ("vision_model.embeddings", "text_model.embeddings", "logit_scale")


def build_clip(size: Size, tokenizer: CLIPTokenizer) -> CLIPModel:
    """An untrained CLIP for that vocabulary."""
    text = {
        "hidden_act": "gelu",
        "vocab_size": len(tokenizer),
        "hidden_size": size.text_width,
        "intermediate_size": 4 * size.text_width,
        "num_hidden_layers": size.text_layers,
        "num_attention_heads": size.text_width // 32,
        "max_position_embeddings": MAX_TOKENS,
        "projection_dim": size.projection_width,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_act": "gelu",
        "hidden_size": size.vision_width,
        "intermediate_size": 4 * size.vision_width,
        "num_hidden_layers": size.vision_layers,
        "num_attention_heads": size.vision_width // 32,
        "image_size": size.picture_px,
        "patch_size": size.vision_patch_px,
        "projection_dim": size.projection_width,
    }
    prepare_torch()
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=size.projection_width))


def clip_folder(size: Size) -> Path:
    """Checkpoints of the training of both towers."""
    return work_folder() / size.name / "clip"


def vision_folder(size: Size) -> Path:
    """Checkpoints of the training of the image tower alone."""
    return work_folder() / size.name / "vision"


def grown_clip_folder(size: Size) -> Path:
    """Checkpoints of the image tower alone where it was trained on, else of both towers."""
    is_grown = (vision_folder(size) / "checkpoint.pt").exists()
    return vision_folder(size) if is_grown else clip_folder(size)


def load_clip_average(size: Size, folder: Path) -> CLIPModel:
    """The moving average of a training, float32."""
    model = build_clip(size, load_tokenizer(size))
    state = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(state["ema"])
    return model.eval()


def train_clip(size: Size, budget: Budget) -> None:
    """Train both towers on pictures and captions."""
    wait_for(size, "tokens")
    device = training_device()
    model = build_clip(size, load_tokenizer(size)).to(device)
    trainee = Trainee(clip_folder(size), model, muon(model, NOT_MATRICES), 0.995)
    pixels, shown, known = load_pixels(size), describe_pictures(load_pictures(size)), cache_tokens(size)
    tokens, rows = without_padding(known["tokens"]).to(device), known["rows"].to(device)

    def make_batch(step: int) -> tuple[Tensor, Tensor, Tensor]:
        generator = step_generator("clip", step)
        chosen, columns = choose_batch(shown, size.clip_batch, generator)
        pictures = augment_batch(to_float(pixels[chosen]), generator)
        return pictures, tokens[rows[chosen, columns]].long(), consistency(shown, chosen, columns)

    def loss(pictures: Tensor, input_ids: Tensor, fits: Tensor) -> Tensor:
        with low_precision(device):
            seen = embed_pictures(model, pictures)
            read = project_texts(model, model.text_model(input_ids=input_ids).pooler_output)
        return contrastive_loss(seen, read, fits, model.logit_scale)

    train(trainee, make_batch, loss, planned_rate(size.clip_learning_rate, 100, budget), budget)


def train_vision(size: Size, budget: Budget) -> None:
    """Go on with the image tower and both projections, against the held text tower."""
    wait_for(size, "clip")
    device = training_device()
    tokenizer = load_tokenizer(size)
    model = load_clip_average(size, clip_folder(size)).to(device)
    model.text_model.requires_grad_(False)
    texts, names = cache_texts(size, model), pool_subject_names(model, tokenizer)
    pooled, rows = texts["pooled"], texts["rows"]
    spread_texts(model, pooled)
    trainee = Trainee(vision_folder(size), model, muon(model, NOT_MATRICES), 0.995)
    pixels, shown = load_pixels(size), describe_pictures(load_pictures(size))

    def make_batch(step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        generator = step_generator("vision", step)
        chosen, columns = choose_batch(shown, size.clip_batch, generator)
        pictures = augment_batch(to_float(pixels[chosen]), generator)
        fits = consistency(shown, chosen, columns)
        return pictures, pooled[rows[chosen, columns]], fits, shown.subject[chosen]

    def loss(pictures: Tensor, states: Tensor, fits: Tensor, wanted: Tensor) -> Tensor:
        with low_precision(device):
            seen = embed_pictures(model, pictures)
        read, named = project_texts(model, states), project_texts(model, names)
        naming = F.cross_entropy(model.logit_scale.clamp(max=4.6).exp() * seen @ named.T, wanted)
        return naming + contrastive_loss(seen, read, fits, model.logit_scale)

    train(trainee, make_batch, loss, planned_rate(2e-3, 50, budget), budget)


@torch.no_grad()
def spread_texts(model: CLIPModel, pooled: Tensor) -> None:
    """Start the text projection from whitened pooled states, at a low temperature."""
    model.text_projection.weight.copy_(whitening(pooled, len(model.text_projection.weight)))
    model.logit_scale.fill_(math.log(START_SCALE))


@dataclass(frozen=True)
class Shown:
    """What each picture shows, in numbers on the device that trains, (N,) each.

    Attributes:
        subject: Number of the subject in the list.
        source: Number of the drawing set.
        scene: Equal where subject, ground, size and place are.
        first: The first picture of the same subject; all of a subject follow each other.
        count: How many there are of the subject.
    """

    subject: Tensor
    source: Tensor
    scene: Tensor
    first: Tensor
    count: Tensor


def describe_pictures(pictures: list[Picture]) -> Shown:
    """Turn what pictures show into numbers."""
    known = {subject.name: number for number, subject in enumerate(load_subjects())}
    subject = torch.tensor([known[p.subject] for p in pictures])
    first = {p.subject: p.index for p in reversed(pictures)}
    parts = (
        subject,
        _numbered([p.source for p in pictures]),
        _numbered([(p.subject, p.background, p.size, p.place) for p in pictures]),
        torch.tensor([first[p.subject] for p in pictures]),
        subject.bincount()[subject],
    )
    return Shown(*(part.to(training_device()) for part in parts))


def _numbered(values: list[Hashable]) -> Tensor:
    number = {value: index for index, value in enumerate(dict.fromkeys(values))}
    return torch.tensor([number[value] for value in values])


def choose_batch(shown: Shown, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rows of pictures, and which caption of each to use.

    Half of the batch are any pictures; each of them is joined by another of the same subject, so
    that style and ground must be read too.
    """
    firsts = choose_evenly(len(shown.subject), num // 2, generator)
    steps = (uniform((num // 2,), 0, 1, generator) * (shown.count[firsts] - 1)).long() + 1
    start = shown.first[firsts]
    seconds = start + (firsts - start + steps) % shown.count[firsts]
    return torch.cat([firsts, seconds]), choose_evenly(NUM_CAPTIONS, num, generator)


def consistency(shown: Shown, chosen: Tensor, columns: Tensor) -> Tensor:
    """Which captions are true of which pictures: (pictures, captions) of 0 and 1.

    Args:
        shown: What all pictures show.
        chosen: Rows of the pictures.
        columns: The caption used of each; numbers 2 and 3 name no style that a picture could have.
    """
    scene, source = shown.scene[chosen], shown.source[chosen]
    is_style_true = (columns >= NUM_STYLED) | (source.unsqueeze(1) == source)
    return ((scene.unsqueeze(1) == scene) & is_style_true).float()


def contrastive_loss(seen: Tensor, read: Tensor, fits: Tensor, logit_scale: Tensor) -> Tensor:
    """CLIP's loss where several captions may be true of a picture.

    Args:
        seen: Features of pictures, unit length, (B, D).
        read: Features of captions, unit length, (B, D).
        fits: Which captions are true of which pictures, (B, B).
        logit_scale: Logarithm of the inverse temperature.
    """
    logits = logit_scale.clamp(max=4.6).exp() * seen @ read.T
    by_row = -(logits.log_softmax(1) * fits / fits.sum(1, keepdim=True)).sum(1).mean()
    by_column = -(logits.log_softmax(0) * fits / fits.sum(0, keepdim=True)).sum(0).mean()
    return (by_row + by_column) / 2


def augment_batch(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures of a batch, moved a little; half of them changed strongly in colour and edges."""
    pictures = shift_colours(move(pictures, 0.15, 0.12, 12, generator), 0.15, generator)
    half = len(pictures) // 2
    strong = shift_colours(draw_outlines(pictures[half:], 0.5, generator), 0.8, generator)
    strong = posterise(fade_to_gray(strong, 0.3, generator), 0.2, generator)
    return blur(torch.cat([pictures[:half], strong]), 0.2, generator)


def embed_pictures(model: CLIPModel, pictures: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] => features of unit length, float32."""
    pooled = model.vision_model(pixel_values=pictures).pooler_output
    return F.normalize(model.visual_projection(pooled).float(), dim=-1)


def embed_texts(model: CLIPModel, tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Texts => features of unit length, float32."""
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(model.device)
    return project_texts(model, model.text_model(input_ids=tokens.input_ids).pooler_output)


def project_texts(model: CLIPModel, pooled: Tensor) -> Tensor:
    """Pooled states => features of unit length."""
    return F.normalize(model.text_projection(pooled).float(), dim=-1)


@torch.no_grad()
def pool_subject_names(model: CLIPModel, tokenizer: CLIPTokenizer) -> Tensor:
    """One pooled state per subject of the list, (subjects, width)."""
    texts = [f"a picture of {with_article(subject.phrase)}" for subject in load_subjects()]
    tokens = tokenizer(texts, padding=True, return_tensors="pt").to(model.device)
    return model.text_model(input_ids=tokens.input_ids).pooler_output
