"""Settings that do not act are told of before anything starts, and only those."""

from __future__ import annotations

from typing import Any

import pytest

from veneer.recipe import bundled_names, load_recipe, resolve
from veneer.unused_settings import unused_settings

Tables = dict[str, dict[str, Any]]
TEXT_ALONE = {"target_modules": "none", "text_encoder": True}
WORD_ALONE = {"target_modules": "none", "embedding_token": "cat"}


def keys_of(tables: Tables) -> list[str]:
    return [unused.key for unused in unused_settings(resolve(tables))]


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        ({"lora": TEXT_ALONE | {"timestep_rank": True}}, "lora.timestep_rank"),
        ({"lora": WORD_ALONE | {"rank": 8}}, "lora.rank"),
        ({"lora": {"embedding_vectors": 2}}, "lora.embedding_vectors"),
        ({"train": {"snr_gamma": 1.0}}, "train.snr_gamma"),
        ({"train": {"snr_gamma": 1.0, "loss_weighting": "debiased"}}, "train.snr_gamma"),
        ({"train": {"lr_scheduler": "constant", "lr_warmup_steps": 5}}, "train.lr_warmup_steps"),
        ({"train": {"optimizer": "schedulefree"}}, "train.lr_scheduler"),
        ({"train": {"lr_warmup_steps": 50, "max_train_steps": 50}}, "train.lr_scheduler"),
        ({"train": {"optimizer": "prodigy"}}, "train.learning_rate"),
        ({"train": {"prior_sources": ["x"]}}, "train.prior_sources"),
        ({"train": {"prior_loss_weight": 1.0}, "lora": TEXT_ALONE}, "train.prior_loss_weight"),
        ({"train": {"patience": 3, "validation_share": 0.0}}, "train.patience"),
        ({"generate": {"negative_prompt": "blurred", "guidance_scale": 1.0}}, "generate.negative_prompt"),
        ({"compare": {"scales": [0.5, 1.0], "scale": 0.8}, "generate": {"prompts": ["x"]}}, "compare.scale"),
        (
            {"compare": {"held_out_prompts": 4}, "train": {"validation_share": 0.0}},
            "compare.held_out_prompts",
        ),
    ],
)
def test_a_setting_that_does_not_act_is_told_of(tables: Tables, key: str) -> None:
    assert keys_of(tables) == [key]


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"lora": TEXT_ALONE | {"rank": 8}},
        {"lora": {"embedding_token": "cat", "embedding_vectors": 2}},
        {"train": {"snr_gamma": 1.0, "loss_weighting": "soft_min_snr"}},
        {"train": {"lr_scheduler": "constant_with_warmup", "lr_warmup_steps": 5, "patience": 2}},
        {"train": {"lr_scheduler": "constant", "lr_warmup_steps": 5, "optimizer": "schedulefree"}},
        {"train": {"optimizer": "prodigy", "learning_rate": 1.0}},
        {"train": {"prior_sources": ["x"], "prior_loss_weight": 0.5}},
        {"train": {"validation_share": 0.0}},
        {"generate": {"negative_prompt": "blurred"}},
    ],
)
def test_settings_that_act_are_not(tables: Tables) -> None:
    assert keys_of(tables) == []


@pytest.mark.parametrize("name", bundled_names())
def test_the_bundled_recipes_have_none(name: str) -> None:
    assert unused_settings(load_recipe(name)) == []


def test_the_line_says_key_and_reason_and_the_notice_whose_stage_it_is() -> None:
    (unused,) = unused_settings(resolve({"lora": {"embedding_vectors": 2}}))
    assert unused.message == "lora.embedding_vectors does not act: lora.embedding_token names no word"
    assert (unused.notice.stage, unused.notice.code) == ("train", "setting-idle")
    assert unused.notice.message == unused.message
