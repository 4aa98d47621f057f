"""What a file is that is no LoRA of Stable Diffusion 1.x or 2.x: told by its names, and refused by name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor

from veneer.errors import AdapterError
from veneer.lora.names import LONGEST_NAME, TEXT_PREFIX

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
FAMILIES = {
    re.compile(r"double_blocks[._]\d|single_blocks[._]\d|single_transformer_blocks[._]\d"): "Flux",
    re.compile(r"joint_blocks[._]\d|joint_transformer_blocks[._]\d"): "Stable Diffusion 3",
    re.compile(r"^lora_te2_|^text_encoder_2\.|label_emb|add_embedding|clip_g\."): "Stable Diffusion XL",
    re.compile(r"(?:down|up|mid|input|middle|output)_blocks?[._].*transformer_blocks[._][1-9]"):
        "Stable Diffusion XL",
    re.compile(r"lora_prior_|^prior\."): "Stable Cascade",
    re.compile(r"motion_modules"): "AnimateDiff",
    re.compile(r"(?:^|\.)model\.layers\.\d+\.(?:self_attn|mlp)\."): "a language model",
    re.compile(r"^(?:base_model\.model\.|(?:model\.)?diffusion_model\.|lora_unet_|unet\.)?(?:blocks|layers)[._]"):
        "a diffusion transformer",
    re.compile(r"^lora_transformer_|^(?:transformer|dit)\."): "a diffusion transformer",
}  # fmt: skip
SDXL_WIDTH = 2048
WIDTHS = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", SDXL_WIDTH: "Stable Diffusion XL"}
"""Width of the text states that cross-attention reads, which tells a base's family."""
BUNDLED = "bundle_emb."
"""Prefix of learnt words that some tools put into a LoRA's file."""
_TODO = "Veneer reads LoRAs of Stable Diffusion 1.x and 2.x"


def refusal(path: Path, unknown: Collection[str], *, is_lora: bool) -> AdapterError:
    """The refusal of a file that holds something else than a LoRA of ours, by its name.

    Args:
        unknown: Names in it that no LoRA of Stable Diffusion 1.x and 2.x has.
        is_lora: Whether it has other names too, which are those of such a LoRA.
    """
    for marks, say in ((OTHER_ADAPTERS, "this file is {}"), (FAMILIES, "the LoRA is of another family, {}")):
        for mark, kind in marks.items():
            found = next((name for name in unknown if mark.search(name[:LONGEST_NAME])), None)
            if found is not None:
                return AdapterError(
                    f"{say.format(kind)}: it holds {shown_name(found)}", where=str(path), todo=_TODO
                )
    if is_lora or any("lora" in name for name in unknown):
        what = f"the LoRA has a weight that is not known: {shown_name(min(unknown))}"
        return AdapterError(what, where=str(path), todo=_TODO)
    return AdapterError("the file holds no LoRA", where=str(path), todo="Name a LoRA's .safetensors file")


def family_of(state: Mapping[str, Tensor]) -> str:
    """Family that an adapter was made for, by the widths of its layers.

    Args:
        state: Weights by peft's names.

    Returns:
        Such as "Stable Diffusion 1.x"; empty where no layer tells, as for small bases.
    """
    for name, weight in state.items():
        is_text = name.startswith(TEXT_PREFIX) and ".q_proj." in name
        if name.endswith("lora_A.weight") and (is_text or re.search(r"\.attn2\.to_[kv]\.", name)):
            return WIDTHS.get(int(weight.shape[1]), "") if weight.ndim > 1 else ""
    return ""


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
