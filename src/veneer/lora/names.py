"""Names of adapted layers in the layouts that LoRA files come in, and back to the modules' own names.

A module is named as in diffusers' UNet, or ``text_encoder.`` and its name in transformers' CLIP. Files name
it after diffusers or after the first release of Stable Diffusion (``input_blocks``), with dots or
underscores, and with one or several prefixes.
"""

from __future__ import annotations

import re

TEXT_PREFIX = "text_encoder."
LONGEST_NAME = 300
"""Characters of a weight's name; no layer has as many, and a stranger's name is looked at for no longer."""
# Parts of module names that hold an underscore of their own; kohya's layout writes dots as underscores too.
COMPOUNDS = (
    "transformer_blocks", "down_blocks", "up_blocks", "mid_block", "time_emb_proj", "time_embedding",
    "conv_shortcut", "conv_in", "conv_out", "linear_1", "linear_2", "proj_in", "proj_out",
    "to_q", "to_k", "to_v", "to_out", "text_model", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj",
    "input_blocks", "middle_block", "output_blocks", "in_layers", "out_layers", "emb_layers",
    "skip_connection",
)  # fmt: skip
KOHYA_UNET, KOHYA_TEXT = "lora_unet_", "lora_te_"
UNET_PREFIXES = ("unet.", "lora_unet.", "model.diffusion_model.", "diffusion_model.", KOHYA_UNET)
TEXT_PREFIXES = (
    TEXT_PREFIX, "lora_te.", "lora_te1.", "text_encoders.clip_l.transformer.", KOHYA_TEXT, "lora_te1_",
)  # fmt: skip
ANY_PREFIXES = ("base_model.model.",)

UNET_MODULE = re.compile(
    r"conv_in|conv_out|time_embedding\.linear_[12]|(?:(?:down|up)_blocks\.\d{1,3}|mid_block)\.(?:"
    r"attentions\.\d{1,3}\.(?:proj_in|proj_out|transformer_blocks\.0\."
    r"(?:attn[12]\.(?:to_[qkv]|to_out\.0)|ff\.net\.(?:0\.proj|2)))"
    r"|resnets\.\d{1,3}\.(?:conv1|conv2|conv_shortcut|time_emb_proj)|(?:down|up)samplers\.0\.conv)"
)
TEXT_MODULE = re.compile(r"encoder\.layers\.\d{1,3}\.(?:self_attn\.(?:q|k|v|out)_proj|mlp\.fc[12])")

# What a weight is to its layer, by the end of its name; `default` is peft's name for an adapter in memory.
ENDINGS = (
    ("lora_A.weight", re.compile(r"\.lora_(?:A|down)(?:\.default)?\.weight$")),
    ("lora_B.weight", re.compile(r"\.lora_(?:B|up)(?:\.default)?\.weight$")),
    ("lora_A.weight", re.compile(r"(?:[._]lora|\.lora_linear_layer)\.down\.weight$")),
    ("lora_B.weight", re.compile(r"(?:[._]lora|\.lora_linear_layer)\.up\.weight$")),
    ("lora_magnitude_vector", re.compile(r"\.lora_magnitude_vector(?:\.default)?(?:\.weight)?$")),
    ("dora_scale", re.compile(r"\.dora_scale$")),
    ("alpha", re.compile(r"\.alpha$")),
)
OLD_TEXT = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out.0": "out_proj"}
LDM_RESNET = {
    "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}  # fmt: skip
LDM_TOP = {
    "input_blocks.0.0": "conv_in", "out.2": "conv_out",
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
}  # fmt: skip
LDM_LAYERS = 3
"""Blocks of the first release's numbering that one block of diffusers takes: two layers and a resampling."""


def kohya_name(module: str) -> str:
    """Name of a layer in kohya's layout.

    Returns:
        Such as ``lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q``; layers of the text
        encoder get ``lora_te_text_model_``, which A1111, ComfyUI and Forge expect for SD 1.x and 2.x.
    """
    if module.startswith(TEXT_PREFIX):
        return f"{KOHYA_TEXT}text_model_{module.removeprefix(TEXT_PREFIX)}".replace(".", "_")
    return f"{KOHYA_UNET}{module}".replace(".", "_")


def diffusers_name(module: str) -> str:
    """Name of a layer in diffusers' layout.

    Returns:
        Such as ``unet.mid_block.attentions.0.proj_in`` or ``text_encoder.text_model.encoder.layers.0.mlp``.
    """
    if module.startswith(TEXT_PREFIX):
        return f"{TEXT_PREFIX}text_model.{module.removeprefix(TEXT_PREFIX)}"
    return f"unet.{module}"


def read_name(key: str) -> tuple[str, str]:
    """What a weight's name in any layout says.

    Args:
        key: Name in the file, such as ``lora_unet_mid_block_attentions_0_proj_in.alpha`` or
            ``unet.x.attn1.processor.to_q_lora.up.weight``.

    Returns:
        The module, and "lora_A.weight", "lora_B.weight", "lora_magnitude_vector", "dora_scale" or "alpha".

    Raises:
        ValueError: If it is no weight of a LoRA, or the layer is none of Stable Diffusion 1.x and 2.x.
    """
    if len(key) > LONGEST_NAME:
        raise ValueError(key)
    for kind, ending in ENDINGS:
        if match := ending.search(key):
            return module_of(key[: match.start()]), kind
    raise ValueError(key)


def module_of(layer: str) -> str:
    """The module that a layer of a file stands for.

    Args:
        layer: Name of the layer in any layout, without the weight's own ending.

    Returns:
        Name of the module.

    Raises:
        ValueError: If it is no layer of Stable Diffusion 1.x and 2.x.
    """
    rest, is_text = _without_prefixes(layer)
    if "." not in rest:
        rest = _dotted(rest)
    is_text = is_text or rest.startswith("text_model.")
    rest = rest.removeprefix("text_model.")
    rest = rest.replace(".processor.", ".")
    rest = f"{rest}.0" if rest.endswith(".to_out") else rest
    if is_text:
        for old, new in OLD_TEXT.items():
            rest = rest.removesuffix(old) + new if rest.endswith(f".{old}") else rest
    else:
        rest = _from_ldm(rest)
    if not (TEXT_MODULE if is_text else UNET_MODULE).fullmatch(rest):
        raise ValueError(layer)
    return TEXT_PREFIX + rest if is_text else rest


def _without_prefixes(layer: str) -> tuple[str, bool]:
    """The layer without prefixes, of which several may come, and whether one was of the text encoder."""
    is_text = False
    while prefix := next(
        (p for p in UNET_PREFIXES + TEXT_PREFIXES + ANY_PREFIXES if layer.startswith(p)), ""
    ):
        is_text = is_text or prefix in TEXT_PREFIXES
        layer = layer.removeprefix(prefix)
    return layer, is_text


def _dotted(name: str) -> str:
    for compound in COMPOUNDS:
        name = name.replace(compound, compound.replace("_", "\0"))
    name = name.replace("time_embed_", "time\0embed_")  # not of time_embedding
    return name.replace("_", ".").replace("\0", "_")


def _from_ldm(name: str) -> str:
    """A module's name after diffusers, where it is one of the first release's; else as it was."""
    if name in LDM_TOP:
        return LDM_TOP[name]
    match = re.fullmatch(r"(input|middle|output)_blocks?\.(\d{1,3})(?:\.(\d))?\.(.+)", name)
    if match is None:
        return name
    side, number, place, rest = match[1], int(match[2]), match[3], match[4]
    if side == "middle":
        # Three parts: a residual block, an attention, a residual block.
        kinds = {0: "resnets.0", 1: "attentions.0", 2: "resnets.1"}
        inner = rest if place is None else f"{place}.{rest}"
        return f"mid_block.{kinds.get(number, number)}.{LDM_RESNET.get(inner, inner)}"
    block, layer = divmod(number - (side == "input"), LDM_LAYERS)
    outer = f"{'down' if side == 'input' else 'up'}_blocks.{block}"
    if rest in {"op", "conv"}:
        return f"{outer}.{'down' if side == 'input' else 'up'}samplers.0.conv"
    part = {"0": f"resnets.{layer}", "1": f"attentions.{layer}"}.get(place or "", "")
    return f"{outer}.{part}.{LDM_RESNET.get(rest, rest)}"
