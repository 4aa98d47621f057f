"""LoRA files read, of whatever tool and layout; what is damaged or no LoRA of ours is refused by name.

Every file comes through `read_lora`, so that what is checked here holds wherever a LoRA is used.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from veneer.errors import AdapterError
from veneer.events import Notice, OnEvent, ignore
from veneer.lora.embedding_file import ENCODER_KEYS, is_embedding
from veneer.lora.kinds import BUNDLED, refusal, shown_name
from veneer.lora.metadata import DIFFUSERS_KEY, alphas_of_metadata
from veneer.lora.names import DENOISER, LORA_NETWORKS, SECOND_TEXT_PREFIX, TEXT_PREFIX, read_name
from veneer.lora.native import NATIVE_PREFIX, modules_at, renamed_natives
from veneer.lora.tensorfile import FLOATS, read_tensors
from veneer.lora.weights import DOWN, INPUT_MAGNITUDE, MAGNITUDE, UP, Layout, LoraFile

SMALL_FLOATS = tuple(
    getattr(torch, name) for name in ("float8_e4m3fn", "float8_e5m2") if hasattr(torch, name)
)
"""Read as float16, which holds all their numbers."""
USUAL_NAME = "pytorch_lora_weights.safetensors"
PEFT_SETTINGS = "adapter_config.json"


@dataclass
class _Found:
    """Weights by module, as they are collected."""

    state: dict[str, Tensor] = field(default_factory=dict)
    alphas: dict[str, float] = field(default_factory=dict)
    scales: dict[str, Tensor] = field(default_factory=dict)


def read_lora(path: Path, on_event: OnEvent = ignore, *, may_be_broken: bool = False) -> LoraFile:
    """Read a LoRA file of any layout, of Veneer or another tool.

    Args:
        path: The `.safetensors` file, or a folder with one.
        on_event: Listener; told where the file does not say its alpha, or holds more than is read.
        may_be_broken: Whether weights may be no finite numbers; to look at them only.

    Returns:
        The adapter, its weights in the file's precision.

    Raises:
        AdapterError: If the file is missing, damaged, a pickle, no LoRA, of another family, or holds weights
            that are no finite numbers.
    """
    path = file_of(path)
    tensors, metadata = read_tensors(path, "LoRA")
    bundled = [name for name in tensors if name.startswith(BUNDLED)]
    if bundled:
        words = sorted({name.split(".")[1] for name in bundled})
        message = f"learnt words inside the file are not used: {shown_name(', '.join(words))}"
        on_event(Notice("lora", "bundled-words", message))
    _refuse_word(path, tensors)
    found = _collect(path, {name: tensor for name, tensor in tensors.items() if name not in bundled})
    for module in sorted(_modules(found)):
        _check_layer(path, module, found)
    unsaid = _modules(found) - found.alphas.keys()
    alphas = found.alphas | dict.fromkeys(unsaid, math.nan)
    lora = LoraFile(found.state, alphas, _layout(tensors), metadata)
    lora = _with_alphas(path, lora, unsaid, on_event)
    broken = broken_layers(lora)
    if broken and not may_be_broken:
        what = f"the LoRA holds numbers that are not finite in {len(broken)} layers, the first is {broken[0]}"
        raise AdapterError(
            what, where=str(path), todo="Take the file again, or an earlier step's: it is useless"
        )
    return lora


def broken_layers(lora: LoraFile) -> tuple[str, ...]:
    """Layers with a weight or an alpha that is no finite number.

    Returns:
        Names of their modules, sorted.
    """
    names = {name.rpartition(".lora_")[0] for name, one in lora.state.items() if not _is_finite(one)}
    return tuple(
        sorted(names | {module for module, alpha in lora.alphas.items() if not math.isfinite(alpha)})
    )


def file_of(path: Path) -> Path:
    """The LoRA file that a path means.

    Returns:
        The file itself; of a folder the one that diffusers would load, or else the only one in it.

    Raises:
        AdapterError: If a folder holds none, or several of equal right.
    """
    if not path.is_dir():
        return path
    for usual in (path / USUAL_NAME, path / "lora" / USUAL_NAME):
        if usual.is_file():
            return usual
    there = sorted(path.glob("*.safetensors"))
    if len(there) == 1:
        return there[0]
    names = ", ".join(shown_name(one.name) for one in there[:5])
    what = (
        f"the folder holds {len(there)} files that may be meant: {names}"
        if there
        else "the folder holds no LoRA"
    )
    raise AdapterError(what, where=str(path), todo="Name the .safetensors file itself")


def _refuse_word(path: Path, tensors: Mapping[str, Tensor]) -> None:
    if is_embedding(tensors) and "." not in (word := next(iter(tensors))):
        word = path.stem if word in ENCODER_KEYS else word
        what = f"the file holds a learnt word, {shown_name(word)} (textual inversion), and no LoRA"
        raise AdapterError(what, where=str(path), todo="Draw with `veneer generate --embedding FILE`")


def _collect(path: Path, tensors: Mapping[str, Tensor]) -> _Found:
    found, unknown = _Found(), []
    for name, tensor in renamed_natives(tensors).items():
        try:
            module, kind = read_name(name)
        except ValueError:
            unknown.append(name)
            continue
        _take(path, found, module, kind, tensor)
    if unknown or not _modules(found):
        raise refusal(path, unknown, is_lora=bool(found.state))
    return found


def _take(path: Path, found: _Found, module: str, kind: str, tensor: Tensor) -> None:
    """Put a weight where it belongs; two of one layer are one too many."""
    match kind:
        case "alpha":
            if module in found.alphas or tensor.numel() != 1 or tensor.is_complex():
                raise _damaged(path, module, "its alpha is no number, or there twice")
            found.alphas[module] = float(tensor)
            return
        case "dora_scale":
            home, name = found.scales, module
        case _:
            home, name = found.state, f"{module}.{kind}"
    if name in home:
        raise _damaged(path, module, "it is there twice, under two names")
    if tensor.dtype in SMALL_FLOATS:
        tensor = tensor.half()
    if tensor.dtype not in FLOATS:
        raise _damaged(path, module, f"its weights are {str(tensor.dtype).removeprefix('torch.')}")
    home[name] = tensor


def _modules(found: _Found) -> set[str]:
    return {name.rpartition(".lora_")[0] for name in found.state} | set(found.alphas) | set(found.scales)


def _check_layer(path: Path, module: str, found: _Found) -> None:
    """Both matrices are there and fit each other and the magnitudes, which get their place."""
    down, up = found.state.get(f"{module}.{DOWN}"), found.state.get(f"{module}.{UP}")
    if down is None or up is None:
        raise _damaged(path, module, "it is incomplete")
    fits = down.ndim in {2, 4} and up.ndim in {2, 4} and down.shape[0] == up.shape[1]
    if not fits or 0 in down.shape or 0 in up.shape or math.prod(up.shape[2:]) != 1:
        raise _damaged(path, module, f"its matrices are {tuple(down.shape)} and {tuple(up.shape)}")
    if up.ndim != down.ndim:
        found.state[f"{module}.{UP}"] = up.reshape(*up.shape[:2], *[1] * (down.ndim - 2))
    if (magnitude := found.state.get(f"{module}.{MAGNITUDE}")) is not None and magnitude.numel() != up.shape[
        0
    ]:
        raise _damaged(path, module, f"its magnitudes are {tuple(magnitude.shape)}")
    if module in found.scales:
        name, scale = _magnitude(path, module, found.scales[module], down, up)
        found.state[f"{module}.{name}"] = scale


def _magnitude(path: Path, module: str, scale: Tensor, down: Tensor, up: Tensor) -> tuple[str, Tensor]:
    """Magnitudes of outputs, in peft's shape, or of inputs: told by the first axis, as ComfyUI does."""
    outputs, inputs = up.shape[0], down.shape[1]
    if scale.numel() == outputs and (scale.ndim <= 1 or scale.shape[0] == outputs):
        return MAGNITUDE, scale.reshape(1, -1, 1, 1) if down.ndim == 4 else scale.flatten()
    if scale.ndim == max(2, down.ndim) and scale.shape[:2] == (1, inputs) and scale.numel() == inputs:
        return INPUT_MAGNITUDE, scale
    raise _damaged(path, module, f"its magnitudes are {tuple(scale.shape)}")


def _layout(tensors: Mapping[str, Tensor]) -> Layout:
    if any(name.startswith(("lora_unet_", "lora_te")) or ".lora_down." in name for name in tensors):
        return "kohya"
    if all(name.startswith(NATIVE_PREFIX) and modules_at(name.partition(".lora_")[0]) for name in tensors):
        return "comfyui"
    own = ("unet.", "transformer.", TEXT_PREFIX, SECOND_TEXT_PREFIX)
    return "diffusers" if any(name.startswith(own) for name in tensors) else "peft"


def _with_alphas(path: Path, lora: LoraFile, unsaid: set[str], on_event: OnEvent) -> LoraFile:
    """Alphas that no weight of the file says: from its settings, or else the ranks, and that is told."""
    unknown = {module: rank for module, rank in lora.ranks.items() if module in unsaid}
    settings = _settings(path, lora, on_event) if unknown else {}
    said: dict[str, float] = {}
    if settings:
        try:
            said = alphas_of_metadata(settings, unknown)
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            message = f"the settings in {path} are not read: {shown_name(str(error))}"
            on_event(Notice("lora", "lora-settings-unread", message))
    if unknown and not said and lora.layout != "comfyui":  # which counts an update as it is
        message = f"{path} does not say its alpha; it is taken for the rank, as other tools do"
        on_event(Notice("lora", "lora-alpha-missing", message))
    ranks = {module: float(rank) for module, rank in unknown.items()}
    return replace(lora, alphas=dict(lora.alphas) | ranks | said)


def _settings(path: Path, lora: LoraFile, on_event: OnEvent) -> Mapping[str, Any]:
    """Settings in the file, as diffusers writes them, or beside it, as peft does."""
    text, beside = lora.metadata.get(DIFFUSERS_KEY), path.with_name(PEFT_SETTINGS)
    is_peft = text is None and path.stem == "adapter_model" and beside.is_file()
    try:
        plain = json.loads(beside.read_text("utf-8") if is_peft else text or "{}")
        if not isinstance(plain, dict):
            raise ValueError("no table")
    except (ValueError, OSError, RecursionError) as error:
        message = f"the settings of {path} are damaged and not used: {shown_name(str(error))}"
        on_event(Notice("lora", "lora-settings-unread", message))
        return {}
    if is_peft:
        return {f"{network}.{key}": value for network in LORA_NETWORKS for key, value in plain.items()}
    return {re.sub(r"^transformer\.", f"{DENOISER}.", str(key)): value for key, value in plain.items()}


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _damaged(path: Path, module: str, why: str) -> AdapterError:
    return AdapterError(
        f"the LoRA file is damaged: {module}: {why}", where=str(path), todo="Take the file again"
    )
