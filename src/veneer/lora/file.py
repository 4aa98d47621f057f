"""LoRA files: written in two layouts, read back from either, whatever tool wrote them.

Files of equal content are equal to the byte: no date, and metadata in a fixed order.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from veneer.errors import AdapterError
from veneer.events import Notice, OnEvent, ignore
from veneer.lora.metadata import DIFFUSERS_KEY, adapter_metadata, alphas_of_metadata, kohya_metadata
from veneer.lora.names import TEXT_PREFIX, diffusers_name, kohya_name, module_of_kohya, weight_of_diffusers
from veneer.lora.weights import DOWN, MAGNITUDE, UP, LoraFile, split_name
from veneer.models.modelfiles import PICKLE_SUFFIXES, pickle_error
from veneer.records.files import write_bytes

OTHER_KINDS = {
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "lora_mid": "LoCon with a core tensor",
    "oft_": "OFT",
    "a1.": "GLoRA",
}


def write_diffusers(path: Path, lora: LoraFile) -> None:
    """Write an adapter in diffusers' layout, for `pipe.load_lora_weights`.

    Alpha, ranks and targets go into diffusers' own metadata key; without it alpha would count as the rank.

    Args:
        path: The file.
        lora: The adapter.
    """
    tensors = {}
    for name, weight in lora.state.items():
        module, kind = split_name(name)
        ending = kind if kind != MAGNITUDE else f"{MAGNITUDE}.weight"
        tensors[f"{diffusers_name(module)}.{ending}"] = weight
    own = {
        DIFFUSERS_KEY: json.dumps(adapter_metadata(lora.ranks, lora.alphas, lora.use_dora), sort_keys=True)
    }
    write_tensors(path, tensors, {**_carried(lora), **own})


def write_kohya(path: Path, lora: LoraFile) -> None:
    """Write an adapter in kohya's layout, for A1111, ComfyUI and Forge.

    Every module gets the same alpha, because diffusers takes no notice of one that differs; where the true
    ones differ, the rest goes into lora_up.

    Args:
        path: The file.
        lora: The adapter.
    """
    alpha = lora.alpha
    tensors: dict[str, Tensor] = {}
    for name, weight in lora.state.items():
        module, kind = split_name(name)
        target = kohya_name(module)
        match kind:
            case "lora_A.weight":
                tensors[f"{target}.lora_down.weight"] = weight
                tensors[f"{target}.alpha"] = torch.tensor(alpha, dtype=weight.dtype)
            case "lora_B.weight":
                ratio = lora.alphas[module] / alpha
                tensors[f"{target}.lora_up.weight"] = (
                    weight if ratio == 1 else (weight.float() * ratio).to(weight.dtype)
                )
            case _:
                tensors[f"{target}.dora_scale"] = weight.reshape(
                    -1, *[1] * (lora.state[f"{module}.{DOWN}"].ndim - 1)
                )
    write_tensors(path, tensors, {**_carried(lora), **kohya_metadata(lora, path.stem)}, hashed=True)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, hashed: bool = False
) -> None:
    """Write a safetensors file whose bytes depend on its content alone.

    Args:
        path: The file.
        tensors: Weights by name.
        metadata: Text by key; safetensors itself would write it in a random order.
        hashed: Whether to add the hashes over the weights that model managers look for.
    """
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in sorted(tensors.items())}
    raw = safetensors.torch.save(plain)
    length = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    text = {**metadata, "format": "pt"}
    if hashed:
        digest = hashlib.sha256(data).hexdigest()
        text |= {
            "modelspec.hash_sha256": f"0x{digest}",
            "sshs_model_hash": digest,
            "sshs_legacy_hash": digest[:8],
        }
    header = {"__metadata__": dict(sorted(text.items())), **header}
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)
    write_bytes(path, len(encoded).to_bytes(8, "little") + encoded + data)


def read_lora(path: Path, on_event: OnEvent = ignore) -> LoraFile:
    """Read a LoRA file of any layout, of Veneer or another tool.

    Args:
        path: The `.safetensors` file.
        on_event: Listener; told where the file does not say its alpha.

    Returns:
        The adapter, its weights in the file's precision.

    Raises:
        AdapterError: If the file is missing, damaged, a pickle, no LoRA, or of another family.
    """
    tensors, metadata = _read(path)
    kind = next((kind for mark, kind in OTHER_KINDS.items() if any(mark in name for name in tensors)), None)
    if kind is not None:
        raise AdapterError(
            f"this adapter is a {kind}, not a LoRA", where=str(path), todo="Take a LoRA's file"
        )
    if len(tensors) == 1 and "." not in (word := next(iter(tensors))) and tensors[word].ndim <= 2:
        what = f"the file holds a learnt word, {word} (textual inversion), and no LoRA"
        raise AdapterError(what, where=str(path), todo="Draw with `veneer generate --embedding FILE`")
    if any(name.startswith(("lora_unet_", "lora_te")) for name in tensors):
        lora = _from_kohya(path, tensors, metadata)
    else:
        lora = _from_diffusers(tensors, metadata)
    if not lora.alphas:
        raise AdapterError("the file holds no LoRA", where=str(path), todo="Name a LoRA's .safetensors file")
    _check_pairs(path, lora)
    return _with_alphas(path, lora, on_event)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if path.suffix in PICKLE_SUFFIXES:
        raise AdapterError(pickle_error(path).what, where=str(path), todo="Take the LoRA's .safetensors file")
    if not path.is_file():
        raise AdapterError("no such LoRA file", where=str(path), todo="Name a .safetensors file")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = dict(file.metadata() or {})
            return {name: file.get_tensor(name) for name in sorted(file.keys())}, metadata
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"the LoRA file is damaged: {error}", where=str(path)) from error


def _from_diffusers(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> LoraFile:
    state = {weight_of_diffusers(name): tensor for name, tensor in tensors.items() if "lora" in name}
    state = {name: tensor for name, tensor in state.items() if ".lora_" in name}
    modules = {split_name(name)[0] for name in state}
    settings = json.loads(metadata.get(DIFFUSERS_KEY, "null"))
    ranks = {
        module: int(state[f"{module}.{DOWN}"].shape[0]) for module in modules if f"{module}.{DOWN}" in state
    }
    alphas = alphas_of_metadata(settings, ranks) if settings else dict.fromkeys(modules, math.nan)
    is_plain = not any(name.startswith(("unet.", TEXT_PREFIX)) for name in tensors)
    return LoraFile(state, alphas, "peft" if is_plain else "diffusers", metadata)


def _from_kohya(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> LoraFile:
    state: dict[str, Tensor] = {}
    alphas: dict[str, float] = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.partition(".")
        try:
            module = module_of_kohya(layer)
        except ValueError as error:
            todo = "Veneer reads LoRAs of Stable Diffusion 1.x and 2.x"
            raise AdapterError(f"a layer of another family: {layer}", where=str(path), todo=todo) from error
        match kind:
            case "lora_down.weight":
                state[f"{module}.{DOWN}"] = tensor
                alphas.setdefault(module, math.nan)
            case "lora_up.weight":
                state[f"{module}.{UP}"] = tensor
            case "dora_scale":
                state[f"{module}.{MAGNITUDE}"] = tensor.flatten()
            case "alpha":
                alphas[module] = float(tensor)
            case _:
                raise AdapterError(f"unknown weight {name}", where=str(path))
    for module in alphas:
        name = f"{module}.{MAGNITUDE}"
        if name in state and state[f"{module}.{DOWN}"].ndim == 4:
            state[name] = state[name].reshape(1, -1, 1, 1)  # as peft has it for convolutions
    return LoraFile(state, alphas, "kohya", metadata)


def _check_pairs(path: Path, lora: LoraFile) -> None:
    for module in lora.modules:
        shapes = [
            lora.state[name].shape for name in (f"{module}.{DOWN}", f"{module}.{UP}") if name in lora.state
        ]
        if len(shapes) != 2 or shapes[0][0] != shapes[1][1]:
            raise AdapterError(f"the LoRA file is damaged: {module} is incomplete", where=str(path))


def _with_alphas(path: Path, lora: LoraFile, on_event: OnEvent) -> LoraFile:
    unknown = [module for module, alpha in lora.alphas.items() if math.isnan(alpha)]
    if unknown:
        message = f"{path} does not say its alpha; it is taken for the rank, as other tools do"
        on_event(Notice("lora", "lora-alpha-missing", message))
    ranks = lora.ranks
    return replace(lora, alphas=dict(lora.alphas) | {module: float(ranks[module]) for module in unknown})


def _carried(lora: LoraFile) -> dict[str, str]:
    """Metadata that stays with an adapter when it changes its layout."""
    return {key: text for key, text in lora.metadata.items() if key.startswith("veneer.")}
