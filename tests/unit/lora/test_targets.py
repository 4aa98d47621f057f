"""Which layers get an adapter, and of which rank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from veneer.config import LoraTable
from veneer.errors import RecipeError
from veneer.lora.adapter import (
    adapter_state,
    attach,
    trainable,
)
from veneer.lora.targets import module_ranks, target_names
from veneer.models.base import load_base


def unet_of(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    return load_base(str(folder), dtype=dtype, parts=("unet",)).unet


class TestTargets:
    def test_sets_grow(self, base_folder: Path) -> None:
        unet = unet_of(base_folder)
        sets = [
            set(target_names(unet, LoraTable(target_modules=name)))
            for name in ("attention", "attention+ff", "attention+ff+conv")
        ]
        assert sets[0] < sets[1] < sets[2]
        assert {name.rpartition(".attn")[2][2:] for name in sets[0]} == {"to_q", "to_k", "to_v", "to_out.0"}
        assert {name.rpartition("transformer_blocks.0.")[2] for name in sets[1] - sets[0]} == {
            "ff.net.0.proj",
            "ff.net.2",
        }
        rest = {
            name for name, part in unet.named_modules() if isinstance(part, torch.nn.Linear | torch.nn.Conv2d)
        }
        # Outside the blocks: four channels in and out, and the embedding of time that all blocks share.
        outside = {"conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"}
        assert rest - sets[2] == outside

    def test_no_match_names_the_nearest(self, base_folder: Path) -> None:
        unet = unet_of(base_folder)
        with pytest.raises(RecipeError, match=r"no layer's name ends with `to_qq` .*Nearest: to_q"):
            attach(unet, LoraTable(target_modules=("to_k", "to_qq")), seed=0)

    def test_ranks_by_pattern(self, base_folder: Path) -> None:
        names = target_names(unet_of(base_folder), LoraTable())
        table = LoraTable(rank=4, rank_pattern={r"attn2\.to_k": 1, "to_k": 2, "mid_block": 8})
        ranks = module_ranks(names, table)
        assert ranks["down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"] == 1
        assert ranks["down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k"] == 2
        assert ranks["mid_block.attentions.0.transformer_blocks.0.attn1.to_q"] == 8
        assert ranks["down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"] == 4
        with pytest.raises(RecipeError, match=r"lora\.rank_pattern"):
            module_ranks(names, LoraTable(rank_pattern={"nothing": 2}))

    def test_patterns_reach_the_layers(self, base_folder: Path) -> None:
        unet = unet_of(base_folder)
        attach(unet, LoraTable(rank_pattern={"to_q": 2}), seed=0)
        shapes = {
            n.rpartition(".lora_A")[0][-4:]: w.shape[0] for n, w in adapter_state(unet).items() if "_A" in n
        }
        assert shapes["to_q"] == 2 and shapes["to_k"] == 4

    def test_text_encoder(self, base_folder: Path) -> None:
        encoder = load_base(str(base_folder), parts=("text_encoder",)).text_encoder
        attach(encoder, LoraTable(target_modules="attention+ff"), seed=0)
        kinds = {name.split(".")[-3] for name in trainable(encoder)}
        assert kinds == {"q_proj", "k_proj", "v_proj", "out_proj"}
