"""LoRA files of every tool: read as their formats say, or refused by the name of what they are."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from helpers import ldm
from helpers.loras import random_lora
from veneer.errors import AdapterError
from veneer.lora.embedding_file import read_embedding
from veneer.lora.info import inspect
from veneer.lora.merge import delta, merge_adapters
from veneer.lora.reader import file_of, read_lora
from veneer.lora.weights import LoraFile

ALPHA = 1.0


@pytest.fixture(scope="module")
def lora(base_folder: Path) -> LoraFile:
    return random_lora(base_folder, lora_alpha=1, text_encoder=True, target_modules="attention+ff+conv")


@pytest.fixture
def first_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real bases have two layers a block, which their numbering counts."""
    monkeypatch.setattr(ldm, "LAYERS", 2)


def split(name: str) -> tuple[str, str, bool]:
    module, _, kind = name.rpartition(".lora_")
    return module.removeprefix("text_encoder."), kind[0], module.startswith("text_encoder.")


def ldm_name(module: str) -> str:
    return ldm.unet_name(f"{module}.weight").removesuffix(".weight")


# How tools name layers: of the UNet, of the text encoder, and the endings of A and B.
PEFT, KOHYA, OLD = (
    ("lora_A.weight", "lora_B.weight"),
    ("lora_down.weight", "lora_up.weight"),
    ("lora.down.weight", "lora.up.weight"),
)
TOOLS: dict[str, tuple[Callable[[str], str], Callable[[str], str], tuple[str, str]]] = {
    "diffusers": (lambda m: f"unet.{m}", lambda m: f"text_encoder.text_model.{m}", PEFT),
    "without text_model": (lambda m: f"unet.{m}", lambda m: f"text_encoder.{m}", PEFT),
    "unet twice": (lambda m: f"unet.unet.{m}", lambda m: f"text_encoder.text_model.{m}", PEFT),
    "dotted kohya": (lambda m: f"unet.{m}", lambda m: f"text_encoder.text_model.{m}", KOHYA),
    "old diffusers": (lambda m: f"unet.{m}", lambda m: f"text_encoder.text_model.{m}", OLD),
    "OneTrainer": (lambda m: f"lora_unet.{m}", lambda m: f"lora_te.text_model.{m}", KOHYA),
    "kohya": (
        lambda m: f"lora_unet_{m.replace('.', '_')}",
        lambda m: f"lora_te_text_model_{m.replace('.', '_')}",
        KOHYA,
    ),
    "kohya, first release": (
        lambda m: f"lora_unet_{ldm_name(m).replace('.', '_')}",
        lambda m: f"lora_te1_text_model_{m.replace('.', '_')}",
        KOHYA,
    ),
    "ComfyUI": (
        lambda m: f"diffusion_model.{ldm_name(m)}",
        lambda m: f"text_encoders.clip_l.transformer.text_model.{m}",
        KOHYA,
    ),
    "ComfyUI, peft": (
        lambda m: f"diffusion_model.{ldm_name(m)}",
        lambda m: f"text_encoders.clip_l.transformer.text_model.{m}",
        PEFT,
    ),
    "model.diffusion_model": (
        lambda m: f"model.diffusion_model.{ldm_name(m)}",
        lambda m: f"text_encoder.text_model.{m}",
        KOHYA,
    ),
    "peft": (lambda m: f"base_model.model.{m}", lambda m: f"base_model.model.text_model.{m}", PEFT),
}  # fmt: skip


def of_tool(lora: LoraFile, tool: str, *, with_alpha: bool = True) -> dict[str, torch.Tensor]:
    unet, text, (down, up) = TOOLS[tool]
    tensors = {}
    for name, weight in lora.state.items():
        module, side, is_text = split(name)
        layer = (text if is_text else unet)(module)
        tensors[f"{layer}.{down if side == 'A' else up}"] = weight
        if with_alpha:
            tensors[f"{layer}.alpha"] = torch.tensor(ALPHA)
    return tensors


@pytest.mark.usefixtures("first_release")
@pytest.mark.parametrize("tool", TOOLS)
def test_names_of_every_tool_are_read_with_their_alpha(lora: LoraFile, tmp_path: Path, tool: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file(of_tool(lora, tool), path)
    events: list[Any] = []
    found = read_lora(path, events.append)
    assert found.modules == lora.modules
    assert not events
    for module in lora.modules:
        assert torch.equal(delta(found, module), delta(lora, module)), module


def test_the_settings_that_peft_writes_beside_are_read(lora: LoraFile, tmp_path: Path) -> None:
    path = tmp_path / "adapter_model.safetensors"
    save_file(of_tool(lora, "peft", with_alpha=False), path)
    (tmp_path / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 1}')
    assert set(read_lora(path).alphas.values()) == {1.0}
    for text in ("{", "[]", '{"lora_alpha": "x"}', "[" * 100_000, '{"lora_alpha": 1' + "0" * 400 + "}"):
        (tmp_path / "adapter_config.json").write_text(text)
        events: list[Any] = []
        assert set(read_lora(path, events.append).alphas.values()) == {4.0}
        assert [event.code for event in events] == ["lora-settings-unread", "lora-alpha-missing"]


SETTINGS = ["{", "[]", "7", '{"unet.lora_alpha": []}', '{"unet.alpha_pattern": 3}', "[" * 100_000]


@pytest.mark.parametrize("text", SETTINGS, ids=range(len(SETTINGS)))
def test_damaged_settings_inside_are_told_and_not_used(lora: LoraFile, tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.safetensors"
    save_file(of_tool(lora, "diffusers", with_alpha=False), path, {"lora_adapter_metadata": text})
    events: list[Any] = []
    assert set(read_lora(path, events.append).alphas.values()) == {4.0}
    assert "lora-settings-unread" in {event.code for event in events} or text == '{"unet.alpha_pattern": 3}'


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("to_q", ".to_q"), (r"attn1\.to_q", "attn1.to_q"), (".*attn1.*", "attn1."),
        ("^mid_block.*to_out.0$", "mid_block"), (r".*\.to_v", ".to_v"),
    ],
)  # fmt: skip
def test_plain_patterns_fit_what_peft_fits(lora: LoraFile, tmp_path: Path, pattern: str, fits: str) -> None:
    path = tmp_path / "x.safetensors"
    settings = {"unet.lora_alpha": 4, "unet.alpha_pattern": {pattern: 1}}
    save_file(
        of_tool(lora, "diffusers", with_alpha=False), path, {"lora_adapter_metadata": json.dumps(settings)}
    )
    found = read_lora(path).alphas
    own = {module for module in lora.modules if not module.startswith("text_encoder.")}
    peft = {module for module in own if re.match(rf"(.*\.)?({pattern})$", module)}
    assert {module for module in own if found[module] == 1} == peft
    assert peft
    assert all(fits in module for module in peft)


def test_a_learnt_word_inside_is_told_of(lora: LoraFile, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    words = {"bundle_emb.mine.string_to_param.*": torch.zeros(2, 16)}
    save_file(of_tool(lora, "kohya") | words, path)
    events: list[Any] = []
    assert read_lora(path, events.append).modules == lora.modules
    assert [(event.code, "mine" in event.message) for event in events] == [("bundled-words", True)]


NAMED = {
    "lora_unet_x.hada_w1_a": "LoHa",
    "lora_unet_x.lokr_w1": "LoKr",
    "lora_unet_mid_block_attentions_0_proj_in.lora_mid.weight": "LoCon with core tensors",
    "lora_unet_x.oft_blocks": "OFT",
    "lora_unet_x.a1.weight": "GLoRA",
    "lora_unet_mid_block_attentions_0_proj_in.diff": "LyCORIS full",
    "lora_unet_mid_block_attentions_0_proj_in.diff_b": "LyCORIS full",
    "lora_unet_mid_block_attentions_0_norm.w_norm": "trained norms",
    "lora_unet_mid_block_attentions_0_proj_in.on_input": "IA3",
    "lora_controlnet_x.lora_down.weight": "ControlNet",
    "model.diffusion_model.input_blocks.0.0.weight": "a whole model",
    "lora_unet_double_blocks_0_img_mod_lin.lora_down.weight": "Flux",
    "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": "Flux",
    "diffusion_model.joint_blocks.0.x_block.attn.qkv.lora_A.weight": "Stable Diffusion 3",
    "diffusion_model.blocks.0.self_attn.q.lora_A.weight": "a diffusion transformer",
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": "a language model",
    "motion_modules.0.lora_A.weight": "AnimateDiff",
    "unet.down_blocks.0.attentions.0.unheard_of.lora_A.weight": "a weight that is not known",
    "model.something": "holds no LoRA",
}


@pytest.mark.parametrize("is_mixed", [False, True])
@pytest.mark.parametrize("name", NAMED)
def test_what_is_no_lora_of_ours_is_named(lora: LoraFile, tmp_path: Path, name: str, is_mixed: bool) -> None:
    path = tmp_path / "x.safetensors"
    save_file((of_tool(lora, "kohya") if is_mixed else {}) | {name: torch.zeros(4, 4)}, path)
    expected = "not known" if is_mixed and name == "model.something" else NAMED[name]
    with pytest.raises(AdapterError, match=expected):
        read_lora(path)


def wide(lora: LoraFile, width: int) -> dict[str, torch.Tensor]:
    """The same with text states of another width."""
    tensors = of_tool(lora, "kohya")
    return {
        name: torch.ones(4, width) if re.search("attn2_to_[kv].lora_down", name) else tensor
        for name, tensor in tensors.items()
        if "lora_te" not in name
    }


def test_the_family_is_named_and_two_are_never_added_up(lora: LoraFile, tmp_path: Path) -> None:
    paths = {width: tmp_path / f"{width}.safetensors" for width in (768, 1024, 2048)}
    for width, path in paths.items():
        save_file(wide(lora, width), path)
    assert [inspect(paths[width]).family for width in (768, 1024, 2048)] == [
        "Stable Diffusion 1.x",
        "Stable Diffusion 2.x",
        "Stable Diffusion XL",
    ]
    with pytest.raises(
        AdapterError, match=r"different bases: Stable Diffusion 1\.x and Stable Diffusion 2\.x"
    ):
        merge_adapters([read_lora(paths[768]), read_lora(paths[1024])], [1, 1])


NOT_FINITE = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("ending", ["lora_down.weight", "lora_up.weight", "alpha", "dora_scale"])
def test_numbers_that_are_not_finite_are_refused_with_their_layer(
    lora: LoraFile, tmp_path: Path, value: float, ending: str
) -> None:
    path, layer = tmp_path / "x.safetensors", "lora_unet_mid_block_attentions_0_proj_in"
    tensors = of_tool(lora, "kohya")
    up = tensors[f"{layer}.lora_up.weight"]
    tensors[f"{layer}.dora_scale"] = torch.ones(up.shape[0], *[1] * (up.ndim - 1))
    broken = tensors[f"{layer}.{ending}"].clone()
    broken.view(-1)[-1] = value
    save_file(tensors | {f"{layer}.{ending}": broken}, path)
    with pytest.raises(
        AdapterError, match=r"not finite in 1 layers, the first is mid_block\.attentions\.0\.proj_in"
    ):
        read_lora(path)
    info = inspect(path)
    assert info.broken == ("mid_block.attentions.0.proj_in",)
    assert all(math.isfinite(block.norm) for block in info.blocks)


A, B = torch.zeros(4, 8), torch.zeros(8, 4)
SHAPES: dict[str, dict[str, torch.Tensor]] = {
    "no rank": {"lora_down.weight": torch.zeros(0, 8), "lora_up.weight": torch.zeros(8, 0)},
    "no inputs": {"lora_down.weight": torch.zeros(4, 0), "lora_up.weight": B},
    "other ranks": {"lora_down.weight": A, "lora_up.weight": torch.zeros(8, 3)},
    "one axis": {"lora_down.weight": torch.zeros(8), "lora_up.weight": torch.zeros(8, 1)},
    "no axis": {"lora_down.weight": torch.tensor(1.0), "lora_up.weight": torch.tensor(1.0)},
    "five axes": {"lora_down.weight": torch.zeros(4, 8, 1, 1, 1), "lora_up.weight": B},
    "a wide up": {"lora_down.weight": torch.zeros(4, 8, 1, 1), "lora_up.weight": torch.zeros(8, 4, 3, 3)},
    "no up": {"lora_down.weight": A},
    "no down": {"lora_up.weight": B},
    "alpha alone": {"alpha": torch.tensor(1.0)},
    "magnitudes alone": {"dora_scale": torch.ones(8, 1)},
    "two alphas": {"lora_down.weight": A, "lora_up.weight": B, "alpha": torch.ones(2)},
    "integers": {"lora_down.weight": A.long(), "lora_up.weight": B},
    "truths": {"lora_down.weight": A.bool(), "lora_up.weight": B},
    "odd magnitudes": {
        "lora_down.weight": A, "lora_up.weight": torch.zeros(6, 4), "dora_scale": torch.ones(3, 2),
    },
    "short magnitudes": {
        "lora_down.weight": A, "lora_up.weight": torch.zeros(6, 4), "dora_scale": torch.ones(1, 5),
    },
}  # fmt: skip


@pytest.mark.parametrize("case", SHAPES)
def test_weights_that_fit_nowhere_are_damage(tmp_path: Path, case: str) -> None:
    path, layer = tmp_path / "x.safetensors", "lora_unet_mid_block_attentions_0_proj_in"
    save_file({f"{layer}.{ending}": tensor for ending, tensor in SHAPES[case].items()}, path)
    with pytest.raises(AdapterError, match=r"damaged: mid_block\.attentions\.0\.proj_in"):
        read_lora(path)


def test_two_names_for_one_layer_are_damage(lora: LoraFile, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(of_tool(lora, "kohya") | {k: v.clone() for k, v in of_tool(lora, "diffusers").items()}, path)
    with pytest.raises(AdapterError, match="there twice"):
        read_lora(path)


def test_eight_bits_are_read_as_sixteen(lora: LoraFile, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    small = {name: w.to(torch.float8_e4m3fn) for name, w in of_tool(lora, "kohya").items() if w.ndim}
    save_file(small, path)
    found = read_lora(path)
    assert {weight.dtype for weight in found.state.values()} == {torch.float16}


PAGES = {
    b"<!DOCTYPE html><html>sign in</html>": "a web page",
    b"\n <html><body>": "a web page",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n": "a Git LFS pointer",
    b"\x80\x02}q\x00.": "a pickle under another name",
    b"PK\x03\x04archive/data.pkl": "a zip or a pickle",
    b'{"error": "Unauthorized"}': "JSON, such as a server's error",
    b"\x89PNG\r\n\x1a\n": "a picture",
    b"\x1f\x8b\x08": "a gzip",
    b"": "empty",
    b"\x00" * 40: "damaged",
    b"GGUF\x03": "a GGUF",
}


@pytest.mark.parametrize("content", PAGES, ids=PAGES.values())
def test_what_stands_under_the_name_of_a_lora_is_said(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(AdapterError, match=PAGES[content]):
        read_lora(path)


def test_a_folder_is_the_one_file_in_it(lora: LoraFile, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with pytest.raises(AdapterError, match="holds no LoRA"):
        read_lora(tmp_path / "one")
    save_file(of_tool(lora, "kohya"), tmp_path / "one" / "x.safetensors")
    assert read_lora(tmp_path / "one").modules == lora.modules
    save_file(of_tool(lora, "kohya"), tmp_path / "one" / "y.safetensors")
    with pytest.raises(AdapterError, match=r"2 files that may be meant: x\.safetensors, y\.safetensors"):
        read_lora(tmp_path / "one")
    save_file(of_tool(lora, "diffusers"), tmp_path / "one" / "pytorch_lora_weights.safetensors")
    assert file_of(tmp_path / "one").name == "pytorch_lora_weights.safetensors"
    assert inspect(tmp_path / "one").path.name == "pytorch_lora_weights.safetensors"


def raw_file(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(dtype: str = "F32", shape: Any = (4, 8), offsets: Any = (0, 128)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


NAME = "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"
ENTRY = json.dumps(entry())
HEADERS = {
    "huge length": raw_file(b"{}", length=2**63),
    "length past the end": raw_file(b"{}", length=1000),
    "no JSON": raw_file(b"{{{{"),
    "no table": raw_file(b"[1, 2]"),
    "not UTF-8": raw_file(b'{"\xff\xfe": 1}'),
    "negative offsets": raw_file(json.dumps({NAME: entry(offsets=(-8, 120))}).encode(), bytes(128)),
    "offsets backwards": raw_file(json.dumps({NAME: entry(offsets=(128, 0))}).encode(), bytes(128)),
    "past the end": raw_file(json.dumps({NAME: entry(offsets=(0, 10**15))}).encode(), bytes(128)),
    "overlapping": raw_file(json.dumps({NAME: entry(), NAME + "x": entry()}).encode(), bytes(128)),
    "a hole": raw_file(json.dumps({NAME: entry(offsets=(8, 136))}).encode(), bytes(136)),
    "unknown type": raw_file(json.dumps({NAME: entry(dtype="F33")}).encode(), bytes(128)),
    "type of another size": raw_file(json.dumps({NAME: entry(dtype="F64")}).encode(), bytes(128)),
    "negative shape": raw_file(json.dumps({NAME: entry(shape=(-4, -8))}).encode(), bytes(128)),
    "huge shape": raw_file(json.dumps({NAME: entry(shape=(2**40, 2**40))}).encode(), bytes(128)),
    "shape of words": raw_file(json.dumps({NAME: entry(shape="big")}).encode(), bytes(128)),
    "twice": raw_file(f'{{"{NAME}": {ENTRY}, "{NAME}": {ENTRY}}}'.encode(), bytes(128)),
    "deep": raw_file(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "metadata of numbers": raw_file(b'{"__metadata__": {"a": 1}}'),
    "metadata a list": raw_file(json.dumps({"__metadata__": [1], NAME: entry()}).encode(), bytes(128)),
    "nothing": raw_file(b"{}"),
    "metadata alone": raw_file(b'{"__metadata__": {"a": "b"}}'),
    "an empty name": raw_file(json.dumps({"": entry()}).encode(), bytes(128)),
    "a name of endings": raw_file(json.dumps({".lora_down.weight": entry()}).encode(), bytes(128)),
    "a long name": raw_file(json.dumps({"x_" * 20_000 + ".lora_down.weight": entry()}).encode(), bytes(128)),
    "a name of escapes": raw_file(json.dumps({"\x1b[2J.lora_down.weight": entry()}).encode(), bytes(128)),
    "complex": raw_file(json.dumps({NAME: entry(dtype="C64", offsets=(0, 256))}).encode(), bytes(256)),
    "four bits": raw_file(json.dumps({NAME: entry(dtype="F4", offsets=(0, 16))}).encode(), bytes(16)),
    "a surrogate": raw_file(b'{"\\ud800": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', bytes(4)),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADERS)
def test_a_malformed_header_is_no_learnt_word(tmp_path: Path, case: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(HEADERS[case])
    with pytest.raises(AdapterError) as refused:
        read_embedding(path)
    assert refused.value.what.isprintable()
    assert len(refused.value.what) < 400


@pytest.mark.parametrize("case", HEADERS)
def test_malformed_headers_are_refused_in_one_plain_line(tmp_path: Path, case: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(HEADERS[case])
    for read in (read_lora, inspect):
        with pytest.raises(AdapterError) as refused:
            read(path)
        assert refused.value.what.isprintable()
        assert len(refused.value.what) < 400
