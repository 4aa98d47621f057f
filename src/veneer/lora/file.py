"""LoRA files written in two layouts.

Files of equal content are equal to the byte: no date, and metadata in a fixed order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from veneer.errors import AdapterError
from veneer.lora.keys import OWN_PREFIX
from veneer.lora.kinds import family_of
from veneer.lora.metadata import DIFFUSERS_KEY, adapter_metadata, kohya_metadata
from veneer.lora.names import DENOISER, diffusers_name, kohya_name
from veneer.lora.native import native_tensors
from veneer.lora.weights import DOWN, INPUT_MAGNITUDE, MAGNITUDE, LoraFile, split_name
from veneer.models.families import Family
from veneer.models.families.family import LoraNames
from veneer.models.families.sd import SD1
from veneer.records.files import write_bytes


def write_diffusers(path: Path, lora: LoraFile) -> None:
    """Write an adapter in diffusers' layout, for `pipe.load_lora_weights`.

    Alpha, ranks and targets go into diffusers' own metadata key; without it alpha would count as the rank.

    Raises:
        AdapterError: For a DoRA over the input axis.
    """
    lora.refuse_by_inputs("cannot be written in diffusers' layout")
    own = {DIFFUSERS_KEY: json.dumps(diffusers_settings(lora), sort_keys=True)}
    write_weights(path, diffusers_tensors(lora), {**_carried(lora), **own})


def diffusers_tensors(lora: LoraFile) -> dict[str, Tensor]:
    """Weights under the names of diffusers' layout."""
    tensors, denoiser = {}, _family(lora).denoiser
    for name, weight in lora.state.items():
        module, kind = split_name(name)
        ending = kind if kind != MAGNITUDE else f"{MAGNITUDE}.weight"
        tensors[f"{diffusers_name(module, denoiser)}.{ending}"] = weight
    return tensors


def diffusers_settings(lora: LoraFile) -> dict[str, Any]:
    """Settings from which diffusers builds the adapter again.

    Returns:
        Arguments of peft's `LoraConfig`, each with the prefix of its network.
    """
    settings = adapter_metadata(lora.ranks, lora.alphas, lora.use_dora)
    own, theirs = f"{DENOISER}.", f"{_family(lora).denoiser}."
    return {key.replace(own, theirs, 1) if key.startswith(own) else key: v for key, v in settings.items()}


def write_kohya(path: Path, lora: LoraFile) -> None:
    """Write an adapter in kohya's layout, for A1111, ComfyUI and Forge; of a transformer, in ComfyUI's.

    Every module gets the same alpha, because diffusers takes no notice of one that differs; where the true
    ones differ, the rest goes into lora_up.

    Raises:
        AdapterError: For a DoRA whose family's second layout cannot hold it.
    """
    names = _family(lora).lora
    text = {**_carried(lora), **kohya_metadata(lora, path.stem)}
    if names.native:
        if lora.use_dora:
            raise AdapterError(f"a DoRA of {_family(lora).label} cannot be written in ComfyUI's layout")
        write_weights(path, native_tensors(lora, names), text, hashed=True)
    else:
        write_weights(path, _kohya_tensors(lora, names), text, hashed=True)


def _kohya_tensors(lora: LoraFile, names: LoraNames) -> dict[str, Tensor]:
    alpha = lora.alpha
    tensors: dict[str, Tensor] = {}
    for name, weight in lora.state.items():
        module, kind = split_name(name)
        target = kohya_name(module, names)
        match kind:
            case "lora_A.weight":
                tensors[f"{target}.lora_down.weight"] = weight
                tensors[f"{target}.alpha"] = torch.tensor(alpha, dtype=weight.dtype)
            case "lora_B.weight":
                ratio = lora.alphas[module] / alpha
                tensors[f"{target}.lora_up.weight"] = (
                    weight if ratio == 1 else (weight.float() * ratio).to(weight.dtype)
                )
            case _ if kind == INPUT_MAGNITUDE:
                tensors[f"{target}.dora_scale"] = weight
            case _:
                tensors[f"{target}.dora_scale"] = weight.reshape(
                    -1, *[1] * (lora.state[f"{module}.{DOWN}"].ndim - 1)
                )
    return tensors


def _family(lora: LoraFile) -> Family:
    return family_of(lora.state, lora.metadata) or SD1


def write_weights(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, hashed: bool = False
) -> None:
    """Write a safetensors file whose bytes depend on its content alone.

    Args:
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


def _carried(lora: LoraFile) -> dict[str, str]:
    """Metadata that stays with an adapter when it changes its layout."""
    return {key: text for key, text in lora.metadata.items() if key.startswith(OWN_PREFIX)}
