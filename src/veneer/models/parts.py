"""The networks and the tokenizer of a base model, each read from a folder or out of a single checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from veneer.errors import BaseModelError
from veneer.models.families import open_safetensors
from veneer.models.modelfiles import ModelFiles, weights_of
from veneer.models.quiet import quiet_libraries
from veneer.models.vocabulary import MAX_TOKENS, find_vocabulary

SD1 = Path(str(resources.files("veneer") / "sd1"))  # settings that checkpoints of Stable Diffusion 1.x go by
CHECKPOINT_PREFIXES = {
    "unet": ("model.diffusion_model.",),
    "vae": ("first_stage_model.",),
    "text_encoder": ("cond_stage_model.transformer.text_model.", "cond_stage_model.transformer."),
}


def vae_folder(files: ModelFiles) -> Path:
    """Folder of a VAE that may be a pipeline's part, or of the settings that a lone VAE file goes by.

    Returns:
        The folder that has the VAE's `config.json`.
    """
    if files.kind == "checkpoint":
        return SD1 / "vae"
    return files.path if (files.path / "config.json").is_file() else files.path / "vae"


def load_module(part: str, files: ModelFiles, dtype: torch.dtype) -> Any:
    """Load one network of a base, straight into its final precision.

    Args:
        part: "unet", "vae" or "text_encoder".
        files: Where the model's files are.
        dtype: Precision of the weights.

    Returns:
        The module, every weight frozen, in evaluation mode, on the CPU.

    Raises:
        BaseModelError: If weights are missing, damaged or do not fit.
    """
    if files.kind == "checkpoint":
        module = _from_checkpoint(part, files.path, dtype)
    else:
        module = _from_folder(part, vae_folder(files) if part == "vae" else files.path / part, dtype)
    _refuse_broken(part, files.path, module)
    return module.requires_grad_(False).eval()


def _refuse_broken(part: str, path: Path, module: Any) -> None:
    """Refuse weights that are no finite numbers, by name: all that is drawn or trained with them is none."""
    for name, weight in module.named_parameters():
        # A sum is quick, and finite only where every number is; a large one may be neither.
        if bool(torch.isfinite(weight.sum(dtype=torch.float32))) or bool(torch.isfinite(weight).all()):
            continue
        what = f"the base itself gives no numbers: {part} {name} is not finite in {weight.dtype}"
        todo = "Fetch or copy the base again, take another, or a higher precision"
        raise BaseModelError(what.replace("torch.", ""), where=str(path), todo=todo)


def _from_folder(part: str, folder: Path, dtype: torch.dtype) -> Any:
    variant = weights_of(folder, part)[1]
    kinds = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
    options = {
        "local_files_only": True,
        "use_safetensors": True,
        "variant": variant,
        "output_loading_info": True,
    }
    try:
        module, info = kinds[part].from_pretrained(str(folder), torch_dtype=dtype, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _damaged(part, folder, error) from error
    lacking = [name for name in info["missing_keys"] if not name.endswith("position_ids")]
    if lacking or info["mismatched_keys"]:
        raise _damaged(
            part, folder, f"{len(lacking)} weights are missing, the first is {sorted(lacking)[:1]}"
        )
    return module


def _from_checkpoint(part: str, path: Path, dtype: torch.dtype) -> Any:
    weights = dict(_tensors(part, path))
    if not weights:
        raise _damaged(part, path, f"the checkpoint has no {part}")
    try:
        match part:
            case "text_encoder":
                return _text_encoder(weights, dtype)
            case "vae":
                kind: Any = AutoencoderKL
            case _:
                kind = UNet2DConditionModel
        with quiet_libraries():
            module = kind.from_single_file(
                weights, config=str(SD1), subfolder=part, torch_dtype=dtype, local_files_only=True
            )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise _damaged(part, path, error) from error
    if any(parameter.is_meta for parameter in module.parameters()):
        raise _damaged(part, path, "weights are missing")
    return module


def _tensors(part: str, path: Path) -> Iterator[tuple[str, Tensor]]:
    """Tensors of one part of a checkpoint; a text encoder's names lose their prefix, as its class wants."""
    prefixes = CHECKPOINT_PREFIXES[part]
    with open_safetensors(path) as file:
        names = list(file.keys())
        lone_vae = part == "vae" and not any(name.startswith("first_stage_model.") for name in names)
        for name in names:
            prefix = next((start for start in prefixes if name.startswith(start)), None)
            if lone_vae or prefix is not None:
                yield (name[len(prefix or "") :] if part == "text_encoder" else name), file.get_tensor(name)


def _text_encoder(weights: dict[str, Tensor], dtype: torch.dtype) -> Any:
    with torch.device("meta"):
        module = CLIPTextModel(CLIPTextConfig.from_pretrained(str(SD1 / "text_encoder")))
    weights = {
        name: tensor.to(dtype) for name, tensor in weights.items() if not name.endswith("position_ids")
    }
    module.load_state_dict(weights, strict=True, assign=True)
    positions = torch.arange(module.config.max_position_embeddings).expand((1, -1))
    module.embeddings.position_ids = positions  # a buffer that no file holds
    return module


def load_tokenizer(files: ModelFiles) -> Any:
    """Load a base's tokenizer.

    Args:
        files: Where the model's files are; for a checkpoint, CLIP's vocabulary is looked for.

    Returns:
        A `CLIPTokenizer` whose `model_max_length` is at most 77.

    Raises:
        BaseModelError: If it is missing or damaged.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = files.path / "tokenizer"
        if files.kind == "checkpoint":
            folder = Path(scratch)
            find_vocabulary(files.path, folder)
            settings = SD1 / "tokenizer" / "tokenizer_config.json"
            (folder / settings.name).write_bytes(settings.read_bytes())
        try:
            tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise _damaged("tokenizer", folder, error) from error
    tokenizer.model_max_length = min(tokenizer.model_max_length, MAX_TOKENS)
    return tokenizer


def _damaged(part: str, path: Path, why: object) -> BaseModelError:
    line = str(why).strip().splitlines()[0] if str(why).strip() else type(why).__name__
    return BaseModelError(
        f"the base's {part} cannot be loaded: {line}", where=str(path), todo="Fetch or copy the base again"
    )
