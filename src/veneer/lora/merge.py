"""Arithmetic on LoRAs: the update as a matrix, sums of several, smaller ranks, and merging into a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from veneer.errors import AdapterError
from veneer.lora.keys import OWN_BASE, OWN_FAMILY, OWN_MERGED
from veneer.lora.kinds import family_of
from veneer.lora.names import DENOISER, network_of
from veneer.lora.weights import DOWN, INPUT_MAGNITUDE, MAGNITUDE, UP, LoraFile

NO_DORA = "Merge it into its base with `veneer export --layout merged` instead"


@dataclass(frozen=True)
class Resized:
    """A LoRA of smaller rank.

    Attributes:
        kept: Share of the update's squared norm that is left, in [0, 1].
    """

    lora: LoraFile
    kept: float


def delta(lora: LoraFile, module: str) -> Tensor:
    """The update of one module's weight.

    Returns:
        ``alpha / rank * B @ A`` in float64, shape (out, in) or (out, in, k, k).
    """
    down, up = lora.state[f"{module}.{DOWN}"].double(), lora.state[f"{module}.{UP}"].double()
    product = up.flatten(1) @ down.flatten(1)
    return (product * (lora.alphas[module] / down.shape[0])).reshape(up.shape[0], *down.shape[1:])


def delta_norm(lora: LoraFile, module: str) -> float:
    """Frobenius norm of one module's update, without building it.

    Returns:
        The norm, unitless.
    """
    down, up = _factors(lora, module)
    square = torch.sum((up.T @ up) * (down @ down.T)).clamp_min(0)
    return float(square.sqrt())


def merge_adapters(loras: Sequence[LoraFile], weights: Sequence[float]) -> LoraFile:
    """Add several LoRAs up into one, exactly: their ranks are joined, so the rank is the sum.

    Args:
        loras: Adapters of the same base.
        weights: Factor on each one's update.

    Returns:
        An adapter whose update is the weighted sum of theirs; its alphas are its ranks.

    Raises:
        AdapterError: If one is a DoRA, the numbers differ, or families or a layer's shapes differ.
    """
    if len(loras) != len(weights) or not loras:
        raise AdapterError(
            f"{len(loras)} adapters and {len(weights)} weights", todo="Give one weight for each"
        )
    if any(lora.use_dora for lora in loras):
        raise AdapterError("a DoRA cannot be added to another adapter", todo=NO_DORA)
    families = sorted({one.label for lora in loras if (one := family_of(lora.state, lora.metadata))})
    if len(families) > 1:
        raise AdapterError(f"the adapters are made for different bases: {' and '.join(families)}")
    state: dict[str, Tensor] = {}
    for module in sorted({module for lora in loras for module in lora.modules}):
        parts = [(lora, weight) for lora, weight in zip(loras, weights, strict=True) if module in lora.alphas]
        downs = [lora.state[f"{module}.{DOWN}"].float() for lora, _ in parts]
        ups = [_weighted_up(lora, module, weight) for lora, weight in parts]
        _check_shapes(module, downs, ups)
        state[f"{module}.{DOWN}"] = torch.cat(downs, dim=0)
        state[f"{module}.{UP}"] = torch.cat(ups, dim=1)
    alphas = {
        name.removesuffix(f".{DOWN}"): float(part.shape[0]) for name, part in state.items() if DOWN in name
    }
    return LoraFile(state, alphas, metadata=_origin(loras, weights))


def resize_adapter(lora: LoraFile, rank: int) -> Resized:
    """Make an adapter smaller: the nearest update of a smaller rank, module by module.

    Args:
        rank: Rank of every module, >= 1; modules of smaller rank keep theirs.

    Returns:
        The adapter and the share of its update that is left; its alphas are its ranks.

    Raises:
        AdapterError: For a DoRA.

    Source: Eckart and Young 1936, "The approximation of one matrix by another of lower rank".
    """
    if lora.use_dora:
        raise AdapterError("the rank of a DoRA cannot be changed", todo=NO_DORA)
    state: dict[str, Tensor] = {}
    total = kept = 0.0
    for module in lora.modules:
        down, up = lora.state[f"{module}.{DOWN}"], lora.state[f"{module}.{UP}"]
        left, values, right = _svd(*_factors(lora, module))
        size = min(rank, down.shape[0])
        root = values[:size].sqrt()
        state[f"{module}.{UP}"] = (left[:, :size] * root).float().reshape(up.shape[0], size, *up.shape[2:])
        state[f"{module}.{DOWN}"] = (root[:, None] * right[:size]).float().reshape(size, *down.shape[1:])
        total += float(values.square().sum())
        kept += float(values[:size].square().sum())
    alphas = {module: float(state[f"{module}.{DOWN}"].shape[0]) for module in lora.modules}
    return Resized(replace(lora, state=state, alphas=alphas), kept / total if total else 1.0)


def merge_into(network: Any, lora: LoraFile, part: str = DENOISER, *, scale: float = 1.0) -> None:
    """Add an adapter's update to a network's own weights; no layer is added.

    Args:
        network: A network of the base.
        part: What it is: "unet", "text_encoder" or "text_encoder_2"; only the layers of that part change.
        scale: Factor on the update.

    Raises:
        AdapterError: If a layer does not exist in the network or has another shape.
    """
    for module in lora.modules:
        if network_of(module)[0] == part:
            _add(network, lora, module, scale)


def _add(network: nn.Module, lora: LoraFile, module: str, scale: float) -> None:
    name = network_of(module)[1]
    try:
        weight = network.get_parameter(f"{name}.weight")
    except AttributeError as error:
        raise AdapterError(
            f"the base has no layer {name}", todo="Take the base that the LoRA was made for"
        ) from error
    update = delta(lora, module)
    if update.numel() != weight.numel() or update.shape[0] != weight.shape[0]:
        shapes = f"{tuple(update.shape)} in the LoRA, {tuple(weight.shape)} in the base"
        raise AdapterError(f"the LoRA is made for another base: {name} is {shapes}")
    before = weight.detach().to("cpu", torch.float64)
    after = before + update.reshape(weight.shape)
    after = _with_magnitudes(lora, module, after)
    with torch.no_grad():
        weight.copy_(torch.lerp(before, after, scale))


def _with_magnitudes(lora: LoraFile, module: str, weight: Tensor) -> Tensor:
    """A DoRA's decomposed weight: the norms of its outputs, or of its inputs, are the trained magnitudes."""
    for kind, axis in ((MAGNITUDE, 0), (INPUT_MAGNITUDE, 1)):
        if (magnitude := lora.state.get(f"{module}.{kind}")) is not None:
            others = tuple(one for one in range(weight.ndim) if one != axis)
            norm: Tensor = torch.linalg.vector_norm(weight, dim=others, keepdim=True)
            decomposed: Tensor = weight * (magnitude.double().reshape(norm.shape) / norm)
            return decomposed
    return weight


def _factors(lora: LoraFile, module: str) -> tuple[Tensor, Tensor]:
    """A (r, in) and B (out, r) in float64, the scale in B."""
    down = lora.state[f"{module}.{DOWN}"].double().flatten(1)
    up = lora.state[f"{module}.{UP}"].double().flatten(1)
    return down, up * (lora.alphas[module] / down.shape[0])


def _svd(down: Tensor, up: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Singular values and vectors of B @ A, through matrices no larger than the rank."""
    up_basis, up_rest = torch.linalg.qr(up)
    down_basis, down_rest = torch.linalg.qr(down.T)
    left, values, right = torch.linalg.svd(up_rest @ down_rest.T, full_matrices=False)
    return up_basis @ left, values, right @ down_basis.T


def _weighted_up(lora: LoraFile, module: str, weight: float) -> Tensor:
    rank = lora.state[f"{module}.{DOWN}"].shape[0]
    return (lora.state[f"{module}.{UP}"].double() * (weight * lora.alphas[module] / rank)).float()


def _check_shapes(module: str, downs: Sequence[Tensor], ups: Sequence[Tensor]) -> None:
    if (
        len({part.shape[1:] for part in downs}) > 1
        or len({(part.shape[0], part.shape[2:]) for part in ups}) > 1
    ):
        raise AdapterError(f"the adapters are made for different bases: {module} differs in shape")


def _origin(loras: Sequence[LoraFile], weights: Sequence[float]) -> dict[str, str]:
    text = {OWN_MERGED: " + ".join(f"{weight:g}" for weight in weights)}
    for key in (OWN_BASE, OWN_FAMILY):
        said = {lora.metadata.get(key, "") for lora in loras} - {""}
        text |= {key: said.pop()} if len(said) == 1 else {}
    return text
