"""Layers of a transformer as its first release names them: `diffusion_model.` and that name, for ComfyUI.

Three projections may lie there in one matrix. Its LoRA holds theirs side by side, exactly: A below A, and
B's in a block each. No file of this layout says an alpha; its update counts as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from veneer.lora.names import DENOISER, ENDINGS, LONGEST_NAME, bare_layer
from veneer.lora.weights import DOWN, UP, LoraFile
from veneer.models.families import FAMILIES
from veneer.models.families.family import LoraNames

NATIVE_PREFIX = "diffusion_model."


def native_tensors(lora: LoraFile, names: LoraNames) -> dict[str, Tensor]:
    """An adapter's weights under the first release's names.

    Args:
        names: Of a family that has such names.
    """
    tensors: dict[str, Tensor] = {}
    for layer, modules in _layers(lora, names).items():
        present = [module for module in modules if module in lora.alphas]
        downs = [lora.state[f"{module}.{DOWN}"] for module in present]
        ups = {module: _whole_up(lora, module) for module in present}
        rows = next(iter(ups.values())).shape[0]  # projections that lie in one have one width
        columns, blocks = sum(len(down) for down in downs), []
        first = 0
        for module in modules:
            block = torch.zeros(rows, columns, dtype=downs[0].dtype)
            if module in ups:
                block[:, first : first + ups[module].shape[1]] = ups[module]
                first += ups[module].shape[1]
            blocks.append(block)
        tensors[f"{NATIVE_PREFIX}{layer}.{DOWN}"] = torch.cat(downs)
        tensors[f"{NATIVE_PREFIX}{layer}.{UP}"] = torch.cat(blocks)
    return tensors


def renamed_natives(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors with the first release's layers of transformers under diffusers' names.

    Of a matrix that holds several projections each gets its own; ranks that do nothing in it are left out.
    """
    found: dict[str, Tensor] = {}
    fused: dict[str, tuple[tuple[str, ...], dict[str, Tensor]]] = {}
    for name, tensor in tensors.items():
        layer, kind = _split(name)
        modules = modules_at(layer) if kind else ()
        if not modules or (kind == "dora_scale" and len(modules) > 1):
            found[name] = tensor
        elif len(modules) == 1:
            found[f"{modules[0]}.{kind}"] = tensor
        else:
            fused.setdefault(layer, (modules, {}))[1][kind] = tensor
    for layer, (modules, parts) in fused.items():
        found |= _projections(layer, modules, parts)
    return found


def modules_at(layer: str) -> tuple[str, ...]:
    """The layers after diffusers that lie in one of a file's; none where it is not of a first release."""
    if len(layer) > LONGEST_NAME:
        return ()
    rest, network = bare_layer(layer)
    number = re.search(r"\.(\d{1,3})\.", rest)
    if network != DENOISER or number is None:
        return ()
    template = f"{rest[: number.start(1)]}{{}}{rest[number.end(1) :]}"
    for family in FAMILIES:
        own = tuple(one.format(number[1]) for one in family.lora.native.get(template, ()))
        if own and all(family.lora.layers.fullmatch(one) for one in own):
            return own
    return ()


def _layers(lora: LoraFile, names: LoraNames) -> dict[str, tuple[str, ...]]:
    """The first release's layers that an adapter has, and what lies in each."""
    homes = {own: (layer, all_of) for layer, all_of in names.native.items() for own in all_of}
    found: dict[str, tuple[str, ...]] = {}
    for module in lora.modules:
        number = re.search(r"\.(\d+)\.", module)
        assert number is not None, module
        layer, all_of = homes[f"{module[: number.start(1)]}{{}}{module[number.end(1) :]}"]
        found[layer.format(number[1])] = tuple(one.format(number[1]) for one in all_of)
    return found


def _whole_up(lora: LoraFile, module: str) -> Tensor:
    """B with the layer's strength in it."""
    up = lora.state[f"{module}.{UP}"]
    strength = lora.alphas[module] / up.shape[1]
    return up if strength == 1 else (up.float() * strength).to(up.dtype)


def _split(name: str) -> tuple[str, str]:
    """Layer and kind of a weight's name; no kind where it is none of a LoRA."""
    for kind, ending in ENDINGS:
        if match := ending.search(name[-LONGEST_NAME:]):
            return name[: len(name) - len(match.group())], kind
    return name, ""


def _projections(layer: str, modules: tuple[str, ...], parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each projection's own matrices; as they came, under the layer's name, where they do not divide."""
    down, up = parts.get(DOWN), parts.get(UP)
    is_whole = down is not None and up is not None and down.ndim == up.ndim == 2
    if not is_whole or down is None or up is None or len(up) % len(modules):
        return {f"{layer}.{kind}": tensor for kind, tensor in parts.items()}
    alpha = parts.get("alpha")
    strength = 1.0 if alpha is None else float(alpha) / max(1, len(down))
    found = {}
    for module, block in zip(modules, up.chunk(len(modules)), strict=True):
        used = (block != 0).any(dim=0)
        if not bool(used.any()):
            continue
        found[f"{module}.{DOWN}"] = down[used] if len(down) == len(used) else down
        found[f"{module}.{UP}"] = block[:, used] if strength == 1 else block[:, used] * strength
        found[f"{module}.alpha"] = torch.tensor(float(used.sum()))
    return found
