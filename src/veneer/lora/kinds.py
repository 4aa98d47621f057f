"""What a LoRA file is, told by its names: the family that it is of; or refused by name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor

from veneer.errors import AdapterError
from veneer.lora.keys import OWN_FAMILY
from veneer.lora.names import LONGEST_NAME, TEXT_PREFIX
from veneer.models.families import FAMILIES, Family, family_named
from veneer.models.families.sdxl import SDXL

OTHER_ADAPTERS = {
    re.compile(r"\.hada_"): "a LoHa, not a LoRA",
    re.compile(r"\.lokr_"): "a LoKr, not a LoRA",
    re.compile(r"\.lora_mid"): "a LoCon with core tensors, not a LoRA",
    re.compile(r"\.(?:oft|boft)_|\.oft_"): "an OFT, not a LoRA",
    re.compile(r"\.[ab][12]\."): "a GLoRA, not a LoRA",
    re.compile(r"\.(?:diff|diff_b|set_weight)$"): "a full difference of weights (LyCORIS full), not a LoRA",
    re.compile(r"\.[wb]_norm$"): "a LyCORIS with trained norms, which no LoRA holds",
    re.compile(r"\.on_input$"): "an IA3, not a LoRA",
    re.compile(r"vera_lambda"): "a VeRA, not a LoRA",
    re.compile(r"lora_embedding_[AB]"): "a LoRA on token embeddings",
    re.compile(r"^lora_controlnet_|\.controlnet\.|^control_model\."): "made for a ControlNet",
    re.compile(r"^(?:model\.diffusion_model|first_stage_model|cond_stage_model)\.(?!.*lora).*\.weight$"):
        "a whole model, not a LoRA",
    re.compile(r"^(?:conv_in|encoder\.conv_in|text_model\.final_layer_norm)\.weight$"):
        "a part of a whole model, not a LoRA",
}  # fmt: skip
"""Patterns that are searched in names."""
STRANGERS = {
    re.compile(r"double_blocks[._]\d|single_blocks[._]\d|single_transformer_blocks[._]\d"): "Flux",
    re.compile(r"joint_blocks[._]\d|joint_transformer_blocks[._]\d"): "Stable Diffusion 3",
    re.compile(r"lora_prior_|^prior\."): "Stable Cascade",
    re.compile(r"motion_modules"): "AnimateDiff",
    re.compile(r"(?:^|\.)model\.layers\.\d+\.(?:self_attn|mlp)\."): "a language model",
    re.compile(r"^(?:base_model\.model\.|(?:model\.)?diffusion_model\.|lora_unet_|unet\.)?(?:blocks|layers)[._]"):
        "a diffusion transformer",
    re.compile(r"^lora_transformer_|^(?:transformer|dit)\."): "a diffusion transformer",
}  # fmt: skip
OF_SDXL = re.compile(r"^text_encoder_2\.|^add_embedding\.|\.transformer_blocks\.[1-9]")
"""Layers that Stable Diffusion XL alone has."""
BUNDLED = "bundle_emb."
"""Prefix of learnt words that some tools put into a LoRA's file."""
_WAY_OUT = "Veneer reads LoRAs of Stable Diffusion 1.x, 2.x, XL and FLUX.2-klein"


def refusal(path: Path, unknown: Collection[str], *, is_lora: bool) -> AdapterError:
    """The refusal of a file that holds something else than a LoRA of ours, by its name.

    Args:
        unknown: Names in it that no LoRA of a family that is customised has.
        is_lora: Whether it has other names too, which are those of such a LoRA.
    """
    for marks, say in ((OTHER_ADAPTERS, "this file is {}"), (STRANGERS, "the LoRA is of another family, {}")):
        for mark, kind in marks.items():
            found = next((name for name in unknown if mark.search(name[:LONGEST_NAME])), None)
            if found is not None:
                return AdapterError(
                    f"{say.format(kind)}: it holds {shown_name(found)}", where=str(path), todo=_WAY_OUT
                )
    if is_lora or any("lora" in name for name in unknown):
        what = f"the LoRA has a weight that is not known: {shown_name(min(unknown))}"
        return AdapterError(what, where=str(path), todo=_WAY_OUT)
    return AdapterError("the file holds no LoRA", where=str(path), todo="Name a LoRA's .safetensors file")


def family_of(state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Family | None:
    """Family that an adapter was made for: as its file says, by its layers, or by their widths.

    Args:
        state: Weights by peft's names.
        metadata: Text that the file carries.

    Returns:
        The family; None where nothing tells, as for small bases.
    """
    if said := (metadata or {}).get(OWN_FAMILY):
        return family_named(said)
    for family in FAMILIES:
        if family.lora.native and state and all(family.lora.layers.match(name) for name in state):
            return family
    if any(OF_SDXL.search(name) for name in state):
        return SDXL
    for name, weight in state.items():
        is_text = name.startswith(TEXT_PREFIX) and ".q_proj." in name
        if name.endswith("lora_A.weight") and (is_text or re.search(r"\.attn2\.to_[kv]\.", name)):
            width = int(weight.shape[1]) if weight.ndim > 1 else 0
            own = [one for one in FAMILIES if one.lora.width == width]
            return own[0] if own else None
    return None


def shown_name(name: str, length: int = 100) -> str:
    """A stranger's name, fit to be printed.

    Args:
        name: Any text.
        length: Most characters.

    Returns:
        One line of it, without what a terminal would obey.
    """
    plain = "".join(letter if letter.isprintable() else "?" for letter in name)
    return plain if len(plain) <= length else f"{plain[: length - 3]}..."
