"""Names of a transformer's first release: three projections in one matrix, written and read back exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import tiny
from helpers.loras import random_lora
from veneer.errors import AdapterError
from veneer.events import Notice
from veneer.lora.file import write_kohya
from veneer.lora.native import modules_at
from veneer.lora.reader import read_lora
from veneer.lora.weights import LoraFile


@pytest.fixture(scope="module")
def klein_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_klein(tmp_path_factory.mktemp("klein"))


def update(lora: LoraFile, module: str) -> torch.Tensor:
    down, up = lora.state[f"{module}.lora_A.weight"], lora.state[f"{module}.lora_B.weight"]
    return lora.alphas[module] / len(down) * up @ down


def test_names_are_comfyuis_and_no_alpha_is_said(klein_folder: Path, tmp_path: Path) -> None:
    lora = random_lora(klein_folder, rank=2, target_modules="attention+ff")
    write_kohya(tmp_path / "x.safetensors", lora)
    names = {name.rpartition(".lora_")[0] for name in load_file(tmp_path / "x.safetensors")}
    inner = {
        *(f"double_blocks.0.{side}_{part}" for side in ("img", "txt") for part in ("attn.qkv", "attn.proj")),
        *(f"double_blocks.0.{side}_mlp.{place}" for side in ("img", "txt") for place in (0, 2)),
        "single_blocks.0.linear1",
        "single_blocks.0.linear2",
    }
    both = {name.replace(".0.", f".{block}.", 1) for name in inner for block in (0, 1)}
    assert names == {f"diffusion_model.{name}" for name in both}
    told: list[Notice] = []
    read_lora(tmp_path / "x.safetensors", told.append)  # type: ignore[arg-type]
    assert not told


def test_a_projection_alone_leaves_the_others_as_they_are(klein_folder: Path, tmp_path: Path) -> None:
    lora = random_lora(klein_folder, rank=3, lora_alpha=5.0, target_modules=("to_k", "add_v_proj"))
    write_kohya(tmp_path / "x.safetensors", lora)
    found = read_lora(tmp_path / "x.safetensors")
    assert found.modules == lora.modules
    for module in lora.modules:
        torch.testing.assert_close(update(found, module), update(lora, module), rtol=0, atol=1e-6)


def test_another_tools_matrix_of_three_is_read_whole(klein_folder: Path, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    down, up = torch.randn(2, 32, generator=generator), torch.randn(96, 2, generator=generator)
    layer = "lora_unet_double_blocks_1_img_attn_qkv"
    tensors = {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}
    save_file(tensors | {f"{layer}.alpha": torch.tensor(1.0)}, tmp_path / "x.safetensors")
    found = read_lora(tmp_path / "x.safetensors")
    whole = torch.cat([update(found, f"transformer_blocks.1.attn.to_{one}") for one in "qkv"])
    torch.testing.assert_close(whole, up @ down / 2)


def test_a_damaged_matrix_of_three_is_refused(tmp_path: Path) -> None:
    layer = "diffusion_model.double_blocks.0.img_attn.qkv"
    tensors = {f"{layer}.lora_A.weight": torch.zeros(2, 8), f"{layer}.lora_B.weight": torch.zeros(7, 2)}
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(AdapterError, match=r"another family|damaged"):
        read_lora(tmp_path / "x.safetensors")


def test_what_is_no_native_layer_is_left_alone() -> None:
    assert modules_at("unet.mid_block.attentions.0.proj_in") == ()
    assert modules_at("diffusion_model.single_blocks.7.linear2") == (
        "single_transformer_blocks.7.attn.to_out",
    )
    assert modules_at("x" * 10_000) == ()


@pytest.mark.parametrize("layer", ["double_blocks.18.img_attn.qkv", "single_blocks.37.linear1"])
def test_a_lora_of_flux_is_named(tmp_path: Path, layer: str) -> None:
    first = layer.replace("18", "0").replace("37", "0")
    tensors = {
        f"diffusion_model.{one}.lora_{side}.weight": torch.zeros(*shape)
        for one in (first, layer)
        for side, shape in (("A", (2, 8)), ("B", (24, 2)))
    }
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(AdapterError, match="another family, Flux"):
        read_lora(tmp_path / "x.safetensors")
