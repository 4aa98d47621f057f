"""What a LoRA file makes of a model's weights, from the formats' definitions and nothing else of Veneer's.

It shares no code with the reader and the writers that it judges: bytes are read by hand, names are built from
the model's own ones where the reader takes the file's apart, and sums are numpy's, in float64.

LoRA: ``V = W + alpha / r * B A`` (Hu et al. 2021, section 4.1). DoRA: ``m V / ||V||`` (Liu et al. 2024,
section 4.1), the norm of each output; where the magnitudes' first axis is not the weight's, the norm of each
input, as ComfyUI's `weight_decompose` has it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[np.float64]
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
TEXTS = ("text_encoder.", "text_encoder_2.")
DOWN_SPELLINGS = (
    ".lora_A.weight", ".lora_down.weight", ".lora.down.weight", "_lora.down.weight",
    ".lora_linear_layer.down.weight", ".lora_A.default.weight",
)  # fmt: skip
UP_SPELLINGS = (
    ".lora_B.weight", ".lora_up.weight", ".lora.up.weight", "_lora.up.weight",
    ".lora_linear_layer.up.weight", ".lora_B.default.weight",
)  # fmt: skip
SCALE = (".dora_scale",)
MAGNITUDES = (".lora_magnitude_vector.weight", ".lora_magnitude_vector")
PREFIXES = (
    "", "unet.", "unet.unet.", "base_model.model.", "base_model.model.unet.", "lora_unet.",
    "diffusion_model.", "model.diffusion_model.", "transformer.",
)  # fmt: skip
NOT_OURS = "bundle_emb."


class UnreadError(ValueError):
    """A file that holds something that this reference does not know."""


def changed_weights(path: Path, weights: Mapping[str, _Array]) -> Iterator[tuple[str, _Array]]:
    """Weights of a model with a LoRA merged in, one at a time: all in float64 are more than a machine has.

    Args:
        weights: The model's own by name, such as ``mid_block.attentions.0.proj_in.weight``; those of a text
            encoder begin with ``text_encoder.`` or ``text_encoder_2.``. Only those that change are looked up.

    Yields:
        The weights that the file changes, by the same names.

    Raises:
        UnreadError: After the last, if a tensor of the file belongs to no weight of the model.
    """
    tensors, metadata = _tensors(path)
    settings = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    used = {name for name in tensors if name.startswith(NOT_OURS)}
    for name in weights:
        module, changed = name.removesuffix(".weight"), None
        for spelling in _spellings(module):
            down, up, *of_dora = (
                _one(tensors, spelling, ends, used)
                for ends in (DOWN_SPELLINGS, UP_SPELLINGS, SCALE, MAGNITUDES)
            )
            if down is None or up is None:
                continue
            alpha = _one(tensors, spelling, (".alpha",), used)
            strength = _said(settings, module, len(down)) if alpha is None else float(alpha.reshape(()))
            if (place := _third(module, spelling)) is not None:
                up = np.split(up, 3)[place]
            update = strength / len(down) * (up.reshape(len(up), -1) @ down.reshape(len(down), -1))
            changed = _changed(weights[name], update, *of_dora)
        if changed is not None:
            yield name, changed
    if left := sorted(tensors.keys() - used):
        raise UnreadError(f"{left[0]!r} and {len(left) - 1} others belong to no weight of the base")


def _changed(weight: _Array, update: _Array, dora_scale: _Array | None, magnitudes: _Array | None) -> _Array:
    result: _Array = weight + update.reshape(weight.shape)
    if dora_scale is None and magnitudes is None:
        return result
    matrix = result.reshape(len(result), result.shape[1], -1)
    if magnitudes is None and dora_scale is not None and dora_scale.shape[0] != len(result):
        norms = np.sqrt((matrix**2).sum(axis=(0, 2), keepdims=True))
        scale = dora_scale.reshape(1, -1, 1)
    else:
        norms = np.sqrt((matrix**2).sum(axis=(1, 2), keepdims=True))
        own = dora_scale if magnitudes is None else magnitudes
        scale = np.asarray(own).reshape(-1, 1, 1)
    changed: _Array = (matrix / norms * scale).reshape(result.shape)
    return changed


def _tensors(path: Path) -> tuple[dict[str, _Array], dict[str, str]]:
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header: dict[str, Any] = json.loads(raw[8:start])
    metadata = header.pop("__metadata__", {})
    return {name: _tensor(raw, start, about) for name, about in header.items()}, metadata


def _tensor(raw: bytes, start: int, about: Mapping[str, Any]) -> _Array:
    kind = TYPES.get(about["dtype"])
    if kind is None:
        raise UnreadError(f"weights of type {about['dtype']}")
    first, end = about["data_offsets"]
    plain = np.frombuffer(raw[start + first : start + end], kind)
    if about["dtype"] == "BF16":  # the upper half of a float32
        plain = (plain.astype("<u4") << 16).view("<f4")
    return plain.astype(np.float64).reshape(about["shape"])


def _one(
    tensors: Mapping[str, _Array], spelling: str, endings: tuple[str, ...], used: set[str]
) -> _Array | None:
    for ending in endings:
        if (name := spelling + ending) in tensors:
            used.add(name)
            return tensors[name]
    return None


def _said(settings: Mapping[str, Any], module: str, rank: int) -> float:
    """Alpha by diffusers' settings, whose patterns are taken as names; the rank where nothing says it."""
    denoiser = "transformer." if "transformer.r" in settings else "unet."
    prefix = next((text for text in TEXTS if module.startswith(text)), denoiser)
    name = module.removeprefix(prefix)
    alpha = float(settings.get(f"{prefix}lora_alpha", rank))
    for pattern, own in (settings.get(f"{prefix}alpha_pattern") or {}).items():
        plain = re.sub(r"\\(.)", r"\1", pattern.lstrip("^").rstrip("$"))
        if name == plain or name.endswith(f".{plain}"):
            alpha = float(own)
            break
    return alpha * rank**0.5 if settings.get(f"{prefix}use_rslora") else alpha


def _spellings(module: str) -> Iterator[str]:
    """Every name that some tool gives a layer."""
    if module.startswith(TEXTS[1]):
        own = module.removeprefix(f"{TEXTS[1]}text_model.")
        for prefix in (TEXTS[1], "lora_te2.", "text_encoders.clip_g.transformer."):
            yield f"{prefix}text_model.{own}"
        yield f"lora_te2_text_model_{own}".replace(".", "_")
        return
    if module.startswith(TEXTS[0]):
        own = module.removeprefix(TEXTS[0])
        old = re.sub(r"self_attn\.([qkv])_proj$", r"self_attn.to_\1", own)
        old = re.sub(r"self_attn\.out_proj$", "self_attn.to_out", old)
        for name in dict.fromkeys((own, old)):
            for prefix in ("text_encoder.", "lora_te.", "lora_te1.", "text_encoders.clip_l.transformer.", ""):
                yield f"{prefix}text_model.{name}"
            yield f"text_encoder.{name}"
            yield f"base_model.model.text_model.{name}"
        for prefix in ("lora_te_", "lora_te1_"):
            yield prefix + f"text_model.{own}".replace(".", "_")
        return
    for name in dict.fromkeys((module, module.removesuffix(".0"), *_first_releases(module))):
        for prefix in PREFIXES:
            yield prefix + name
        yield "lora_unet_" + name.replace(".", "_")
        head, _, last = name.rpartition(".")
        yield f"{head}.processor.{last}"
        yield f"unet.{head}.processor.{last}"


def _third(module: str, spelling: str) -> int | None:
    """Which third of a matrix is a projection's, where three lie in one; None where none does."""
    letter = re.search(r"\.(?:to|add)_([qkv])", module)
    return "qkv".index(letter[1]) if letter and re.search(r"attn[._]qkv$", spelling) else None


def _native(module: str) -> str:
    """A layer's name in the first release of FLUX.2, whose blocks are double or single."""
    found = re.fullmatch(r"(single_)?transformer_blocks\.(\d+)\.(.+)", module)
    if found is None:
        return module
    if found[1]:
        own = "linear1" if found[3] == "attn.to_qkv_mlp_proj" else "linear2"
        return f"single_blocks.{found[2]}.{own}"
    names = {f"attn.to_{one}": "img_attn.qkv" for one in "qkv"}
    names |= {f"attn.add_{one}_proj": "txt_attn.qkv" for one in "qkv"}
    names |= {"attn.to_out.0": "img_attn.proj", "attn.to_add_out": "txt_attn.proj"}
    names |= {"ff.linear_in": "img_mlp.0", "ff.linear_out": "img_mlp.2"}
    names |= {"ff_context.linear_in": "txt_mlp.0", "ff_context.linear_out": "txt_mlp.2"}
    return f"double_blocks.{found[2]}.{names.get(found[3], found[3])}"


def _first_releases(module: str) -> tuple[str, ...]:
    """Stable Diffusion XL has an attention before its first enlargement too, so that it is counted on."""
    first = _first_release(module)
    return _native(module), first, re.sub(r"^output_blocks\.2\.1\.conv$", "output_blocks.2.2.conv", first)


def _first_release(module: str) -> str:
    """A layer's name in the first release of Stable Diffusion, whose blocks are numbered through."""
    found = re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", module)
    names = {"conv1": "in_layers.2", "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1"}
    names["conv_shortcut"] = "skip_connection"
    if found:
        side, block, kind, layer = found[1], int(found[2]), found[3], int(found[4])
        if kind == "downsamplers":
            return f"input_blocks.{3 * block + 3}.0.op"
        if kind == "upsamplers":
            return f"output_blocks.{3 * block + 2}.{1 if block == 0 else 2}.conv"
        number = 3 * block + layer + (side == "down")
        place = "0" if kind == "resnets" else "1"
        blocks = "input_blocks" if side == "down" else "output_blocks"
        return f"{blocks}.{number}.{place}.{names.get(found[5], found[5])}"
    found = re.fullmatch(r"mid_block\.(attentions|resnets)\.(\d)\.(.+)", module)
    if found:
        number = 1 if found[1] == "attentions" else 2 * int(found[2])
        return f"middle_block.{number}.{names.get(found[3], found[3])}"
    tops = {"conv_in": "input_blocks.0.0", "conv_out": "out.2"}
    tops |= {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2"}
    tops |= {"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}
    return tops.get(module, module)
