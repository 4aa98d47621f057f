"""A LoRA on a frozen network: attached, switched off, scaled, read out and put back, through peft.

Module names are those of diffusers' UNet and transformers' text encoder. Weights are named as peft names
them, ``MODULE.lora_A.weight`` (r, in) and ``MODULE.lora_B.weight`` (out, r), without the adapter's own name.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from peft import LoraConfig, PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from veneer.config import LoraTable
from veneer.errors import AdapterError
from veneer.lora.targets import module_ranks, target_names
from veneer.seeds import torch_generator

ADAPTER = "default"
ADAPTER_MARKS = (".lora_", ".lokr_", ".hada_", ".oft_")
"""Parts of the names of adapters' parameters in peft."""


def attach(module: Any, lora: LoraTable, *, seed: int) -> None:
    """Put a fresh LoRA on a network; its output does not change yet, because B is zero.

    The adapter is float32 whatever the network's precision is, and its start is a function of the seed and
    the module's name alone. A text encoder gets it on q_proj, k_proj, v_proj and out_proj, whatever the
    target set. The target set `none` leaves a UNet as it is.

    Args:
        module: The UNet or the text encoder of a base; its own weights stay frozen.
        lora: Rank, alpha, targets and kind of the adapter.

    Raises:
        RecipeError: If a target or a rank's pattern matches no layer.

    Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1; rank-stabilised
        scale: Kalajdzievski 2023, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA"; DoRA:
        Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation", section 4.1.
    """
    names = target_names(module, lora)
    if not names:
        return
    ranks = module_ranks(names, lora)
    inject(
        module,
        ranks,
        dict.fromkeys(names, lora.lora_alpha),
        dropout=lora.dropout,
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
    )
    for name, layer in tuner_layers(module):
        _initialise(layer, lora, torch_generator(seed, "lora-init", item=name))


def inject(
    module: Any,
    ranks: Mapping[str, int],
    alphas: Mapping[str, float],
    *,
    dropout: float = 0.0,
    use_rslora: bool = False,
    use_dora: bool = False,
) -> None:
    """Put LoRA layers on named modules, float32, without touching torch's global generator.

    Args:
        module: The UNet or the text encoder.
        ranks: Rank by module name; these modules get a layer.
        alphas: Alpha by module name; the update is multiplied by alpha / rank.
        dropout: Dropout on the layers' input while training, in [0, 1).
        use_rslora: Whether the update is multiplied by alpha / sqrt(rank) instead.
    """
    rank, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=sorted(ranks),
        rank_pattern={exactly(name): value for name, value in ranks.items() if value != rank},
        alpha_pattern={exactly(name): value for name, value in alphas.items() if value != alpha},
        lora_dropout=dropout,
        use_rslora=use_rslora,
        use_dora=use_dora,
    )
    put_on(module, config)


def put_on(module: Any, config: PeftConfig) -> None:
    """Put peft's layers on a network, float32 and the only ones trained; torch's generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        module.add_adapter(config, adapter_name=ADAPTER)
    for name, parameter in module.named_parameters():
        if is_adapter_weight(name):
            # peft gives adapters the base's precision, in which small updates are rounded away.
            parameter.data = parameter.data.float()
        else:
            parameter.requires_grad_(False)


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The adapter's own parameters.

    Returns:
        Parameters that need a gradient, by peft's names, sorted by name.
    """
    named = {saved_name(name): part for name, part in module.named_parameters() if part.requires_grad}
    return dict(sorted(named.items()))


def adapter_state(module: nn.Module) -> dict[str, Tensor]:
    """Read the adapter out.

    Returns:
        Its weights by peft's names, sorted by name: float32, on the CPU, contiguous, detached copies.
    """
    named = {saved_name(name): part for name, part in module.named_parameters() if is_adapter_weight(name)}
    return {
        name: part.detach().to("cpu", torch.float32, copy=True).contiguous()
        for name, part in sorted(named.items())
    }


def load_adapter_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put weights into the attached adapter.

    Args:
        state: Weights by peft's names, exactly those that `adapter_state` gives.

    Raises:
        AdapterError: If a weight is missing, left over or of another shape.
    """
    own = {saved_name(name): part for name, part in module.named_parameters() if is_adapter_weight(name)}
    if missing := sorted(own.keys() ^ state.keys()):
        side = "the file lacks" if missing[0] in own else "the model has no place for"
        raise AdapterError(f"the adapter does not fit: {side} {missing[0]} and {len(missing) - 1} others")
    for name, parameter in own.items():
        if parameter.shape != state[name].shape:
            shapes = f"{tuple(state[name].shape)} in the file, {tuple(parameter.shape)} in the model"
            raise AdapterError(f"the adapter does not fit: {name} is {shapes}")
        with torch.no_grad():
            parameter.copy_(state[name])


@contextlib.contextmanager
def detached(module: nn.Module) -> Iterator[None]:
    """Switch the adapter off inside the block: the network is the base's own, to the bit."""
    layers = [layer for _, layer in tuner_layers(module)]
    # peft's own switch would also flip requires_grad, under the feet of a running optimizer.
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def set_scale(module: nn.Module, scale: float) -> None:
    """Set the adapter's strength.

    Args:
        scale: Factor on the trained strength: 1 as trained, 0 for the base.
    """
    for _, layer in tuner_layers(module):
        layer._disable_adapters = scale == 0  # a DoRA's magnitude would act on without its direction
        for name in layer.active_adapters:
            layer.set_scale(name, scale)


def is_adapter_weight(name: str) -> bool:
    """Tell an adapter's parameter from the base's.

    Returns:
        True for lora_A, lora_B and DoRA's magnitude, and for the weights of LoKr, LoHa and OFT.
    """
    return any(mark in name for mark in ADAPTER_MARKS)


def saved_name(name: str) -> str:
    """Name of an adapter's weight without the adapter's own name.

    Args:
        name: As in `named_parameters`, such as ``x.to_q.lora_A.default.weight``.

    Returns:
        As peft writes it to files, such as ``x.to_q.lora_A.weight``.
    """
    plain = name.replace(f".{ADAPTER}.", ".").removesuffix(f".{ADAPTER}")
    return plain.removesuffix(".weight") if "lora_magnitude_vector" in plain else plain


def exactly(name: str) -> str:
    """Pattern that peft matches against one module only.

    Args:
        name: Full name of the module.
    """
    return f"^{re.escape(name)}"


def tuner_layers(module: nn.Module) -> list[tuple[str, Any]]:
    """Peft's layers in a network, by name, sorted."""
    return sorted((name, part) for name, part in module.named_modules() if isinstance(part, BaseTunerLayer))


def _initialise(layer: Any, lora: LoraTable, generator: torch.Generator) -> None:
    down, up = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    draw = torch.empty(down.shape, dtype=torch.float32)
    if lora.init == "gaussian":
        draw.normal_(std=1 / down.shape[0], generator=generator)
    else:
        bound = 1 / math.sqrt(down[0].numel())  # kaiming uniform with a = sqrt(5), as in nn.Linear
        draw.uniform_(-bound, bound, generator=generator)
    with torch.no_grad():
        down.copy_(draw)
        up.zero_()
    if lora.use_dora:
        _start_magnitude(layer)


def _start_magnitude(layer: Any) -> None:
    """Norm of each output's weights, in float32 even where the base is rounded."""
    weight = layer.get_base_layer().weight.detach().float()
    magnitude = layer.lora_magnitude_vector[ADAPTER].weight
    magnitude.data = weight.flatten(1).norm(dim=1).reshape(magnitude.shape)
