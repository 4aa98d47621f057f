"""LoKr, LoHa and OFT through peft: put on a network, written as peft's own files, turned into a plain LoRA.

Few tools draw with these methods, so an export writes both: the method itself, exactly, and the nearest LoRA,
of a stated error, which every tool loads.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import (
    LoHaConfig,
    LoKrConfig,
    OFTConfig,
    PeftConfig,
    get_peft_model_state_dict,
    inject_adapter_in_model,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file
from torch import Tensor, nn

from veneer.config import LoraTable
from veneer.errors import AdapterError, RecipeError
from veneer.lora.adapter import ADAPTER, exactly, load_adapter_state, put_on, tuner_layers
from veneer.lora.file import write_weights
from veneer.lora.targets import module_ranks, target_names
from veneer.lora.weights import DOWN, UP
from veneer.records.files import write_text
from veneer.seeds import derive

LARGEST_RANK = 128
"""Rank above which a converted LoRA would be larger than it is worth."""
ERROR = 1e-3
"""Share of a layer's update that a converted LoRA may lose, by its norm, where the largest rank allows it."""
PEFT_WEIGHTS, PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"


@dataclass(frozen=True)
class Converted:
    """A plain LoRA in the place of another method's update.

    Attributes:
        state: Weights by peft's names; the update counts as it is, so that alpha is the rank.
        error: Share of the whole update that is lost, by its norm, in [0, 1].
    """

    state: dict[str, Tensor]
    error: float

    @property
    def rank(self) -> int:
        """Largest rank of a layer."""
        return max(len(one) for name, one in self.state.items() if name.endswith(DOWN))


def attach_method(module: Any, lora: LoraTable, *, seed: int) -> None:
    """Put LoKr, LoHa or OFT on a network; its output does not change yet.

    The adapter is float32, and its start is a function of the seed and the layer's name alone.

    Args:
        module: A network of a base; its own weights stay frozen.
        lora: Names the method; `rank` is the factors' rank, and OFT's block size.

    Raises:
        RecipeError: If OFT would be put on a convolution, or a target matches no layer.

    Source: Yeh et al. 2024, "Navigating Text-To-Image Customization: From LyCORIS Fine-Tuning to Model
    Evaluation", section 3 (LoHa, LoKr); Qiu et al. 2023, "Controlling Text-to-Image Diffusion by Orthogonal
    Finetuning", section 3.
    """
    names = target_names(module, lora)
    if not names:
        return
    kernels = [name for name in names if isinstance(module.get_submodule(name), nn.Conv2d)]
    if lora.method == "oft" and kernels:  # where peft's layer is not the base's own at no rotation
        what = f"OFT is put on linear layers alone, and {kernels[0]} is a convolution"
        raise RecipeError(
            what, where="lora.target_modules", todo='Name linear layers, such as "attention+ff"'
        )
    config = method_config(lora, module_ranks(names, lora))
    put_on(module, config)
    for name, layer in tuner_layers(module):
        if lora.method != "oft":  # which starts at no rotation, and draws nothing
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive(seed, "lora-init", item=name))
                layer.reset_adapter_parameters(ADAPTER)


def method_config(lora: LoraTable, ranks: Mapping[str, int]) -> PeftConfig:
    """Peft's settings of a method.

    Args:
        ranks: Rank by layer.
    """
    names = sorted(ranks)
    if lora.method == "oft":
        return OFTConfig(r=0, oft_block_size=lora.rank, target_modules=names)
    kind = LoKrConfig if lora.method == "lokr" else LoHaConfig
    pattern = {exactly(name): rank for name, rank in ranks.items() if rank != lora.rank}
    # peft divides by the layer's rank; alpha is a whole number only in its annotation
    return kind(r=lora.rank, alpha=lora.lora_alpha, target_modules=names, rank_pattern=pattern)


@torch.no_grad()
def layer_updates(module: Any) -> Iterator[tuple[str, Tensor]]:
    """Each layer's name and what the attached method adds to its weight, in the weight's shape."""
    for name, layer in tuner_layers(module):
        weight = layer.get_base_layer().weight
        before = weight.detach().clone()
        layer.merge()
        change = (weight.detach() - before).cpu()
        layer.merged_adapters.clear()
        weight.copy_(before)
        yield name, change


def as_lora(module: Any, *, error: float = ERROR, largest: int = LARGEST_RANK) -> Converted:
    """The plain LoRA that is nearest to the attached method, of the smallest rank that comes near enough.

    Args:
        module: A network with LoKr, LoHa or OFT on it; as before when this returns.
        error: Share of a layer's update that may be lost, by its norm.
        largest: Rank that is not exceeded, though more is lost.

    Source: Eckart and Young 1936, "The approximation of one matrix by another of lower rank".
    """
    state: dict[str, Tensor] = {}
    total = lost = 0.0
    for name, change in layer_updates(module):
        left, values, right = torch.linalg.svd(change.flatten(1).double(), full_matrices=False)
        energy = values.square()
        missing = energy.sum() - energy.cumsum(0)
        near = (missing <= error**2 * energy.sum()).nonzero()
        rank = min(int(near[0]) + 1 if len(near) else len(values), largest)
        root = values[:rank].sqrt()
        up, down = left[:, :rank] * root, root[:, None] * right[:rank]
        state[f"{name}.{UP}"] = up.float().reshape(len(up), rank, *[1] * (change.ndim - 2))
        state[f"{name}.{DOWN}"] = down.float().reshape(rank, *change.shape[1:])
        total += float(energy.sum())
        lost += float(energy[rank:].sum())
    return Converted(state, (lost / total) ** 0.5 if total else 0.0)


@contextlib.contextmanager
def method_applied(module: Any, lora: LoraTable, state: Mapping[str, Tensor]) -> Iterator[None]:
    """A trained method on a network inside the block; nothing where the state is empty.

    Args:
        state: Its weights by peft's names.
    """
    if state:
        attach_method(module, lora, seed=0)
        load_adapter_state(module, state)
    try:
        yield
    finally:
        remove_method(module)


def difference_of_peft(folder: Path, module: Any, lora: LoraTable, state: Mapping[str, Tensor]) -> float:
    """Load peft's own files back and compare each layer's update with the trained one's.

    Returns:
        The largest difference of a weight, as a share of the largest change.

    Raises:
        AdapterError: If they load as something else.
    """
    with method_applied(module, lora, state):
        trained = dict(layer_updates(module))
    config = PeftConfig.from_pretrained(str(folder))
    with torch.random.fork_rng(devices=[]):
        inject_adapter_in_model(config, module, ADAPTER)
    set_peft_model_state_dict(module, load_file(folder / PEFT_WEIGHTS), adapter_name=ADAPTER)
    found = dict(layer_updates(module))
    remove_method(module)
    largest = max(float(one.abs().max()) for one in trained.values())
    worst = max(float((found[name] - one).abs().max()) for name, one in trained.items())
    if not worst <= 1e-5 * max(largest, 1e-3) or found.keys() != trained.keys():
        raise AdapterError("peft's own files do not load as trained", where=str(folder))
    return worst / max(largest, 1e-3)


def write_peft(folder: Path, module: Any) -> None:
    """Write an attached method as peft's own files, which `PeftModel.from_pretrained` loads."""
    config = module.peft_config[ADAPTER]
    tensors = get_peft_model_state_dict(module, adapter_name=ADAPTER)
    named = {f"base_model.model.{name}": one.float() for name, one in tensors.items()}
    write_weights(folder / PEFT_WEIGHTS, named, {})
    plain = {key: sorted(v) if isinstance(v, set) else v for key, v in config.to_dict().items()}
    write_text(folder / PEFT_CONFIG, json.dumps(plain, indent=2, sort_keys=True) + "\n")


def remove_method(module: Any) -> None:
    """Take an attached method off: the network is the base's own again."""
    for name, layer in tuner_layers(module):
        home, _, own = name.rpartition(".")
        parent: nn.Module = module.get_submodule(home)
        setattr(parent, own, layer.get_base_layer())
    if hasattr(module, "peft_config"):
        del module.peft_config
        module._hf_peft_config_loaded = False
