"""Configurations of OneTrainer (JSON) and ai-toolkit (YAML) as recipes, line by line as kohya's are.

A table says what each of their settings is here; what no table knows is told with a line of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from veneer.errors import RecipeError
from veneer.imported import OPTIMIZER_NAMES, Imported, folder_named, read_configuration, steps_of
from veneer.records.dataset import PICTURE_SUFFIXES

PRECISIONS = {"float_16": "fp16", "bfloat_16": "bf16", "float_32": "no", "fp16": "fp16", "bf16": "bf16"}
PRECISIONS |= {"float16": "fp16", "bfloat16": "bf16", "float32": "no", "fp32": "no", "no": "no"}
SCHEDULES = {
    "constant": "constant",
    "constant_with_warmup": "constant_with_warmup",
    "linear": "linear",
    "cosine": "cosine",
    "cosine_with_restarts": "cosine_with_restarts",
    "cosine_with_hard_restarts": "cosine_with_restarts",
    "polynomial": "polynomial",
}
WEIGHTINGS = {"constant": "none", "min_snr_gamma": "min_snr", "debiased_estimation": "debiased"}


class _UnknownError(ValueError):
    """A value that has no counterpart here."""


def _word(known: Mapping[str, str]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        try:
            return known[str(value).lower()]
        except KeyError:
            raise _UnknownError(
                f"{value!r} is not here; there are {', '.join(sorted(set(known.values())))}"
            ) from None

    return read


def _is_on(value: Any) -> bool:
    return str(value).lower() not in {"off", "false", "none", "0", ""}


def _first_side(value: Any) -> int:
    sides = value if isinstance(value, Sequence) and not isinstance(value, str) else str(value).split(",")
    try:
        return max(int(str(side).lower().split("x")[0]) for side in sides)
    except ValueError:
        raise _UnknownError(f"{value!r} is no size") from None


Rules = Mapping[str, tuple[str, Callable[[Any], Any] | None]]

ONETRAINER: Rules = {
    "base_model_name": ("base.model", None),
    "vae.model_name": ("base.vae", None),
    "lora_rank": ("lora.rank", None),
    "lora_alpha": ("lora.lora_alpha", None),
    "lora_decompose": ("lora.use_dora", None),
    "dropout_probability": ("lora.dropout", None),
    "text_encoder.train": ("lora.text_encoder", None),
    "learning_rate": ("train.learning_rate", None),
    "learning_rate_scheduler": ("train.lr_scheduler", _word(SCHEDULES)),
    "learning_rate_warmup_steps": ("train.lr_warmup_steps", int),
    "batch_size": ("train.train_batch_size", None),
    "gradient_accumulation_steps": ("train.gradient_accumulation_steps", None),
    "gradient_checkpointing": ("train.gradient_checkpointing", _is_on),
    "clip_grad_norm": ("train.max_grad_norm", None),
    "train_dtype": ("train.mixed_precision", _word(PRECISIONS)),
    "optimizer.optimizer": ("train.optimizer", _word(OPTIMIZER_NAMES)),
    "optimizer.weight_decay": ("train.adam_weight_decay", None),
    "loss_weight_fn": ("train.loss_weighting", _word(WEIGHTINGS)),
    "loss_weight_strength": ("train.snr_gamma", None),
    "offset_noise_weight": ("train.noise_offset", None),
    "perturbation_noise_weight": ("train.input_perturbation", None),
    "masked_training": ("train.masked_loss", None),
    "seed": ("train.seed", None),
    "resolution": ("encode.resolution", _first_side),
    "aspect_ratio_bucketing": ("encode.buckets", None),
}

AITOOLKIT: Rules = {
    "model.name_or_path": ("base.model", None),
    "model.vae_path": ("base.vae", None),
    "network.linear": ("lora.rank", None),
    "network.linear_alpha": ("lora.lora_alpha", None),
    "network.dropout": ("lora.dropout", None),
    "trigger_word": ("caption.trigger", None),
    "save.save_every": ("train.checkpointing_steps", None),
    "save.max_step_saves_to_keep": ("train.checkpoints_total_limit", None),
    "train.steps": ("train.max_train_steps", None),
    "train.batch_size": ("train.train_batch_size", None),
    "train.gradient_accumulation_steps": ("train.gradient_accumulation_steps", None),
    "train.gradient_accumulation": ("train.gradient_accumulation_steps", None),
    "train.gradient_checkpointing": ("train.gradient_checkpointing", None),
    "train.train_text_encoder": ("lora.text_encoder", None),
    "train.optimizer": ("train.optimizer", _word(OPTIMIZER_NAMES)),
    "train.lr": ("train.learning_rate", None),
    "train.lr_scheduler": ("train.lr_scheduler", _word(SCHEDULES)),
    "train.dtype": ("train.mixed_precision", _word(PRECISIONS)),
    "train.noise_offset": ("train.noise_offset", None),
    "train.ema_config.ema_decay": ("train.ema_decay", None),
    "sample.sample_every": ("train.preview_steps", None),
    "sample.prompts": ("generate.prompts", None),
    "sample.neg": ("generate.negative_prompt", None),
    "sample.sample_steps": ("generate.num_inference_steps", None),
    "sample.guidance_scale": ("generate.guidance_scale", None),
    "sample.width": ("generate.resolution", None),
}


def import_onetrainer(place: Path) -> Imported:
    """Read a configuration of OneTrainer, with the concepts that it names.

    Raises:
        RecipeError: If it is none, or trains what is no LoRA of a family that is trained here.
    """
    settings = _tables(read_configuration(place, json.loads, "JSON"), place)
    method, kind = str(settings.get("training_method", "LORA")), str(settings.get("peft_type", "LORA"))
    if method != "LORA" or kind != "LORA":
        todo = "Train a LoRA there, or set lora.* in a recipe of your own"
        raise RecipeError(f"{method} with {kind}, which is no LoRA", where=str(place), todo=todo)
    _refuse_family(str(settings.get("model_type", "STABLE_DIFFUSION_15")), place)
    found, flat = Imported(), _flat(settings)
    concepts = flat.pop("concepts", None) or _concepts(flat.pop("concept_file_name", ""), place, found)
    pictures = _folders(found, concepts, "path", place)
    _epochs(found, flat, pictures)
    if str(flat.pop("ema", "OFF")) != "OFF":
        _take(found, {"ema_decay": flat.pop("ema_decay", 0.999)}, {"ema_decay": ("train.ema_decay", None)})
    for name in ("training_method", "peft_type", "model_type", "ema_decay"):
        flat.pop(name, None)
    _take(found, flat, ONETRAINER)
    return found


def import_aitoolkit(place: Path) -> Imported:
    """Read a configuration of ai-toolkit, with the data sets that it names.

    Raises:
        RecipeError: If it is none, or trains what is no LoRA of a family that is trained here.
    """
    settings = _tables(read_configuration(place, yaml.safe_load, "YAML"), place)
    config = _tables(settings.get("config"), place)
    processes = config.get("process")
    if not isinstance(processes, list) or not processes:
        raise RecipeError("no configuration of ai-toolkit's: config.process is missing", where=str(place))
    process = _tables(processes[0], place)
    network, model = (_tables(process.get(name) or {}, place) for name in ("network", "model"))
    kind = str(network.get("type", "lora")).lower()
    if kind != "lora":
        raise RecipeError(f"a network of the kind {kind}, which is not trained here", where=str(place))
    arch = str(model.get("arch", "") or ("flux" if model.get("is_flux") else ""))
    _refuse_family(arch, place)
    found = Imported()
    for later in processes[1:]:
        found.tell(
            f"process {later.get('type', '')}" if isinstance(later, dict) else "process",
            "left out",
            "one is read",
        )
    datasets = process.pop("datasets", None)
    datasets = datasets if isinstance(datasets, list) else []
    _folders(found, datasets, "folder_path", place)
    for name, key, read in _OF_DATASETS:
        told = [one[name] for one in datasets if isinstance(one, dict) and one.get(name) not in (None, False)]
        if told:
            _take(found, {f"datasets.{name}": told[0]}, {f"datasets.{name}": (key, read)})
    flat = _flat(process)
    if gamma := flat.pop("train.min_snr_gamma", None) or flat.pop("train.snr_gamma", None):
        found.put("train.loss_weighting", "min_snr")
        _take(found, {"train.min_snr_gamma": gamma}, {"train.min_snr_gamma": ("train.snr_gamma", float)})
    if not flat.pop("train.ema_config.use_ema", False):
        flat.pop("train.ema_config.ema_decay", None)
    if flat.pop("model.is_v_pred", False):
        found.put("base.prediction", "v_prediction")
        found.tell("model.is_v_pred", "taken", "base.prediction = 'v_prediction'")
    for name in ("type", "network.type", "model.arch", "model.is_xl", "model.is_v2"):
        flat.pop(name, None)
    _take(found, flat, AITOOLKIT)
    return found


_OF_DATASETS: Sequence[tuple[str, str, Callable[[Any], Any] | None]] = (
    ("resolution", "encode.resolution", _first_side),
    ("caption_dropout_rate", "train.caption_dropout", None),
    ("flip_x", "encode.flip", lambda value: 0.5 if value else 0.0),
    ("mask_path", "train.masked_loss", bool),
)
_STRANGERS: tuple[str, ...] = (
    "flux",
    "sd3",
    "stable_diffusion_3",
    "pixart",
    "wan",
    "hunyuan",
    "sana",
    "chroma",
    "qwen",
    "hidream",
)
_STRANGERS += ("lumina", "kontext", "zimage", "wuerstchen", "stable_cascade", "ltx", "omnigen", "flex")


KLEIN = re.compile(r"flux[._]?2[._]?klein")
"""The klein among the Flux models, as other trainers write it; the others are not trained here."""


def _refuse_family(name: str, place: Path) -> None:
    lower = name.lower().replace("-", "_")
    if KLEIN.search(lower):
        return
    if stranger := next((word for word in _STRANGERS if word in lower), ""):
        todo = "Stable Diffusion 1.x, 2.x, XL and FLUX.2-klein are read: docs/families.md"
        raise RecipeError(
            f"a configuration for {name} ({stranger}), which is not read", where=str(place), todo=todo
        )


def _tables(value: Any, place: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RecipeError("no configuration: a table of settings is missing", where=str(place))
    return {str(key): one for key, one in value.items()}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted names, to three levels."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict) and prefix.count(".") < 2:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _take(found: Imported, settings: Mapping[str, Any], rules: Rules) -> None:
    """Put what the rules know into the recipe, and tell of everything else that says something."""
    for name, value in settings.items():
        if value in (None, "", [], {}) or (name not in rules and value is False):
            continue
        if name not in rules:
            found.tell(name, "left out", "no setting of this name acts here")
            continue
        key, read = rules[name]
        try:
            own = value if read is None else read(value)
        except (TypeError, ValueError, OverflowError) as error:
            found.tell(name, "left out", str(error))
            continue
        found.put(key, own)
        found.tell(name, "taken" if own == value else "changed", f"{key} = {own!r}")


def _concepts(name: Any, place: Path, found: Imported) -> list[Any]:
    """The concepts of OneTrainer, which lie in a file of their own."""
    if not name:
        return []
    named = folder_named(place.parent, name)
    file = next((one for one in (named, place.parent / named.name) if one.is_file()), None)
    if file is None:
        found.tell("concept_file_name", "left out", f"{name} is not there; set collect.sources in the recipe")
        return []
    read = read_configuration(file, json.loads, "JSON")
    return read if isinstance(read, list) else []


def _folders(found: Imported, entries: Any, key: str, place: Path) -> int:
    """Take folders of pictures; how many pictures there are."""
    folders = [
        folder_named(place.parent, entry[key])
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and entry.get(key) and entry.get("enabled", True)
    ]
    number = 0
    for folder in folders:
        files = (
            [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES]
            if folder.is_dir()
            else []
        )
        number += len(files)
        found.tell(str(folder), "taken", f"collect.sources, {len(files)} pictures")
    if folders:
        found.put("collect.sources", [str(folder) for folder in folders])
    else:
        found.tell(
            "pictures", "left out", "no folder of pictures is named; set collect.sources in the recipe"
        )
    return number


def _epochs(found: Imported, flat: dict[str, Any], pictures: int) -> None:
    epochs = flat.pop("epochs", None)
    if not epochs:
        return
    if not pictures:
        found.tell("epochs", "left out", "without its pictures, epochs are no number of steps")
        return
    try:
        batch = (flat.get("batch_size") or 1, flat.get("gradient_accumulation_steps") or 1)
        steps = steps_of(epochs, pictures, *batch)
    except ValueError as error:
        found.tell("epochs", "left out", str(error))
        return
    found.put("train.max_train_steps", steps)
    found.tell("epochs", "changed", f"train.max_train_steps = {steps}")
