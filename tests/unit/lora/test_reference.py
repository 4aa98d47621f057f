"""The second reading of LoRA files, which judges the first: right by formula, by peft, and independent."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.loras import random_lora
from veneer.errors import AdapterError
from veneer.lora import reader, reference
from veneer.lora.check import outputs_with, reference_applied, verify_reading
from veneer.lora.convert import export_file
from veneer.lora.file import write_diffusers, write_kohya
from veneer.lora.merge import delta, merge_into
from veneer.lora.reader import read_lora
from veneer.lora.weights import DOWN, UP, LoraFile
from veneer.models.base import Base, load_base

Write = Callable[[Path, LoraFile], None]
LAYERS = ("mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "mid_block.attentions.0.proj_in")


@pytest.fixture
def base(base_folder: Path) -> Base:
    return load_base(str(base_folder), parts=("tokenizer", "text_encoder", "unet", "scheduler"))


def weights(base: Base) -> dict[str, np.ndarray]:
    own = {name: p.detach().double().numpy() for name, p in base.unet.named_parameters() if p.ndim > 1}
    text = base.text_encoder.named_parameters()
    return own | {f"text_encoder.{name}": p.detach().double().numpy() for name, p in text if p.ndim > 1}


def test_it_imports_nothing_of_veneer_and_no_tensor_library() -> None:
    tree = ast.parse(Path(reference.__file__).read_text("utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in names if name.split(".")[0] in {"veneer", "torch", "safetensors", "peft"}}


@pytest.mark.parametrize("write", [write_diffusers, write_kohya])
def test_plain_updates_are_what_the_formula_says(
    base: Base, base_folder: Path, tmp_path: Path, write: Write
) -> None:
    lora = random_lora(
        base_folder, lora_alpha=3, rank_pattern={"to_q": 8}, use_rslora=True, text_encoder=True
    )
    path, own = tmp_path / "x.safetensors", weights(base)
    write(path, lora)
    changed = dict(reference.changed_weights(path, own))
    assert set(changed) == {f"{module}.weight" for module in lora.modules}
    for module in lora.modules:
        name = f"{module}.weight"
        assert np.allclose(changed[name] - own[name], delta(lora, module).numpy(), atol=1e-6)


@pytest.mark.parametrize("write", [write_diffusers, write_kohya])
def test_a_dora_is_what_peft_makes_of_it(base: Base, base_folder: Path, tmp_path: Path, write: Write) -> None:
    lora = random_lora(base_folder, use_dora=True, target_modules="attention+ff+conv", text_encoder=True)
    write(tmp_path / "x.safetensors", lora)
    measure = outputs_with(base, lora)
    with reference_applied(base, tmp_path / "x.safetensors"):
        assert measure() < 3e-5
    assert measure() > 0.5


def dora_over_inputs(base: Base, path: Path) -> dict[str, np.ndarray]:
    """A file as LyCORIS writes with wd_on_out = False, and the weights that ComfyUI makes of it."""
    tensors: dict[str, torch.Tensor] = {}
    generator, wanted = torch.Generator().manual_seed(0), {}
    for module in LAYERS:
        weight = base.unet.get_parameter(f"{module}.weight").detach().double()
        down = torch.randn(4, *weight.shape[1:], generator=generator) * 0.05
        up = torch.randn(weight.shape[0], 4, *[1] * (weight.ndim - 2), generator=generator) * 0.05
        others = (0, *range(2, weight.ndim))
        scale = torch.linalg.vector_norm(weight, dim=others, keepdim=True) * 1.1
        layer = f"lora_unet_{module.replace('.', '_')}"
        tensors |= {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}
        tensors |= {f"{layer}.alpha": torch.tensor(2.0), f"{layer}.dora_scale": scale.float()}
        full = weight + 0.5 * (up.double().flatten(1) @ down.double().flatten(1)).reshape(weight.shape)
        full *= scale / torch.linalg.vector_norm(full, dim=others, keepdim=True)
        wanted[f"{module}.weight"] = full.numpy()
    save_file(tensors, path)
    return wanted


def test_a_dora_over_the_input_axis_is_the_columns_norm(base: Base, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    wanted = dora_over_inputs(base, path)
    changed = dict(reference.changed_weights(path, weights(base)))
    merge_into(base.unet, read_lora(path))
    for name, weight in wanted.items():
        assert np.allclose(changed[name], weight, atol=1e-6)
        assert np.allclose(base.unet.get_parameter(name).detach().numpy(), weight, atol=1e-5)


def test_it_is_merged_and_kept_in_kohyas_layout_and_refused_elsewhere(
    base: Base, base_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    wanted = dora_over_inputs(base, path)
    export_file(path, tmp_path / "merged", layout="merged", base=str(base_folder))
    found = load_file(tmp_path / "merged" / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(np.allclose(found[name].numpy(), weight, atol=1e-5) for name, weight in wanted.items())
    export_file(path, tmp_path / "k.safetensors", layout="kohya", base=str(base_folder))
    changed = dict(reference.changed_weights(tmp_path / "k.safetensors", weights(base)))
    assert all(np.allclose(changed[name], weight, atol=1e-6) for name, weight in wanted.items())
    with pytest.raises(AdapterError, match="over the input axis cannot be written in diffusers' layout"):
        export_file(path, tmp_path / "d.safetensors", layout="diffusers")
    from veneer.lora.drawing import draw

    with pytest.raises(AdapterError, match="over the input axis cannot be drawn with"):
        draw(str(base_folder), ["a"], [0], lora=path)


def test_a_mistake_of_the_reader_is_found(
    base: Base, base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.safetensors"
    dora_over_inputs(base, path)
    # What 0.1.0 did: magnitudes without their axis.
    monkeypatch.setattr(
        reader,
        "_magnitude",
        lambda p, m, scale, down, up: ("lora_magnitude_vector", scale.flatten()[: up.shape[0]]),
    )
    with pytest.raises(AdapterError, match="not what the LoRA's format says"):
        export_file(path, tmp_path / "merged", layout="merged", base=str(base_folder))
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("kind", [DOWN, UP, "alpha"])
def test_a_misread_weight_is_found_whatever_the_layout(
    base: Base, base_folder: Path, tmp_path: Path, kind: str
) -> None:
    lora, path = random_lora(base_folder), tmp_path / "x.safetensors"
    write_kohya(path, lora)
    right = read_lora(path)
    verify_reading(path, right, base)
    module = right.modules[0]
    if kind == "alpha":
        right.alphas[module] *= 1.5  # type: ignore[index]
    else:
        right.state[f"{module}.{kind}"].mul_(1.5)
    with pytest.raises(AdapterError, match="not read as its format says"):
        verify_reading(path, right, base)


def test_weights_are_looked_up_one_at_a_time_and_only_those_that_change(
    base: Base, base_folder: Path, tmp_path: Path
) -> None:
    """All of SDXL's in float64 were 21 GB, and the kernel killed the export."""

    looked_up: list[str] = []

    class Counted(dict[str, np.ndarray]):
        def __getitem__(self, name: str) -> np.ndarray:
            looked_up.append(name)
            return super().__getitem__(name)

    path, own = tmp_path / "x.safetensors", Counted(weights(base))
    write_kohya(path, random_lora(base_folder))
    changing = reference.changed_weights(path, own)
    first, _ = next(changing)
    assert looked_up == [first]
    assert [first, *(name for name, _ in changing)] == looked_up
    assert len(looked_up) < len(own)


def test_what_belongs_to_no_weight_is_never_passed_over(
    base: Base, base_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x.safetensors"
    write_kohya(path, random_lora(base_folder))
    save_file(load_file(path) | {"lora_unet_nowhere.lora_down.weight": torch.zeros(4, 4)}, path)
    with pytest.raises(reference.UnreadError, match="lora_unet_nowhere"):
        list(reference.changed_weights(path, weights(base)))
