"""The networks and the tokenizer of a base model, each read from a folder or out of a single checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from veneer.errors import BaseModelError
from veneer.models.families import Family
from veneer.models.families.family import SingleFile
from veneer.models.families.recognise import FAMILY_MARK
from veneer.models.modelfiles import ModelFiles, open_safetensors, weights_of
from veneer.models.quiet import quiet_libraries
from veneer.models.vocabulary import find_vocabulary


def vae_folder(files: ModelFiles, family: Family) -> Path:
    """Folder of a VAE that may be a pipeline's part, or of the settings that a lone VAE file goes by.

    Returns:
        The folder that has the VAE's `config.json`.
    """
    if files.kind == "checkpoint":
        return single_file(family, files).settings / "vae"
    return files.path if (files.path / "config.json").is_file() else files.path / "vae"


def single_file(family: Family, files: ModelFiles) -> SingleFile:
    """How a family's bases lie in one file.

    Raises:
        BaseModelError: If they do not.
    """
    if family.single_file is None:
        what = f"a part of {family.label} in one file cannot be read"
        raise BaseModelError(what, where=str(files.path), todo="Take the same in Hugging Face layout")
    return family.single_file


def load_module(part: str, files: ModelFiles, dtype: torch.dtype, family: Family) -> Any:
    """Load one network of a base, straight into its final precision.

    Args:
        part: One of the family's networks, such as "unet", "vae" or "text_encoder".
        files: Where the model's files are.
        dtype: Precision of the weights.

    Returns:
        The module, every weight frozen, in evaluation mode, on the CPU.

    Raises:
        BaseModelError: If weights are missing, damaged or do not fit.
    """
    if files.kind == "checkpoint":
        module = _from_checkpoint(part, files.path, dtype, family.networks[part], single_file(family, files))
    else:
        folder = vae_folder(files, family) if part == "vae" else files.path / part
        module = _from_folder(part, folder, dtype, family.networks[part])
    _refuse_broken(part, files.path, module)
    setattr(module, FAMILY_MARK, family.name)
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


def _from_folder(part: str, folder: Path, dtype: torch.dtype, kind: Any) -> Any:
    variant = weights_of(folder, part)[1]
    options = {
        "local_files_only": True,
        "use_safetensors": True,
        "variant": variant,
        "output_loading_info": True,
    }
    try:
        module, info = kind.from_pretrained(str(folder), torch_dtype=dtype, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _damaged(part, folder, error) from error
    lacking = [name for name in info["missing_keys"] if not name.endswith("position_ids")]
    if lacking or info["mismatched_keys"]:
        raise _damaged(
            part, folder, f"{len(lacking)} weights are missing, the first is {sorted(lacking)[:1]}"
        )
    return module


def _from_checkpoint(part: str, path: Path, dtype: torch.dtype, kind: Any, layout: SingleFile) -> Any:
    weights = dict(_tensors(part, path, layout))
    if not weights:
        raise _missing(part, path)
    try:
        if load := layout.loaders.get(part):
            return load(weights, layout.settings / part, dtype)
        with quiet_libraries():
            module = kind.from_single_file(
                weights, config=str(layout.settings), subfolder=part, torch_dtype=dtype, local_files_only=True
            )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise _damaged(part, path, error) from error
    if any(parameter.is_meta for parameter in module.parameters()):
        raise _damaged(part, path, "weights are missing")
    return module


def _tensors(part: str, path: Path, layout: SingleFile) -> Iterator[tuple[str, Tensor]]:
    """Tensors of one part of a checkpoint; those with a loader lose their prefix, as its class wants."""
    prefixes, is_plain = layout.prefixes[part], part in layout.loaders
    with open_safetensors(path) as file:
        names = list(file.keys())
        whole = ("first_stage_model.", "model.diffusion_model.")
        lone_vae = part == "vae" and not any(name.startswith(whole) for name in names)
        for name in names:
            prefix = next((start for start in prefixes if name.startswith(start)), None)
            if lone_vae or prefix is not None:
                yield (name[len(prefix or "") :] if is_plain else name), file.get_tensor(name)


def load_tokenizer(part: str, files: ModelFiles, family: Family) -> Any:
    """Load a base's tokenizer.

    Args:
        part: One of the family's tokenizers.
        files: Where the model's files are; for a checkpoint, CLIP's vocabulary is looked for.

    Returns:
        The family's tokenizer; its `model_max_length` is how much of a prompt is read.

    Raises:
        BaseModelError: If it is missing or damaged.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = files.path / part
        if files.kind == "checkpoint":
            folder = Path(scratch)
            find_vocabulary(files.path, folder)
            settings = single_file(family, files).settings / part / "tokenizer_config.json"
            (folder / settings.name).write_bytes(settings.read_bytes())
        try:
            tokenizer = family.tokenizer.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise _damaged(part, folder, error) from error
    tokenizer.model_max_length = family.prompt_tokens(tokenizer)
    return tokenizer


def _missing(part: str, path: Path) -> BaseModelError:
    todo = "Name one with base.vae" if part == "vae" else "Take the whole model's file"
    return BaseModelError(f"the checkpoint has no {part}", where=str(path), todo=todo)


def _damaged(part: str, path: Path, why: object) -> BaseModelError:
    line = str(why).strip().splitlines()[0] if str(why).strip() else type(why).__name__
    return BaseModelError(
        f"the base's {part} cannot be loaded: {line}", where=str(path), todo="Fetch or copy the base again"
    )
