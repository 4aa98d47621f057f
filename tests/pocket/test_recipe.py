"""The recipe of the bundled base: names, captions, drawing, resuming, folding."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import CLIPTokenizer

from pocket import sources, subjects, train_layout, training
from pocket.choosing import choose_captions
from pocket.config import CPU, SHIPPED
from pocket.draw import COLOURS, choose_scene
from pocket.judge import STYLES, Judge
from pocket.pixelate import pixelate_array
from pocket.sources import SOURCES, TRAINED, normalised, source_named
from pocket.subjects import (
    Scene,
    load_subjects,
    noun_phrase,
    strange_style,
    with_article,
    with_role,
    write_caption,
)
from pocket.tokenizer import learn_tokenizer
from pocket.train_captioner import make_caption_tokenizer
from pocket.train_clip import build_clip
from pocket.train_layout import FIRST_PLACE, LAST_PLACE, LayoutTower, patches_of
from pocket.train_unet import build_scheduler, shifted_timesteps
from pocket.train_vae import build_vae, channel_moments, fold_latent_scale


@pytest.mark.parametrize("name", ["red-apple", "Red Apple", "redapple", "red_apple"])
def test_names_are_alike_in_all_sets(name: str) -> None:
    assert normalised(name) == "redapple"


def test_subject_list_is_the_one_promised() -> None:
    names = [subject.name for subject in load_subjects()]
    assert len(names) == len(set(names)) and len(names) == 429
    assert len(with_role("evaluation")) >= 100
    assert 48 <= len(with_role("demo")) <= 64
    assert all(
        subject.head in [*subject.phrase.replace("-", " ").split(), subject.phrase]
        for subject in load_subjects()
    )


def test_styles_to_learn_later_are_kept_out() -> None:
    trained = {source.name for source in TRAINED}
    assert trained.isdisjoint({"openmoji", "fluent-emoji"})
    assert "pixel" in STYLES and "pixel" not in {source.style for source in TRAINED}


@pytest.mark.parametrize(
    ("words", "expected"),
    [("ant", "an ant"), ("cat", "a cat"), ("unicorn", "a unicorn"), ("orange fruit", "an orange fruit")],
)
def test_article(words: str, expected: str) -> None:
    assert with_article(words) == expected


def test_caption_says_what_is_shown() -> None:
    apple = next(subject for subject in load_subjects() if subject.name == "red-apple")
    scene = Scene("light blue", "small", "left")
    assert noun_phrase(apple, scene) == "a small red apple on the left"
    for seed in range(20):
        caption = write_caption(apple, scene, "flat", random.Random(seed))
        assert "small red apple on the left" in caption and "flat" in caption
        assert caption.endswith("on a light blue background")


def test_unstyled_caption_names_no_style() -> None:
    apple = load_subjects()[0]
    words = {source.style for source in SOURCES}
    for seed in range(20):
        assert words.isdisjoint(
            write_caption(apple, Scene(), None, random.Random(seed)).replace(",", "").split()
        )


def test_scene_is_a_function_of_its_arguments() -> None:
    subject, source = load_subjects()[5], source_named("noto")
    scenes = [choose_scene(subject, source, variant) for variant in range(50)]
    assert scenes == [choose_scene(subject, source, variant) for variant in range(50)]
    assert scenes[0] == Scene()
    assert {scene.background for scene in scenes} <= set(COLOURS)
    assert all(scene.size == "small" for scene in scenes if scene.place)


def test_missing_npm_names_package_and_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENEER_POCKET_WORK", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(sources.RecipeError, match=r"npm is missing.*@iconify-json/noto.*npm pack"):
        sources.fetch_sources()


def test_missing_drawings_name_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENEER_POCKET_WORK", str(tmp_path))
    sources.load_icons.cache_clear()
    with pytest.raises(sources.RecipeError, match="python -m pocket fetch"):
        subjects.find_icon(load_subjects()[0], source_named("noto"))


def test_pixelated_picture_has_blocks_and_few_colours() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    blocks = pixelate_array(pixels, 16).reshape(16, 4, 16, 4, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert len(np.unique(blocks.reshape(-1, 3), axis=0)) <= 16


def test_tokenizer_reads_like_clip() -> None:
    tokenizer = learn_tokenizer(["a red apple on a blue background"] * 3, 100)
    ids = tokenizer("a red apple").input_ids
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id == len(tokenizer) - 1
    assert tokenizer.decode(ids, skip_special_tokens=True).strip() == "a red apple"
    assert tokenizer.model_max_length == 77


def test_caption_tokenizer_knows_every_word() -> None:
    tokenizer = make_caption_tokenizer()
    for subject in load_subjects():
        assert tokenizer.unk_token_id not in tokenizer(with_article(subject.phrase)).input_ids


def test_fold_keeps_pictures_and_scales_latents() -> None:
    torch.manual_seed(0)
    vae = build_vae(CPU).eval()
    pictures = torch.rand(4, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        before = vae.encode(pictures).latent_dist
        rebuilt = vae.decode(before.mean).sample
        mean, std = channel_moments(before.mean)
        fold_latent_scale(vae, mean, std)
        after = vae.encode(pictures).latent_dist
    torch.testing.assert_close(vae.decode(after.mean).sample, rebuilt, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.std, before.std / std.view(1, -1, 1, 1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(channel_moments(after.mean)[1], torch.ones(4), atol=1e-4, rtol=1e-4)
    assert channel_moments(after.mean)[0].abs().max() < 1e-4


def test_scheduler_never_clips() -> None:
    assert build_scheduler().config.clip_sample is False


def test_captions_are_dropped_at_times() -> None:
    rows = torch.tensor([[1, 2, 3, 4]]).repeat(4000, 1)
    chosen = choose_captions(rows, torch.Generator().manual_seed(0))
    shares = torch.bincount(chosen, minlength=5) / len(chosen)
    assert abs(shares[0] - 0.1) < 0.02
    assert (shares[3:] - 0.18).abs().max() < 0.02 and (shares[1:3] - 0.27).abs().max() < 0.02


def test_patches_go_row_by_row() -> None:
    latents = torch.arange(2 * 4 * 16 * 16).view(2, 4, 16, 16).float()
    patches = patches_of(latents)
    assert patches.shape == (2, 16, 64)
    assert torch.equal(patches[1, 6].view(4, 4, 4), latents[1, :, 4:8, 8:12])


def test_layout_is_read_the_same_in_a_whole_prompt() -> None:
    tokenizer = learn_tokenizer(["a flat illustration of a red apple"] * 3, 20)
    clip = build_clip(CPU, tokenizer).eval()
    tower = LayoutTower(clip.text_model, CPU)
    nn.init.normal_(tower.to_patch.weight)
    tokens = torch.randint(0, len(tokenizer), (2, 77))
    states, patches = tower(tokens[:, :LAST_PLACE])
    whole = clip.text_model(input_ids=tokens).last_hidden_state
    assert patches.shape == (2, 16, 64)
    torch.testing.assert_close(states, whole[:, :FIRST_PLACE])
    torch.testing.assert_close(patches, tower.to_patch(whole[:, FIRST_PLACE:LAST_PLACE]))


def test_a_new_layout_forgets_what_the_old_one_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENEER_POCKET_WORK", str(tmp_path))
    old = tmp_path / "cpu" / f"{train_layout.TEXTS}.safetensors"
    old.parent.mkdir()
    old.write_bytes(b"old")

    def stopped(*_: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(train_layout, "load_clip_average", stopped)
    with pytest.raises(InterruptedError):
        train_layout.train_layout(CPU, training.Budget(1))
    assert not old.exists()


def test_captions_leave_the_places_of_the_layout_empty() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(SHIPPED / "tokenizer")
    words = random.Random(0)
    longest = max(load_subjects(), key=lambda one: len(tokenizer(one.phrase).input_ids))
    scene = Scene("light blue", "small", "left")
    captions = [write_caption(longest, scene, strange_style(words), words) for _ in range(200)]
    assert max(len(tokenizer(caption).input_ids) for caption in captions) <= FIRST_PLACE


def test_noisy_timesteps_come_more_often() -> None:
    timesteps = shifted_timesteps(torch.linspace(0, 1, 10_001)[:-1], 1000)
    assert timesteps.min() == 0 and timesteps.max() == 999
    assert 0.65 < (timesteps >= 500).float().mean() < 0.75


def test_strange_styles_are_no_style_known_or_to_come() -> None:
    kept_out = {source.style for source in SOURCES} | {"8", "bit", "pixel"}
    for seed in range(200):
        assert kept_out.isdisjoint(strange_style(random.Random(seed)).replace("-", " ").split())


def test_judge_shapes() -> None:
    features, named, styled = Judge(7)(torch.zeros(2, 3, 64, 64))
    assert features.shape == (2, 192) and named.shape == (2, 7) and styled.shape == (2, len(STYLES))
