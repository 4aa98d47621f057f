"""Train the CLIP: ``python -m pocket clip``, then ``python -m pocket vision``.

The first trains both towers. The second holds the text tower, which from then on is the frozen
text encoder of the base, and goes on with the image tower for as long as one likes.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from .augment import blur, draw_outlines, fade_to_gray, move, posterise, shift_colours, to_float
from .config import MAX_TOKENS, Size, work_folder
from .draw import Picture, load_pictures
from .muon import muon
from .subjects import load_subjects, with_article
from .text_cache import cache_texts, whitening
from .tokenizer import tokenizer_folder
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


def load_tokenizer(size: Size) -> CLIPTokenizer:
    """The tokenizer of a preset."""
    return CLIPTokenizer.from_pretrained(tokenizer_folder(size))


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
    tokenizer = load_tokenizer(size)
    model = build_clip(size, tokenizer).to(training_device())
    trainee = Trainee(clip_folder(size), model, muon(model, NOT_MATRICES), 0.995)
    pixels, pictures = load_pictures(size)
    data = torch.from_numpy(pixels)

    def step_loss(step: int) -> Tensor:
        generator = step_generator("clip", step)
        batch, columns = choose_batch(pictures, size.clip_batch, generator)
        captions = [p.captions[column] for p, column in zip(batch, columns, strict=False)]
        with low_precision(training_device()):
            seen = embed_pictures(model, augment_batch(data, batch, generator).to(training_device()))
            read = embed_texts(model, tokenizer, captions)
        fits = consistency(batch, columns).to(seen.device)
        return contrastive_loss(seen, read, fits, model.logit_scale)

    train(trainee, step_loss, planned_rate(1e-3, 100, budget), budget, size.clip_batch)


def train_vision(size: Size, budget: Budget) -> None:
    """Go on with the image tower and both projections, against the held text tower."""
    device = training_device()
    tokenizer = load_tokenizer(size)
    model = load_clip_average(size, clip_folder(size)).to(device)
    model.text_model.requires_grad_(False)
    texts = cache_texts(size, model, tokenizer)
    pooled, rows, names = texts["pooled"].to(device), texts["rows"], pool_subject_names(model, tokenizer)
    spread_texts(model, pooled)
    trainee = Trainee(vision_folder(size), model, muon(model, NOT_MATRICES), 0.995)
    pixels, pictures = load_pictures(size)
    data = torch.from_numpy(pixels)
    numbers = {subject.name: number for number, subject in enumerate(load_subjects())}

    def step_loss(step: int) -> Tensor:
        generator = step_generator("vision", step)
        batch, columns = choose_batch(pictures, size.clip_batch, generator)
        with low_precision(device):
            seen = embed_pictures(model, augment_batch(data, batch, generator).to(device))
        read = project_texts(model, pooled[rows[[picture.index for picture in batch], columns]])
        named = project_texts(model, names)
        wanted = torch.tensor([numbers[picture.subject] for picture in batch], device=device)
        naming = F.cross_entropy(model.logit_scale.clamp(max=4.6).exp() * seen @ named.T, wanted)
        return naming + contrastive_loss(
            seen, read, consistency(batch, columns).to(device), model.logit_scale
        )

    train(trainee, step_loss, planned_rate(2e-3, 50, budget), budget, size.clip_batch)


@torch.no_grad()
def spread_texts(model: CLIPModel, pooled: Tensor) -> None:
    """Start the text projection from whitened pooled states, at a low temperature."""
    model.text_projection.weight.copy_(whitening(pooled, len(model.text_projection.weight)))
    model.logit_scale.fill_(math.log(START_SCALE))


def choose_batch(
    pictures: list[Picture], num: int, generator: torch.Generator
) -> tuple[list[Picture], list[int]]:
    """Pictures in pairs of near subjects in the list, and which caption of each to use.

    Half of the batch are any pictures; each of them is joined by another of the same subject, so
    that style and ground must be read too.
    """
    firsts = torch.randint(0, len(pictures), (num // 2,), generator=generator).tolist()
    steps = torch.randint(1, 24, (num // 2,), generator=generator).tolist()
    seconds = [_same_subject(pictures, first, step) for first, step in zip(firsts, steps, strict=False)]
    columns = torch.randint(0, NUM_CAPTIONS, (num,), generator=generator).tolist()
    return [pictures[index] for index in firsts + seconds], columns


def _same_subject(pictures: list[Picture], index: int, step: int) -> int:
    """Another picture of the subject, or the one before where the list of the subject ends."""
    for candidate in (index + step, index - step):
        if 0 <= candidate < len(pictures) and pictures[candidate].subject == pictures[index].subject:
            return candidate
    return index


def consistency(batch: list[Picture], columns: list[int]) -> Tensor:
    """Which captions are true of which pictures: (pictures, captions) of 0 and 1.

    Args:
        batch: The pictures.
        columns: The caption used of each; numbers 2 and 3 name no style that a picture could have.
    """
    rows = [
        [float(_is_true_of(one, other, column)) for other, column in zip(batch, columns, strict=False)]
        for one in batch
    ]
    return torch.tensor(rows)


def _is_true_of(seen: Picture, described: Picture, column: int) -> bool:
    if (seen.subject, seen.background) != (described.subject, described.background):
        return False
    if (seen.size, seen.place) != (described.size, described.place):
        return False
    return column >= NUM_STYLED or seen.source == described.source


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


def augment_batch(data: Tensor, batch: list[Picture], generator: torch.Generator) -> Tensor:
    """Pictures of a batch, moved a little; half of them changed strongly in colour and edges."""
    pictures = to_float(data[[picture.index for picture in batch]])
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
