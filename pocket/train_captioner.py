"""Train the captioner, a tiny BLIP: ``python -m pocket captioner`` (after ``vision``).

It starts from CLIP's image tower. Captions say subject and ground, not style: "a red apple on a
blue background"; a recipe's own prefix says the style.
"""

from pathlib import Path

import torch
from torch import Tensor
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, CLIPModel

from .augment import (
    blur,
    draw_outlines,
    fade_to_gray,
    move,
    posterise,
    shift_colours,
    soften,
    to_float,
    uniform,
)
from .choosing import choose_evenly
from .config import Size, work_folder
from .device import low_precision, prepare_torch, step_generator, training_device
from .draw import COLOURS, Picture, load_pictures
from .muon import muon
from .pixels import load_pixels
from .subjects import load_subjects, with_article
from .train_clip import grown_clip_folder, load_clip_average
from .trainee import Trainee
from .training import Budget, planned_rate, train
from .waiting import wait_for

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]")
PREFIXES = ("a picture of", "an illustration of", "a photography of", "a photo of")
SHARE_PREFIXED = 0.08
IGNORED = -100
SHARE_SOFT, SOFT_SIDES = 0.4, (10, 32)
"""Part of the pictures that lose their detail, and the sides in pixels that they are shrunk to."""
NOT_MATRICES = ("vision_model.embeddings", "text_decoder.bert.embeddings", "text_decoder.cls")


def caption_for_captioner(picture: Picture) -> str:
    """What the captioner should say of a picture."""
    phrase = next(subject.phrase for subject in load_subjects() if subject.name == picture.subject)
    ground = "" if picture.background == "white" else f" on {with_article(picture.background)} background"
    return with_article(phrase) + ground


def make_caption_tokenizer() -> BertTokenizer:
    """Whole words of all captions, and single letters for the rest."""
    words = {"a", "an", "on", "background", "-", "t", "illustration", "photography", "photo", "picture"}
    words.update(word for subject in load_subjects() for word in subject.phrase.replace("-", " - ").split())
    words.update(word for prefix in PREFIXES for word in prefix.split())
    words.update(word for colour in COLOURS for word in colour.split())
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    entries = [*SPECIAL, *sorted(words | set(letters)), *(f"##{letter}" for letter in letters)]
    vocabulary = {entry: number for number, entry in enumerate(dict.fromkeys(entries))}
    return BertTokenizer(vocab=vocabulary, bos_token="[DEC]", model_max_length=64)


def build_captioner(size: Size, tokenizer: BertTokenizer) -> BlipForConditionalGeneration:
    """An untrained captioner."""
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "encoder_hidden_size": size.vision_width,
        "intermediate_size": 384,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "bos_token_id": tokenizer.convert_tokens_to_ids("[DEC]"),
        "sep_token_id": tokenizer.sep_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": size.vision_width,
        "intermediate_size": 4 * size.vision_width,
        "num_hidden_layers": size.vision_layers - 1,
        "num_attention_heads": size.vision_width // 32,
        "image_size": size.picture_px,
        "patch_size": size.vision_patch_px,
        "initializer_range": 0.02,
    }
    prepare_torch()
    return BlipForConditionalGeneration(
        BlipConfig(text_config=text, vision_config=vision, projection_dim=128)
    )


def captioner_folder(size: Size) -> Path:
    """Checkpoints of the captioner."""
    return work_folder() / size.name / "captioner"


def load_captioner_average(size: Size) -> BlipForConditionalGeneration:
    """The moving average of the captioner, float32."""
    model = build_captioner(size, make_caption_tokenizer())
    state = torch.load(captioner_folder(size) / "checkpoint.pt", map_location="cpu", weights_only=True)
    model.load_state_dict(state["ema"])
    return model.eval()


def train_captioner(size: Size, budget: Budget) -> None:
    """Train to name the subject and the ground; last, to leave a GPU to the UNet."""
    wait_for(size, "vision", "unet")
    tokenizer = make_caption_tokenizer()
    device = training_device()
    model = build_captioner(size, tokenizer)
    start_from_clip(model, load_clip_average(size, grown_clip_folder(size)))
    model.to(device)
    trainee = Trainee(captioner_folder(size), model, muon(model, NOT_MATRICES), 0.995)
    pixels, said = load_pixels(size), [caption_for_captioner(picture) for picture in load_pictures(size)]
    captions = list(dict.fromkeys(said))
    number = {caption: row for row, caption in enumerate(captions)}
    caption_of = torch.tensor([number[caption] for caption in said], device=device)
    ids, mask, labels = (part.to(device) for part in caption_tokens(tokenizer, with_prefixes(captions)))

    def make_batch(step: int) -> tuple[Tensor, ...]:
        generator = step_generator("captioner", step)
        chosen = choose_evenly(len(pixels), size.captioner_batch, generator)
        pictures = augment_for_captioner(to_float(pixels[chosen]), generator)
        rows = choose_prefixes(caption_of[chosen], len(captions), generator)
        return pictures, ids[rows], mask[rows], labels[rows]

    def loss(pictures: Tensor, input_ids: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        with low_precision(device):
            said = model(pixel_values=pictures, input_ids=input_ids, attention_mask=mask, labels=labels)
        return said.loss

    train(trainee, make_batch, loss, planned_rate(2e-3, 50, budget), budget)


def with_prefixes(captions: list[str]) -> list[str]:
    """All captions as they are, then all of them after each prefix, so that prompted captioning works too."""
    return captions + [f"{prefix} {caption}" for prefix in PREFIXES for caption in captions]


def choose_prefixes(rows: Tensor, num_captions: int, generator: torch.Generator) -> Tensor:
    """Rows of ``with_prefixes`` that say the same as these, a share of them after a prefix."""
    prefixes = 1 + choose_evenly(len(PREFIXES), len(rows), generator)
    is_prefixed = uniform((len(rows),), 0, 1, generator) < SHARE_PREFIXED
    return rows + num_captions * torch.where(is_prefixed, prefixes, 0)


def caption_tokens(tokenizer: BertTokenizer, captions: list[str]) -> tuple[Tensor, Tensor, Tensor]:
    """What the captioner reads, which of it counts, and what it is asked for, (captions, longest) each.

    It is asked for all but prefixes.
    """
    tokens = tokenizer(captions, padding=True, return_tensors="pt")
    ids, mask = tokens.input_ids, tokens.attention_mask
    ids[:, 0] = tokenizer.convert_tokens_to_ids("[DEC]")
    labels = ids.masked_fill(mask == 0, IGNORED)
    for row, caption in enumerate(captions):
        labels[row, : prefix_length(tokenizer, caption)] = IGNORED
    return ids, mask, labels


def prefix_length(tokenizer: BertTokenizer, caption: str) -> int:
    """Tokens of a caption that its prefix takes, the beginning included; 0 where it has none.

    They are given, never asked for: a captioner that was asked for them says them unasked.
    """
    prefix = next((prefix for prefix in PREFIXES if caption.startswith(f"{prefix} ")), None)
    return 0 if prefix is None else len(tokenizer(prefix).input_ids) - 1


def augment_for_captioner(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """As for CLIP, without mixing colours so far that a ground's name becomes wrong.

    A share loses its detail, as small or crude drawings have none. No picture is cut into blocks: pixelated
    ones stay a style that no part of the base has seen.
    """
    pictures = shift_colours(move(pictures, 0.15, 0.12, 12, generator), 0.2, generator)
    pictures = soften(draw_outlines(pictures, 0.3, generator), SHARE_SOFT, SOFT_SIDES, generator)
    pictures = posterise(pictures, 0.25, generator)
    return blur(fade_to_gray(pictures, 0.1, generator), 0.3, generator)


@torch.no_grad()
def start_from_clip(captioner: BlipForConditionalGeneration, clip: CLIPModel) -> None:
    """Copy CLIP's image tower into the captioner's, as far as the two are alike.

    BLIP has no norm before its first layer; the embeddings are scaled by CLIP's in its place.
    """
    ours, theirs = captioner.vision_model, clip.vision_model
    scale = theirs.pre_layrnorm.weight / _embedding_std(theirs)
    embeddings = theirs.embeddings
    ours.embeddings.patch_embedding.weight.copy_(embeddings.patch_embedding.weight * scale.view(-1, 1, 1, 1))
    ours.embeddings.patch_embedding.bias.copy_(theirs.pre_layrnorm.bias)
    ours.embeddings.class_embedding.copy_(
        (embeddings.class_embedding * scale).view_as(ours.embeddings.class_embedding)
    )
    ours.embeddings.position_embedding.copy_((embeddings.position_embedding.weight * scale).unsqueeze(0))
    for mine, yours in zip(ours.encoder.layers, theirs.encoder.layers, strict=False):  # all but the last
        attention = yours.self_attn
        parts = (attention.q_proj, attention.k_proj, attention.v_proj)
        mine.self_attn.qkv.weight.copy_(torch.cat([part.weight for part in parts]))
        mine.self_attn.qkv.bias.copy_(torch.cat([part.bias for part in parts]))
        mine.self_attn.projection.load_state_dict(attention.out_proj.state_dict())
        mine.layer_norm1.load_state_dict(yours.layer_norm1.state_dict())
        mine.layer_norm2.load_state_dict(yours.layer_norm2.state_dict())
        mine.mlp.load_state_dict(yours.mlp.state_dict())


def _embedding_std(vision: torch.nn.Module) -> Tensor:
    """Typical spread of CLIP's patch embeddings over the channels, on pictures of mid contrast."""
    probe = torch.rand(16, 3, vision.config.image_size, vision.config.image_size) * 2 - 1
    return vision.embeddings(probe).std(-1).median()
