"""The random SD 1.5 of the benchmarks has the real one's structure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bench import random_sd15
from bench.random_sd15 import build_random_sd15, structure, write_random
from helpers import tiny
from veneer.config import LoraTable
from veneer.lora.adapter import attach
from veneer.models.families.sdxl import SDXL

COUNTS = {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}


def test_counts() -> None:
    assert {
        name: sum(p.numel() for p in module.parameters()) for name, module in structure().items()
    } == COUNTS


def test_counts_of_sdxl() -> None:
    found = {name: sum(p.numel() for p in part.parameters()) for name, part in structure(SDXL).items()}
    assert found == {
        "unet": 2_567_463_684,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
        "vae": 83_653_863,
    }


def test_the_reports_adapter_trains_797_thousand_numbers() -> None:
    unet = structure()["unet"]
    names = [name for name, _ in unet.named_modules() if name.endswith(("to_q", "to_k", "to_v", "to_out.0"))]
    layers: list[Any] = [unet.get_submodule(name) for name in names]
    assert len(layers) == 128
    assert sum(4 * (layer.in_features + layer.out_features) for layer in layers) == 797_184


def test_written_files_are_safetensors(tmp_path: Path) -> None:
    with torch.device("meta"):
        module = tiny.tiny_unet()
    for dtype, kind in (("float16", torch.float16), ("float32", torch.float32)):
        path = tmp_path / f"{dtype}.safetensors"
        write_random(path, module, dtype, seed=0, prefix="x.")
        tensors = load_file(path)
        assert tensors.keys() == {f"x.{name}" for name in module.state_dict()}
        assert {tensor.dtype for tensor in tensors.values()} == {kind}
        assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
        weight = tensors["x.mid_block.resnets.0.conv1.weight"].float()
        assert 0.5 < float(weight.std()) * (16 * 9) ** 0.5 < 1.5


def test_signals_neither_die_nor_grow(tmp_path: Path) -> None:
    unet = tiny.tiny_unet()
    write_random(tmp_path / "w.safetensors", unet, "float32", seed=0)
    unet.load_state_dict(load_file(tmp_path / "w.safetensors"))
    attach(unet, LoraTable(), seed=0)
    with torch.no_grad():
        output = unet(torch.randn(1, 4, 16, 16), 100, torch.randn(1, 77, 16), return_dict=False)[0]
    assert 0.01 < float(output.std()) < 100


def test_a_base_that_was_not_built_to_its_end_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_sd15, "find_vocabulary", lambda checkpoint, folder: None)
    parts = {"unet": tiny.tiny_unet(), "vae": tiny.tiny_vae()}
    monkeypatch.setattr(random_sd15, "structure", lambda family: parts)
    base, written = tmp_path / "base", []

    def fail_at_the_second(path: Path, *rest: object) -> None:
        written.append(path)
        if len(written) == 2:
            raise OSError("the disk is full")
        write_random(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(random_sd15, "write_random", fail_at_the_second)
    with pytest.raises(OSError, match="the disk is full"):
        build_random_sd15(base)
    assert not (base / "model_index.json").exists()  # what the benchmarks take for a base
    assert build_random_sd15(base) == base
    files = [
        "model_index.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    assert all((base / name).is_file() for name in files)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
