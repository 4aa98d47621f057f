"""What `inspect` finds in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.loras import random_lora
from veneer.lora.file import write_diffusers, write_kohya
from veneer.lora.info import inspect, layer_kind
from veneer.lora.merge import delta


@pytest.mark.parametrize("write", [write_diffusers, write_kohya])
def test_finds_all(base_folder: Path, tmp_path: Path, write: object) -> None:
    lora = random_lora(base_folder, lora_alpha=2, text_encoder=True, target_modules="attention+ff+conv")
    path = tmp_path / "x.safetensors"
    write(path, lora)  # type: ignore[operator]
    info = inspect(path)
    assert (info.ranks, info.alphas) == ({4: len(lora.modules)}, {2.0: len(lora.modules)})
    assert info.num_parameters == sum(weight.numel() for weight in lora.state.values())
    assert (info.base, info.step, info.precision) == ("tiny", "7", "float32")
    assert info.layers["q_proj"] == 2
    blocks = {block.block: block for block in info.blocks}
    middle = [module for module in lora.modules if module.startswith("mid_block")]
    norm = sum(float(delta(lora, module).norm()) ** 2 for module in middle) ** 0.5
    assert blocks["mid_block"].num_layers == len(middle)
    assert blocks["mid_block"].norm == pytest.approx(norm)
    assert {"text_encoder", "down_blocks.0", "up_blocks.1"} <= blocks.keys()
    assert f"rank 4, alpha 2, {len(lora.modules)} layers" in info.summary


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        ("a.attn1.to_out.0", "to_out.0"),
        ("a.ff.net.0.proj", "ff.net.0.proj"),
        ("a.resnets.0.conv1", "conv1"),
        ("text_encoder.a.self_attn.q_proj", "q_proj"),
    ],
)
def test_kinds(module: str, kind: str) -> None:
    assert layer_kind(module) == kind
