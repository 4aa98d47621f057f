"""Names of adapted layers in the layouts that LoRA files come in, and back to the modules' own names.

A module is named as in diffusers' UNet, or ``text_encoder.`` and its name in transformers' CLIP. Files name
it after diffusers or after the first release of Stable Diffusion (``input_blocks``), with dots or
underscores, and with one or several prefixes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from veneer.models.families import FAMILIES
from veneer.models.families.family import LoraNames

T = TypeVar("T")
TEXT_PREFIX = "text_encoder."
SECOND_TEXT_PREFIX = "text_encoder_2."
"""Of the second text encoder of Stable Diffusion XL."""
DENOISER = "unet"
"""Whatever predicts, in every family; its layers have no prefix in Veneer."""
LORA_NETWORKS = (DENOISER, "text_encoder", "text_encoder_2")
"""Networks that a LoRA may have layers of."""
LONGEST_NAME = 300
"""Characters of a weight's name; no layer has as many, and a stranger's name is looked at for no longer."""
# Parts of module names that hold an underscore of their own; kohya's layout writes dots as underscores too.
COMPOUNDS = (
    "transformer_blocks", "down_blocks", "up_blocks", "mid_block", "time_emb_proj", "time_embedding",
    "conv_shortcut", "conv_in", "conv_out", "linear_1", "linear_2", "proj_in", "proj_out",
    "to_q", "to_k", "to_v", "to_out", "text_model", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj",
    "input_blocks", "middle_block", "output_blocks", "in_layers", "out_layers", "emb_layers",
    "skip_connection", "add_embedding", "label_emb",
    "double_blocks", "single_blocks", "img_attn", "txt_attn", "img_mlp", "txt_mlp",
)  # fmt: skip
KOHYA_UNET, KOHYA_TEXT = "lora_unet_", "lora_te_"
UNET_PREFIXES = (
    "unet.", "transformer.", "lora_unet.", "model.diffusion_model.", "diffusion_model.", KOHYA_UNET,
)  # fmt: skip
TEXT_PREFIXES = (
    TEXT_PREFIX, "lora_te.", "lora_te1.", "text_encoders.clip_l.transformer.", KOHYA_TEXT, "lora_te1_",
)  # fmt: skip
SECOND_TEXT_PREFIXES = (
    SECOND_TEXT_PREFIX, "lora_te2.", "text_encoders.clip_g.transformer.", "lora_te2_",
)  # fmt: skip
ANY_PREFIXES = ("base_model.model.",)
LAYER_PREFIXES = (
    dict.fromkeys(UNET_PREFIXES, "")
    | dict.fromkeys(TEXT_PREFIXES, LORA_NETWORKS[1])
    | dict.fromkeys(SECOND_TEXT_PREFIXES, LORA_NETWORKS[2])
    | dict.fromkeys(ANY_PREFIXES, "")
)
"""Beginnings of layers' names, and the network that they say."""
OWN_PREFIXES = {
    DENOISER: "",
    LORA_NETWORKS[1]: TEXT_PREFIX,
    LORA_NETWORKS[2]: f"{SECOND_TEXT_PREFIX}text_model.",
}
"""Beginnings of the modules' own names: transformers keeps `text_model` in the second text encoder alone."""

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
    "label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2",
}  # fmt: skip
LDM_LAYERS = 3
"""Blocks of the first release's numbering that one block of diffusers takes: two layers and a resampling."""


def network_of(module: str) -> tuple[str, str]:
    """The network that a layer, or a weight of it, belongs to.

    Args:
        module: Name of the module, as everywhere in Veneer.

    Returns:
        "unet", "text_encoder" or "text_encoder_2", and the layer's name within that network.
    """
    for prefix in (TEXT_PREFIX, SECOND_TEXT_PREFIX):
        if module.startswith(prefix):
            return prefix.removesuffix("."), module.removeprefix(prefix)
    return DENOISER, module


def part_of(named: Mapping[str, T], network: str) -> dict[str, T]:
    """What belongs to one network, by the names within it.

    Args:
        named: Anything by the names of layers, or of their weights.
        network: "unet", "text_encoder" or "text_encoder_2".
    """
    split = ((network_of(name), value) for name, value in named.items())
    return {name: value for (owner, name), value in split if owner == network}


def kohya_name(module: str, names: LoraNames) -> str:
    """Name of a layer in kohya's layout.

    Args:
        names: What the family's layers are called there.

    Returns:
        Such as ``lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q``, or
        ``lora_unet_input_blocks_4_1_...`` for Stable Diffusion XL; layers of a text encoder begin with the
        family's prefix and ``text_model_``, which A1111, ComfyUI and Forge expect.
    """
    network, own = network_of(module)
    if network != DENOISER:
        return f"{names.text[network]}text_model_{own.removeprefix('text_model.')}".replace(".", "_")
    return f"{KOHYA_UNET}{to_ldm(own) if names.is_sgm else own}".replace(".", "_")


def diffusers_name(module: str, denoiser: str = DENOISER) -> str:
    """Name of a layer in diffusers' layout.

    Args:
        denoiser: What diffusers calls the part that predicts: "unet" or "transformer".

    Returns:
        Such as ``unet.mid_block.attentions.0.proj_in`` or ``text_encoder.text_model.encoder.layers.0.mlp``.
    """
    network, own = network_of(module)
    if network == DENOISER:
        return f"{denoiser}.{own}"
    return f"{network}.text_model.{own.removeprefix('text_model.')}"


def read_name(key: str) -> tuple[str, str]:
    """What a weight's name in any layout says.

    Args:
        key: Name in the file, such as ``lora_unet_mid_block_attentions_0_proj_in.alpha`` or
            ``unet.x.attn1.processor.to_q_lora.up.weight``.

    Returns:
        The module, and "lora_A.weight", "lora_B.weight", "lora_magnitude_vector", "dora_scale" or "alpha".

    Raises:
        ValueError: If it is no weight of a LoRA, or the layer is none of Stable Diffusion.
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
        ValueError: If it is no layer of a family that is customised.
    """
    rest, network = bare_layer(layer)
    if rest.startswith("text_model.") and network == DENOISER:
        network = LORA_NETWORKS[1]
    rest = rest.removeprefix("text_model.")
    rest = rest.replace(".processor.", ".")
    if network == DENOISER:
        rest = _from_ldm(rest)
    else:
        for old, new in OLD_TEXT.items():
            rest = rest.removesuffix(old) + new if rest.endswith(f".{old}") else rest
    if network == DENOISER:
        known = next((one for one in (rest, f"{rest}.0") if _is_denoisers(one)), "")
    else:
        known = rest if TEXT_MODULE.fullmatch(rest) else ""
    if not known:
        raise ValueError(layer)
    return OWN_PREFIXES[network] + known


def _is_denoisers(module: str) -> bool:
    """Whether some family's denoiser has a layer of this name; one that ends in "to_out" may lack its 0."""
    return any(family.lora.layers.fullmatch(module) for family in FAMILIES)


def bare_layer(layer: str) -> tuple[str, str]:
    """A layer of a file without prefixes, dotted, and the network that it is of."""
    rest, network = _without_prefixes(layer)
    return (rest if "." in rest else _dotted(rest)), network


def _without_prefixes(layer: str) -> tuple[str, str]:
    """The layer without prefixes, of which several may come, and its network."""
    network = DENOISER
    while prefix := next((one for one in LAYER_PREFIXES if layer.startswith(one)), ""):
        network = LAYER_PREFIXES[prefix] or network
        layer = layer.removeprefix(prefix)
    return layer, network


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


def to_ldm(module: str) -> str:
    """Name of a UNet's layer in the first release's numbering, which kohya's tools keep for SDXL.

    Args:
        module: Name after diffusers.

    Returns:
        Such as ``input_blocks.4.1.proj_in``; as it was where that numbering has no such layer.
    """
    tops = {new: old for old, new in LDM_TOP.items()}
    if module in tops:
        return tops[module]
    match = re.fullmatch(r"(?:(down|up)_blocks\.(\d+)|mid_block)\.(\w+)\.(\d+)\.(.+)", module)
    if match is None:
        return module
    side, block, kind, layer, rest = match[1], int(match[2] or 0), match[3], int(match[4]), match[5]
    if kind == "resnets":
        rest = next((old for old, new in LDM_RESNET.items() if new == rest), rest)
    if side is None:
        return f"middle_block.{1 if kind == 'attentions' else 2 * layer}.{rest}"
    if kind == "downsamplers":
        return f"input_blocks.{LDM_LAYERS * (block + 1)}.0.op"
    if kind == "upsamplers":  # after a residual block and an attention
        return f"output_blocks.{LDM_LAYERS * block + LDM_LAYERS - 1}.2.conv"
    number = LDM_LAYERS * block + layer + (side == "down")
    return f"{'in' if side == 'down' else 'out'}put_blocks.{number}.{int(kind == 'attentions')}.{rest}"
