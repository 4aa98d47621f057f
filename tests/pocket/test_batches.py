"""Batches made of rows on the device that trains: what each holds is what the pictures' own lines say."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPTokenizer

from pocket.choosing import choose_pictures, picture_chances
from pocket.config import SHIPPED
from pocket.draw import Picture, describe
from pocket.sources import TRAINED
from pocket.subjects import load_subjects
from pocket.tokens import caption_rows, different_captions, tokens_of, without_padding
from pocket.train_captioner import (
    IGNORED,
    PREFIXES,
    SHARE_PREFIXED,
    caption_tokens,
    choose_prefixes,
    make_caption_tokenizer,
    prefix_length,
    with_prefixes,
)
from pocket.train_clip import build_clip, choose_batch, consistency, describe_pictures
from pocket.train_vae import build_vae, vae_loss

NUM_VARIANTS = 6


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """Three subjects in two sets, six variants each, and one subject of a single picture."""
    subjects = load_subjects()
    shown = [(a, b, v) for a in subjects[:3] for b in TRAINED[:2] for v in range(NUM_VARIANTS)]
    shown.append((subjects[9], TRAINED[0], 0))
    return [describe(index, *one) for index, one in enumerate(shown)]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_captions_fit_the_pictures_that_they_are_true_of(pictures: list[Picture]) -> None:
    chosen, columns = torch.arange(len(pictures)), torch.arange(len(pictures)) % 4
    fits = consistency(describe_pictures(pictures), chosen, columns)
    expected = [
        [
            float(is_true_of(seen, described, column))
            for described, column in zip(pictures, columns, strict=True)
        ]
        for seen in pictures
    ]
    assert torch.equal(fits, torch.tensor(expected))
    assert len(pictures) < fits.sum() < fits.numel() / 2


def is_true_of(seen: Picture, described: Picture, column: int) -> bool:
    alike = ("subject", "background", "size", "place") + (("source",) if column < 2 else ())
    return all(getattr(seen, name) == getattr(described, name) for name in alike)


def test_each_picture_is_joined_by_another_of_its_subject(pictures: list[Picture]) -> None:
    seconds = set()
    for seed in range(30):
        chosen, columns = choose_batch(describe_pictures(pictures), 16, generator(seed))
        assert len(chosen) == len(columns) == 16 and set(columns.tolist()) <= {0, 1, 2, 3}
        for first, second in zip(chosen[:8].tolist(), chosen[8:].tolist(), strict=True):
            assert pictures[first].subject == pictures[second].subject
            assert first != second or first == len(pictures) - 1  # alone of its subject
            seconds.add(second)
    assert seconds == set(range(len(pictures)))


def test_rows_of_tokens_are_the_captions(pictures: list[Picture]) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(SHIPPED / "tokenizer")
    captions = different_captions(pictures)
    tokens, rows = tokens_of(tokenizer, captions), caption_rows(pictures, captions)
    short = without_padding(tokens)
    assert captions[0] == "" and short.shape[1] < 77 == tokens.shape[1]
    for picture in pictures[::5]:
        for column, caption in enumerate(picture.captions):
            asked = tokenizer(caption).input_ids
            assert short[rows[picture.index, column], : len(asked)].tolist() == asked
            assert tokens[rows[picture.index, column]].eq(tokenizer.pad_token_id).sum() == 78 - len(asked)


def test_clip_reads_the_same_without_the_padding(pictures: list[Picture]) -> None:
    from helpers.pocketsets import TINY

    tokenizer = CLIPTokenizer.from_pretrained(SHIPPED / "tokenizer")
    clip = build_clip(TINY, tokenizer).eval()
    tokens = tokens_of(tokenizer, different_captions(pictures)[:9]).long()
    whole, short = (clip.text_model(input_ids=x).pooler_output for x in (tokens, without_padding(tokens)))
    torch.testing.assert_close(short, whole)


def test_captioner_is_asked_for_what_a_tokenizer_makes_of_each_caption() -> None:
    tokenizer = make_caption_tokenizer()
    captions = ["a red apple", "a cat on a light blue background"]
    ids, mask, labels = caption_tokens(tokenizer, with_prefixes(captions))
    assert len(ids) == len(captions) * (1 + len(PREFIXES))
    for number, prefix in enumerate(("", *PREFIXES)):
        row = 1 + len(captions) * number
        said = tokenizer(f"{prefix} {captions[1]}".strip()).input_ids
        assert ids[row][mask[row] == 1].tolist() == [tokenizer.convert_tokens_to_ids("[DEC]"), *said[1:]]
        is_prefix = torch.arange(len(ids[row])) < prefix_length(tokenizer, f"{prefix} {captions[1]}")
        assert torch.equal(labels[row] == IGNORED, (mask[row] == 0) | is_prefix)


def test_prefixes_come_as_often_as_told() -> None:
    captions = ["a red apple", "a cat", "a hat"]
    asked = torch.arange(30_000) % len(captions)
    rows = choose_prefixes(asked, len(captions), generator(0))
    texts = with_prefixes(captions)
    for before, row in zip(asked[:300].tolist(), rows[:300].tolist(), strict=True):
        assert texts[row].endswith(captions[before])
    shares = torch.bincount(rows // len(captions), minlength=len(PREFIXES) + 1) / len(rows)
    assert shares[0].item() == pytest.approx(1 - SHARE_PREFIXED, abs=0.01)
    assert (shares[1:] - SHARE_PREFIXED / len(PREFIXES)).abs().max() < 0.005


def test_plain_pictures_are_chosen_most(pictures: list[Picture]) -> None:
    chosen = choose_pictures(picture_chances(pictures), 20_000, generator(0))
    plain = torch.tensor([p.background == "white" and not p.size for p in pictures])
    assert plain[chosen].float().mean().item() == pytest.approx(0.6, abs=0.02)


def test_a_held_encoder_takes_no_gradient() -> None:
    from helpers.pocketsets import TINY

    vae = build_vae(TINY)
    for part in (vae.encoder, vae.quant_conv):
        part.requires_grad_(False)
    shown = torch.rand(2, 3, 32, 32, generator=generator(0)) * 2 - 1
    vae_loss(vae, shown, torch.randn(2, 4, 8, 8, generator=generator(1))).backward()
    assert all(p.grad is None for p in vae.encoder.parameters())
    assert all(p.grad is not None for p in vae.decoder.parameters())
