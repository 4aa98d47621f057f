"""What is in a LoRA file: layout, ranks, alphas, how strong each block is, and the recipe it was made by."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from veneer.arguments import PathLike, given_path
from veneer.events import OnEvent
from veneer.lora.keys import OWN_BASE, OWN_RECIPE, OWN_STEP
from veneer.lora.kinds import family_of
from veneer.lora.merge import delta_norm
from veneer.lora.names import DENOISER, network_of
from veneer.lora.reader import broken_layers, file_of, read_lora
from veneer.lora.targets import ends_with
from veneer.lora.weights import Layout
from veneer.models.families import FAMILIES
from veneer.notebook import in_notebook
from veneer.records.html import rows_html

LAYER_KINDS = tuple(dict.fromkeys(one for f in FAMILIES[::-1] for own in f.targets.values() for one in own))


@dataclass(frozen=True)
class BlockInfo:
    """One block of the network.

    Attributes:
        block: Name, such as ``down_blocks.0`` or ``text_encoder``.
        num_layers: Adapted layers in it.
        norm: Frobenius norm of the update over these layers, unitless; a DoRA's magnitudes are left out.
    """

    block: str
    num_layers: int
    norm: float


@dataclass(frozen=True)
class LoraInfo:
    """What `inspect` finds.

    Attributes:
        layout: "diffusers", "kohya" or "peft".
        ranks: How many layers have which rank.
        alphas: How many layers have which alpha.
        num_layers: Adapted layers.
        num_parameters: Trained numbers.
        size_bytes: Size of the file.
        precision: Precision of the weights, such as ``float32``.
        layers: How many layers of each kind, such as ``to_q``.
        blocks: Strength of each block.
        family: Family of its base, such as "Stable Diffusion 1.x"; empty where no layer tells.
        broken: Layers with numbers that are not finite; such a file is refused wherever it would be used.
        base: Base that it was made for; empty where the file does not say.
        step: Optimizer step of the weights; empty where the file does not say.
        recipe: The recipe, as TOML; empty where the file does not say.
        metadata: All text in the file.
    """

    path: Path
    layout: Layout
    ranks: dict[int, int]
    alphas: dict[float, int]
    use_dora: bool
    num_layers: int
    num_parameters: int
    size_bytes: int
    precision: str
    layers: dict[str, int]
    blocks: tuple[BlockInfo, ...]
    base: str
    step: str
    recipe: str
    metadata: dict[str, str]
    family: str = ""
    broken: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line: layout, rank, alpha, layers, size."""
        ranks, alphas = (
            "/".join(f"{value:g}" for value in sorted(part)) for part in (self.ranks, self.alphas)
        )
        kind = "DoRA" if self.use_dora else "LoRA"
        return (
            f"{kind} in {self.layout} layout, rank {ranks}, alpha {alphas}, {self.num_layers} layers, "
            f"{self.num_parameters:,} numbers in {self.precision}, {self.size_bytes / 2**20:.1f} MiB"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: one row for each fact, and the strongest blocks."""
        strongest = sorted(self.blocks, key=lambda block: -block.norm)[:4]
        rows = {
            "what": self.summary,
            "base": self.base,
            "family": self.family,
            "step": self.step,
            "strongest": ", ".join(f"{block.block} {block.norm:.3g}" for block in strongest),
            "broken": ", ".join(self.broken),
        }
        return rows_html(f"LoRA {self.path}", rows)


def inspect(path: PathLike, on_event: OnEvent = in_notebook) -> LoraInfo:
    """Look into a LoRA file.

    Args:
        path: The `.safetensors` file, of Veneer or another tool.
        on_event: Listener for notices, such as an alpha that is missing.

    Returns:
        What is in it.

    Raises:
        AdapterError: If it is missing, damaged, or no LoRA.
    """
    path = file_of(given_path(path, "path"))
    lora = read_lora(path, on_event, may_be_broken=True)
    broken = broken_layers(lora)
    norms = {module: delta_norm(lora, module) for module in lora.modules if module not in broken}
    own = lora.metadata
    return LoraInfo(
        path=path,
        layout=lora.layout,
        ranks=dict(Counter(lora.ranks.values())),
        alphas=dict(Counter(lora.alphas.values())),
        use_dora=lora.use_dora,
        num_layers=len(lora.modules),
        num_parameters=sum(weight.numel() for weight in lora.state.values()),
        size_bytes=path.stat().st_size,
        precision=str(next(iter(lora.state.values())).dtype).removeprefix("torch."),
        layers=dict(Counter(layer_kind(module) for module in lora.modules)),
        blocks=tuple(_blocks(norms)),
        base=own.get(OWN_BASE) or own.get("ss_sd_model_name", ""),
        step=own.get(OWN_STEP) or own.get("ss_steps", ""),
        recipe=own.get(OWN_RECIPE, ""),
        metadata=dict(own),
        family=family.label if (family := family_of(lora.state, lora.metadata)) else "",
        broken=broken,
    )


def layer_kind(module: str) -> str:
    """Kind of a layer.

    Returns:
        The end of its name that says what it is, such as ``to_out.0``, ``ff.net.2`` or ``conv1``.
    """
    return next((ending for ending in LAYER_KINDS if ends_with(module, ending)), module.rpartition(".")[2])


def _blocks(norms: dict[str, float]) -> Iterable[BlockInfo]:
    blocks: dict[str, list[float]] = {}
    for module, norm in norms.items():
        blocks.setdefault(_block_of(module), []).append(norm)
    for block, values in sorted(blocks.items()):
        yield BlockInfo(block, len(values), math.sqrt(sum(value**2 for value in values)))


def _block_of(module: str) -> str:
    network, _ = network_of(module)
    if network != DENOISER:
        return network
    match = re.match(r"(?:down|up|(?:single_)?transformer)_blocks\.\d+|[a-z_]+", module)
    return match.group() if match else module
