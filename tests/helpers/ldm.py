"""A tiny base written as one checkpoint with the names of the original Stable Diffusion code."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

LEVELS, LAYERS = 2, 1
RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def write_checkpoint(base: Path, path: Path) -> Path:
    """Write the base's UNet, VAE and text encoder into one file."""
    unet = load_file(base / "unet" / "diffusion_pytorch_model.safetensors")
    vae = load_file(base / "vae" / "diffusion_pytorch_model.safetensors")
    text = load_file(base / "text_encoder" / "model.safetensors")
    tensors = {f"model.diffusion_model.{unet_name(name)}": tensor for name, tensor in unet.items()}
    tensors |= {
        f"first_stage_model.{vae_name(name)}": vae_weight(name, tensor) for name, tensor in vae.items()
    }
    for name, tensor in text.items():
        tensors[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    positions = "cond_stage_model.transformer.text_model.embeddings.position_ids"
    tensors[positions] = torch.arange(77).reshape(1, -1)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def write_sdxl_checkpoint(base: Path, path: Path, *, marks: tuple[str, ...] = (), ema: bool = False) -> Path:
    """Write a tiny SDXL into one file as people have them: two text encoders, perhaps a mean of weights.

    Args:
        marks: Names of empty tensors, such as ``v_pred``.
        ema: Whether a moving average lies beside the UNet's weights.
    """
    unet = load_file(base / "unet" / "diffusion_pytorch_model.safetensors")
    vae = load_file(base / "vae" / "diffusion_pytorch_model.safetensors")
    first = load_file(base / "text_encoder" / "model.safetensors")
    second = load_file(base / "text_encoder_2" / "model.safetensors")
    tensors = {f"model.diffusion_model.{unet_name(n, layers=2, attended=True)}": t for n, t in unet.items()}
    if ema:
        tensors |= {f"model_ema.{name.replace('.', '')}": tensor + 1 for name, tensor in tensors.items()}
    tensors |= {f"first_stage_model.{vae_name(n)}": vae_weight(n, t) for n, t in vae.items()}
    prefix = "conditioner.embedders.0.transformer.text_model."
    tensors |= {f"{prefix}{name.removeprefix('text_model.')}": tensor for name, tensor in first.items()}
    tensors |= {f"conditioner.embedders.1.model.{n}": t for n, t in open_clip(second).items()}
    tensors |= {mark: torch.zeros(0) for mark in marks}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def open_clip(text: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A text encoder's weights under OpenCLIP's names: queries, keys and values in one matrix."""
    tops = {
        "embeddings.token_embedding.weight": "token_embedding.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        "final_layer_norm.weight": "ln_final.weight", "final_layer_norm.bias": "ln_final.bias",
    }  # fmt: skip
    inner = {
        "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
        "self_attn.out_proj": "attn.out_proj",
    }  # fmt: skip
    found = {"text_projection": text["text_projection.weight"].T}
    for name, tensor in text.items():
        own = name.removeprefix("text_model.")
        if own in tops:
            found[tops[own]] = tensor
        elif (match := re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", own)) is not None:
            block = f"transformer.resblocks.{match[1]}"
            if match[2] in inner:
                found[f"{block}.{inner[match[2]]}.{match[3]}"] = tensor
            elif match[2] == "self_attn.q_proj":
                three = [text[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
                found[f"{block}.attn.in_proj_{match[3]}"] = torch.cat(three)
    return found


def unet_name(name: str, *, layers: int | None = None, attended: bool = False) -> str:
    """Name of a UNet weight in the original code.

    Args:
        layers: Layers of a block; None for those of the tiny Stable Diffusion 1.x.
        attended: Whether the first block up has attention, as in SDXL.
    """
    layers = LAYERS if layers is None else layers
    simple = {
        "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
        "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
        "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
    }  # fmt: skip
    for old, new in simple.items():
        if name.startswith(f"{old}."):
            return _resnet(name.replace(old, new, 1)) if "resnets" in old else name.replace(old, new, 1)
    side, level, kind, layer, rest = re.fullmatch(r"(\w+)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", name).groups()
    level, layer = int(level), int(layer)
    if side == "down":
        block = f"input_blocks.{1 + level * (layers + 1) + layer}"
        if kind == "downsamplers":
            return f"input_blocks.{(level + 1) * (layers + 1)}.0.{rest.replace('conv', 'op')}"
    else:
        block = f"output_blocks.{level * (layers + 1) + layer}"
        if kind == "upsamplers":
            place = 1 if level == 0 and not attended else 2
            return f"output_blocks.{level * (layers + 1) + layers}.{place}.{rest}"
    return _resnet(f"{block}.0.{rest}") if kind == "resnets" else f"{block}.1.{rest}"


def vae_name(name: str) -> str:
    """Name of a VAE weight in the original code."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    if "attentions" in name:
        for old, new in VAE_ATTENTION.items():
            name = name.replace(f".{old}.", f".{new}.")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("mid_block.attentions.0", "mid.attn_1")
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(
        r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{LEVELS - 1 - int(m[1])}.block.{m[2]}", name
    )
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{LEVELS - 1 - int(m[1])}.upsample", name)


def vae_weight(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Attention of the VAE is made of 1x1 convolutions in the original code."""
    is_attention = "attentions" in name and tensor.ndim == 2
    return tensor[:, :, None, None] if is_attention else tensor


def _resnet(name: str) -> str:
    for old, new in RESNET.items():
        name = name.replace(f".{old}.", f".{new}.")
    return name
