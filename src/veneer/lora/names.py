"""Names of adapted layers in the layouts that LoRA files come in, and back to the modules' own names.

A module is named as in diffusers' UNet, or ``text_encoder.`` and its name in transformers' CLIP.
"""

from __future__ import annotations

import re

TEXT_PREFIX = "text_encoder."
# Parts of module names that hold an underscore of their own; kohya's layout writes dots as underscores too.
COMPOUNDS = (
    "transformer_blocks", "down_blocks", "up_blocks", "mid_block", "time_emb_proj", "time_embedding",
    "conv_shortcut", "conv_in", "conv_out", "linear_1", "linear_2", "proj_in", "proj_out",
    "to_q", "to_k", "to_v", "to_out", "text_model", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj",
)  # fmt: skip
KOHYA_UNET, KOHYA_TEXT = "lora_unet_", "lora_te_"
# Parts of layers' names in files that diffusers wrote before it took over peft's names.
OLD_NAMES = {
    ".processor.": ".", "_lora.down.": ".lora_A.", "_lora.up.": ".lora_B.", ".lora.down.": ".lora_A.",
    ".lora.up.": ".lora_B.", ".lora_linear_layer.down.": ".lora_A.", ".lora_linear_layer.up.": ".lora_B.",
    ".to_out.lora_": ".to_out.0.lora_",
}  # fmt: skip
OLD_TEXT = {".to_q.": ".q_proj.", ".to_k.": ".k_proj.", ".to_v.": ".v_proj.", ".to_out.0.": ".out_proj."}


def kohya_name(module: str) -> str:
    """Name of a layer in kohya's layout.

    Args:
        module: Name of the module.

    Returns:
        Such as ``lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q``; layers of the text
        encoder get ``lora_te_text_model_``, which A1111, ComfyUI and Forge expect for SD 1.x and 2.x.
    """
    if module.startswith(TEXT_PREFIX):
        return f"{KOHYA_TEXT}text_model_{module.removeprefix(TEXT_PREFIX)}".replace(".", "_")
    return f"{KOHYA_UNET}{module}".replace(".", "_")


def module_of_kohya(name: str) -> str:
    """Name of the module that a layer of a kohya file stands for.

    Args:
        name: Name of the layer, without ``.lora_down.weight``.

    Returns:
        Name of the module.

    Raises:
        ValueError: If the layer belongs to another family's layout.
    """
    match = re.fullmatch(r"lora_(unet|te1?)_(.+)", name)
    if match is None or "input_blocks" in name or "single_blocks" in name:
        raise ValueError(name)
    kind, rest = match.groups()
    for compound in COMPOUNDS:
        rest = rest.replace(compound, compound.replace("_", "\0"))
    dotted = rest.replace("_", ".").replace("\0", "_")
    return dotted if kind == "unet" else TEXT_PREFIX + dotted.removeprefix("text_model.")


def diffusers_name(module: str) -> str:
    """Name of a layer in diffusers' layout.

    Args:
        module: Name of the module.

    Returns:
        Such as ``unet.mid_block.attentions.0.proj_in`` or ``text_encoder.text_model.encoder.layers.0.mlp``.
    """
    if module.startswith(TEXT_PREFIX):
        return f"{TEXT_PREFIX}text_model.{module.removeprefix(TEXT_PREFIX)}"
    return f"unet.{module}"


def weight_of_diffusers(key: str) -> str:
    """Name of a weight, from diffusers' layout, old or new.

    Args:
        key: Key in the file: ``unet.x.attn1.to_q.lora_A.weight``, ``x.attn1.processor.to_q_lora.up.weight``.

    Returns:
        Module's name and peft's ending.
    """
    for old, new in OLD_NAMES.items():
        key = key.replace(old, new)
    key = key.removesuffix(".weight") if "lora_magnitude_vector" in key else key
    if not key.startswith(TEXT_PREFIX):
        return key.removeprefix("unet.")
    for old, new in OLD_TEXT.items():
        key = key.replace(old, new)
    return TEXT_PREFIX + key.removeprefix(TEXT_PREFIX).removeprefix("text_model.")
