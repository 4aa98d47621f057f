"""A kohya sd-scripts folder or configuration as a recipe, line by line: taken, changed, or left out and why.

Folders are named ``REPEATS_WORDS`` (``10_sks dog``); those of a ``reg`` folder are prior pictures. Settings
are the arguments of ``train_network.py`` as TOML, flat or in sections.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from veneer.errors import RecipeError
from veneer.imported import OPTIMIZER_NAMES, Fate, Imported, folder_named, read_configuration, steps_of
from veneer.records.dataset import PICTURE_SUFFIXES

REPEATED = re.compile(r"(\d+)_(.+)")
SAME: Mapping[str, str] = {
    "pretrained_model_name_or_path": "base.model",
    "vae": "base.vae",
    "network_dim": "lora.rank",
    "network_alpha": "lora.lora_alpha",
    "network_dropout": "lora.dropout",
    "learning_rate": "train.learning_rate",
    "unet_lr": "train.learning_rate",
    "max_train_steps": "train.max_train_steps",
    "train_batch_size": "train.train_batch_size",
    "gradient_accumulation_steps": "train.gradient_accumulation_steps",
    "gradient_checkpointing": "train.gradient_checkpointing",
    "mixed_precision": "train.mixed_precision",
    "lr_scheduler": "train.lr_scheduler",
    "lr_warmup_steps": "train.lr_warmup_steps",
    "max_grad_norm": "train.max_grad_norm",
    "noise_offset": "train.noise_offset",
    "prior_loss_weight": "train.prior_loss_weight",
    "save_every_n_steps": "train.checkpointing_steps",
    "sample_every_n_steps": "train.preview_steps",
    "enable_bucket": "encode.buckets",
    "caption_dropout_rate": "train.caption_dropout",
    "masked_loss": "train.masked_loss",
    "seed": "train.seed",
}
"""Arguments that mean the same here."""
NEEDLESS: Mapping[str, str] = {
    "cache_latents": "latents are always cached",
    "cache_latents_to_disk": "latents are always cached",
    "xformers": "the fastest attention is chosen",
    "sdpa": "the fastest attention is chosen",
    "mem_eff_attn": "the fastest attention is chosen",
    "save_model_as": "files are safetensors, in kohya's layout too",
    "save_precision": "files are float32",
    "output_dir": "a run has a folder: veneer run FILE --out RUN",
    "output_name": "files are named after the run",
    "logging_dir": "the log is in the run folder",
    "log_with": "the log is in the run folder",
    "caption_extension": ".txt and .caption are read",
    "max_data_loader_n_workers": "batches are prepared in time",
    "persistent_data_loader_workers": "batches are prepared in time",
    "bucket_reso_steps": "buckets follow the base's own multiple",
    "min_bucket_reso": "buckets hold the same number of pixels",
    "max_bucket_reso": "buckets hold the same number of pixels",
    "bucket_no_upscale": "small pictures are left out unless encode.upscale",
    "lowram": "weights are loaded once",
    "max_token_length": "captions have the text encoder's own 75 tokens",
}
"""Arguments that nothing has to be said for."""


def import_kohya(place: Path) -> Imported:
    """Read a folder of kohya's, or a configuration with the folders that it names.

    Raises:
        RecipeError: If it is neither, or trains what is no LoRA of a family that is trained here.
    """
    found = Imported()
    if place.is_dir():
        _folder(found, place)
    elif place.suffix.lower() == ".toml" and place.is_file():
        _config(found, _read(place), place.parent)
    else:
        todo = "Name a folder with subfolders such as `10_name`, or a .toml file"
        raise RecipeError("neither a folder nor a configuration of kohya's", where=str(place), todo=todo)
    if not found.tables.get("collect", {}).get("sources"):
        todo = (
            "Subfolders are named REPEATS_WORDS, such as `10_sks dog`; or set collect.sources in the recipe"
        )
        found.tell("pictures", "left out", f"no folder of pictures was found. {todo}")
    return found


def _read(place: Path) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in read_configuration(place, tomllib.loads, "TOML").items():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat


def _folder(found: Imported, place: Path) -> None:
    root = place / "img" if (place / "img").is_dir() else place
    regular = next((folder for folder in (place / "reg", root / "reg") if folder.is_dir()), None)
    _pictures(found, root)
    if regular is not None:
        _prior(found, regular)


def _subfolders(root: Path) -> list[tuple[int, str, Path]]:
    """Repeats, words and place of every folder that is named so."""
    named = (
        (REPEATED.fullmatch(folder.name), folder) for folder in sorted(root.iterdir()) if folder.is_dir()
    )
    return [(int(match[1]), match[2].strip(), folder) for match, folder in named if match]


def _pictures(found: Imported, root: Path) -> int:
    """Take the folders of pictures; how many pictures an epoch has, repeats counted."""
    folders = _subfolders(root) if root.is_dir() else []
    if not folders:
        return 0
    found.put("collect.sources", [str(folder) for _, _, folder in folders])
    seen = 0
    for repeats, words, folder in folders:
        files = [path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES]
        seen += repeats * len(files)
        captions = sum(any(path.with_suffix(end).is_file() for end in (".txt", ".caption")) for path in files)
        found.tell(folder.name, "taken", f"{len(files)} pictures, {captions} with a caption of their own")
        if len({one for one, _, _ in folders}) > 1:
            found.tell(folder.name, "left out", f"{repeats} repeats: every picture counts alike here")
        if captions < len(files):
            found.put("caption.trigger", words)
            found.tell(folder.name, "changed", f"caption.trigger = {words!r}, for pictures without a caption")
    return seen


def _prior(found: Imported, root: Path) -> None:
    folders = [folder for _, _, folder in _subfolders(root)] or [root]
    found.put("train.prior_sources", [str(folder) for folder in folders])
    found.tables["train"].setdefault("prior_loss_weight", 1.0)
    found.tell(root.name, "taken", "train.prior_sources, the pictures of the class")


DEFAULTS: Mapping[str, Any] = {
    "network_module": "networks.lora",
    "network_dim": 4,
    "network_alpha": 1,
    "optimizer_type": "AdamW",
    "lr_scheduler": "constant",
    "resolution": 512,
    "train_batch_size": 1,
    "mixed_precision": "no",
}
"""What kohya's script takes where nothing is said."""


def _config(found: Imported, settings: dict[str, Any], home: Path) -> None:
    _refuse_strangers(settings)
    settings = {**DEFAULTS, **settings}
    if not settings.get("network_train_unet_only"):
        settings.setdefault("text_encoder_lr", settings.get("unet_lr") or settings.get("learning_rate", 1e-4))
    for name, key in SAME.items():
        if name in settings and settings[name] not in ("", None):
            found.put(key, settings[name])
            found.tell(name, "taken", f"{key} = {settings[name]!r}")
    own = set(SAME)
    for name, change in CHANGED.items():
        if name in settings:
            own.add(name)
            try:
                change(found, name, settings[name])
            except (TypeError, ValueError, OverflowError):
                found.tell(name, "left out", f"{settings[name]!r} is no number")
    own |= _data(found, settings, home)
    for name, value in settings.items():
        if name in own:
            continue
        why = NEEDLESS.get(name, "no setting of this name acts here")
        if value not in (False, None, "", []):
            found.tell(name, "left out", why)


def _refuse_strangers(settings: Mapping[str, Any]) -> None:
    module = str(settings.get("network_module", "networks.lora"))
    if "lycoris" in module.lower():
        todo = 'Train a LoRA: set network_module = "networks.lora", and a rank with network_dim'
        raise RecipeError("a LyCORIS network, which is not trained here", where=module, todo=todo)
    if any(word in module.lower() for word in ("flux", "sd3", "lumina")) and not _is_klein(settings):
        raise RecipeError("a network of a family that is not trained here", where=module)


def _is_klein(settings: Mapping[str, Any]) -> bool:
    """Whether a module of the Flux family is pointed at FLUX.2-klein, which is trained here."""
    base = str(settings.get("pretrained_model_name_or_path", "")) + str(settings.get("model_version", ""))
    return "klein" in base.lower()


def _data(found: Imported, settings: Mapping[str, Any], home: Path) -> set[str]:
    """Take the folders that a configuration names, and its epochs as steps."""
    train, regular = settings.get("train_data_dir"), settings.get("reg_data_dir")
    seen = _pictures(found, folder_named(home, train)) if train else 0
    if regular and folder_named(home, regular).is_dir():
        _prior(found, folder_named(home, regular))
    if epochs := settings.get("max_train_epochs"):
        _epochs(found, epochs, seen, settings)
    return {"train_data_dir", "reg_data_dir", "max_train_epochs"}


def _epochs(found: Imported, epochs: Any, seen: int, settings: Mapping[str, Any]) -> None:
    name, batch = "max_train_epochs", ("train_batch_size", "gradient_accumulation_steps")
    if not seen:
        found.tell(name, "left out", "without its pictures, epochs are no number of steps")
        return
    try:
        steps = steps_of(epochs, seen, *(settings.get(one, 1) for one in batch))
    except ValueError as error:
        found.tell(name, "left out", str(error))
        return
    found.put("train.max_train_steps", steps)
    found.tell(name, "changed", f"train.max_train_steps = {steps}, repeats counted")


def _resolution(found: Imported, name: str, value: Any) -> None:
    sides = [int(one) for one in re.findall(r"\d+", str(value))] or [512]
    found.put("encode.resolution", max(sides))
    fate: Fate = "taken" if len(set(sides)) == 1 else "changed"
    found.tell(name, fate, f"encode.resolution = {max(sides)}")


def _flip(found: Imported, name: str, value: Any) -> None:
    found.put("encode.flip", 0.5 if value else 0.0)
    found.tell(name, "changed", f"encode.flip = {0.5 if value else 0.0}, a share of the pictures")


def _optimizer(found: Imported, name: str, value: Any) -> None:
    ours = OPTIMIZER_NAMES.get(str(value).lower())
    found.put("train.optimizer", ours or "adamw")
    if ours:
        found.tell(name, "taken", f"train.optimizer = {ours!r}")
    else:
        found.tell(name, "changed", f"train.optimizer = 'adamw' in place of {value}, which is not here")


def _text_encoder(found: Imported, name: str, value: Any) -> None:
    is_trained, rate = bool(value), float(value or 0)
    found.put("lora.text_encoder", is_trained)
    if is_trained:
        found.put("train.learning_rates", {"text_encoder": rate})
    found.tell(name, "changed", f"lora.text_encoder = {str(is_trained).lower()}, at its own rate")


def _unet_only(found: Imported, name: str, value: Any) -> None:
    if value:
        found.put("lora.text_encoder", False)
        found.tables.get("train", {}).pop("learning_rates", None)
        found.tell(name, "taken", "lora.text_encoder = false")


def _gamma(found: Imported, name: str, value: Any) -> None:
    if value:
        found.put("train.snr_gamma", float(value))
        found.put("train.loss_weighting", "min_snr")
        found.tell(name, "changed", f"train.loss_weighting = 'min_snr', train.snr_gamma = {value}")


def _v_prediction(found: Imported, name: str, value: Any) -> None:
    if value:
        found.put("base.prediction", "v_prediction")
        found.tell(name, "taken", "base.prediction = 'v_prediction'")


def _conv(found: Imported, name: str, value: Any) -> None:
    found.put("lora.target_modules", "attention+ff+conv")
    found.tell(name, "changed", "lora.target_modules = 'attention+ff+conv', at the same rank")


def _module(found: Imported, name: str, value: Any) -> None:
    found.tables.setdefault("lora", {}).setdefault("target_modules", "attention+ff")
    found.tell(name, "changed", "lora.target_modules = 'attention+ff', as kohya's LoRA has them")


CHANGED: Mapping[str, Callable[[Imported, str, Any], None]] = {
    "network_module": _module,
    "resolution": _resolution,
    "flip_aug": _flip,
    "optimizer_type": _optimizer,
    "text_encoder_lr": _text_encoder,
    "network_train_unet_only": _unet_only,
    "min_snr_gamma": _gamma,
    "v_parameterization": _v_prediction,
    "conv_dim": _conv,
}
"""Arguments that are said otherwise here."""
