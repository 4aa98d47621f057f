"""A written LoRA file loaded back as a user would, its outputs held against the trained ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from torch import Tensor

from veneer.errors import AdapterError
from veneer.lora import reference
from veneer.lora.adapter import inject, load_adapter_state, set_scale
from veneer.lora.names import DENOISER, network_of, part_of
from veneer.lora.weights import LoraFile
from veneer.models.base import Base, assemble
from veneer.models.quiet import quiet_libraries
from veneer.seeds import torch_generator

TOLERANCE = 1e-3
TIMESTEPS = (20, 700)
LARGEST_SIDE = 16  # latents; enough to reach every layer, and quick at the real size


def verify(
    path: Path,
    lora: LoraFile,
    base: Base,
    *,
    tolerance: float = TOLERANCE,
    measure: Callable[[], float] | None = None,
) -> float:
    """Load a file back and compare what the networks say with what they say under the adapter itself.

    The file goes through diffusers' own `load_lora_weights`, except for a DoRA in kohya's layout, which
    diffusers does not read; and through `veneer.lora.reference`, which shares no code with writer and reader.

    Args:
        path: The written file, in diffusers' or kohya's layout.
        lora: The adapter that it should hold.
        base: The base with its UNet, and its text encoder where the adapter has a part for it; float32. Its
            modules are as before when this returns.
        tolerance: Largest difference that passes, as a share of the adapter's own effect.
        measure: What `outputs_with` gives for this adapter and base, where several files are checked.

    Returns:
        Largest difference of an output, divided by the largest change that the adapter makes.

    Raises:
        AdapterError: If the file loads as something else.
    """
    measure = measure or outputs_with(base, lora)
    with reference_applied(base, path):
        difference = measure()
    if difference <= tolerance and not (lora.use_dora and _is_kohya(path)):
        with _loaded_by_diffusers(base, path):
            difference = measure()
    if not difference <= tolerance:
        raise AdapterError(
            f"the written file does not load as trained: outputs differ by {difference:.2g} of its effect",
            where=str(path),
            todo="Please report it, with the recipe's [lora] table; the trained weights are safe in train/",
        )
    return difference


def outputs_with(
    base: Base, lora: LoraFile, scale: float = 1.0, file: Path | None = None
) -> Callable[[], float]:
    """Remember what a base says under an adapter, to hold something else against it.

    Args:
        base: The base, without adapter.
        file: The file that it came from, to take the outputs that the file gives in place of the adapter's.

    Returns:
        A function that gives the largest difference of the base's outputs as they are when it is called, as a
        share of the adapter's effect.
    """
    plain = _outputs(base, lora)
    with applied(base, lora, scale) if file is None else reference_applied(base, file, scale):
        wanted = _outputs(base, lora)
    return lambda: max(_difference(*three) for three in zip(plain, wanted, _outputs(base, lora), strict=True))


def verify_reading(path: Path, lora: LoraFile, base: Base, *, tolerance: float = TOLERANCE) -> None:
    """Hold what Veneer read from a file against what the file says by its format's definition.

    Args:
        lora: What was read from it.
        base: The base with its UNet and text encoder; as before when this returns.
        tolerance: Largest difference that passes, as a share of the adapter's own effect.

    Raises:
        AdapterError: If they differ.
    """
    if lora.is_by_inputs:  # nothing else can hold it; what is made of it is held against the file itself
        return
    measure = outputs_with(base, lora)
    with reference_applied(base, path):
        difference = measure()
    if not difference <= tolerance:
        raise AdapterError(
            f"the LoRA is not read as its format says: outputs differ by {difference:.2g} of its effect",
            where=str(path),
            todo="Please report it, with the file's address",
        )


@contextlib.contextmanager
def reference_applied(base: Base, path: Path, scale: float = 1.0) -> Iterator[None]:
    """A base with the weights that a LoRA's file gives it, by its format's definition, inside the block.

    Args:
        base: The base; networks that the file has no part for may be missing.

    Raises:
        AdapterError: If the file holds what does not belong to the base.
    """
    before: dict[str, Tensor] = {}
    try:
        try:
            for name, array in reference.changed_weights(path, _Weights(base)):
                parameter = _parameter(base, name)
                before[name] = parameter.to("cpu", copy=True)
                parameter.copy_(torch.lerp(before[name].double(), torch.from_numpy(array), scale))
        except ValueError as error:
            what = f"the LoRA is made for another base, or its file is not as its format says: {error}"
            raise AdapterError(what, where=str(path), todo="Take the base that it was made for") from error
        yield
    finally:
        for name, weight in before.items():
            _parameter(base, name).copy_(weight)


class _Weights(Mapping[str, npt.NDArray[np.float64]]):
    """Matrices and kernels of a base by name, each widened when it is asked for."""

    def __init__(self, base: Base) -> None:
        self._own = {
            (name if part == DENOISER else f"{part}.{name}"): parameter
            for part, network in base.networks.items()
            for name, parameter in network.named_parameters()
            if name.endswith(".weight") and parameter.ndim > 1
        }

    def __getitem__(self, name: str) -> npt.NDArray[np.float64]:
        return np.asarray(self._own[name].detach().cpu().double())

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)


def _parameter(base: Base, name: str) -> Tensor:
    part, own = network_of(name)
    return base.networks[part].get_parameter(own).data  # type: ignore[no-any-return]


def _is_kohya(path: Path) -> bool:
    with safe_open(path, "pt") as file:
        return any(name.endswith(".dora_scale") for name in file.keys())  # noqa: SIM118


@contextlib.contextmanager
def applied(base: Base, lora: LoraFile, scale: float = 1.0) -> Iterator[None]:
    """An adapter on a base's networks inside the block.

    Args:
        base: The base; networks that the adapter has no part for may be missing.

    Raises:
        AdapterError: If a layer of the adapter does not exist in the base, or has another shape.
    """
    lora.refuse_by_inputs("cannot be put on a network")
    worn = [(network, own) for part, network in base.networks.items() if (own := _part(lora, part)).alphas]
    try:
        for network, part in worn:
            _check_layers(network, part)
            inject(network, part.ranks, part.alphas, use_dora=part.use_dora)
            load_adapter_state(network, part.state)
            set_scale(network, scale)
        yield
    finally:
        _pipeline(base).unload_lora_weights()


def _part(lora: LoraFile, part: str) -> LoraFile:
    """The adapter of one network, under that network's own names."""
    return LoraFile(part_of(lora.state, part), part_of(lora.alphas, part))


def _check_layers(network: Any, part: LoraFile) -> None:
    missing = sorted(set(part.modules) - {name for name, _ in network.named_modules()})
    if missing:
        what = f"the LoRA is made for another base: it has {missing[0]} and {len(missing) - 1} more layers"
        raise AdapterError(what, todo="Take the base that it was made for")


@contextlib.contextmanager
def _loaded_by_diffusers(base: Base, path: Path) -> Iterator[None]:
    with quiet_libraries():  # it warns of networks for which the file has no part
        pipeline = _pipeline(base)
        try:
            pipeline.load_lora_weights(str(path.parent), weight_name=path.name)
            yield
        except (ValueError, RuntimeError, KeyError) as error:
            raise AdapterError(f"diffusers cannot load the written file: {error}", where=str(path)) from error
        finally:
            pipeline.unload_lora_weights()


def _pipeline(base: Base) -> Any:
    return assemble(base, "own")


@torch.no_grad()
def _outputs(base: Base, lora: LoraFile) -> list[Tensor]:
    """Outputs of the UNet at two noise levels, and of each text encoder that is adapted."""
    side = min(base.native_px // base.vae_factor, LARGEST_SIDE)
    channels = base.settings[base.family.denoiser]["in_channels"]
    generator = torch_generator(0, "lora-check")
    device, dtype = base.unet.device, base.unet.dtype

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, generator=generator)

    latents = draw((1, channels, side, side)).to(device, dtype)
    told = {name: one.to(device) for name, one in base.family.probe(base.settings, draw).items()}
    outputs = [
        base.family.predict(base.unet, latents, torch.tensor([step], device=device), told).float()
        for step in TIMESTEPS
    ]
    for part in sorted({network_of(module)[0] for module in lora.modules} - {DENOISER}):
        text_encoder = base.text_encoders[part]
        ids = torch.randint(0, text_encoder.config.vocab_size, (1, 77), generator=generator)
        outputs.append(text_encoder(ids.to(text_encoder.device), return_dict=False)[0].float())
    return outputs


def _difference(plain: Tensor, wanted: Tensor, found: Tensor) -> float:
    """Largest difference as a share of the adapter's effect; effects near rounding count as that much."""
    effect = float((wanted - plain).abs().max())
    floor = 1e-3 * float(plain.abs().max())
    return float((found - wanted).abs().max()) / max(effect, floor)
