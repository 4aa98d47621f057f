"""What the result of each stage depends on, as plain data that can be compared and shown."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veneer.config import Recipe
from veneer.records.dataset import Dataset
from veneer.records.run import RunDir

STAGE_NAMES = (
    "collect",
    "check",
    "caption",
    "encode",
    "train",
    "export",
    "generate",
    "compare",
    "report",
)
"""Every stage of a run, in order."""

_FREE_TRAIN_KEYS = ("checkpoints_total_limit", "preview_steps", "cuda_graph", "deterministic")


@dataclass(frozen=True)
class Identity:
    """What the result of a stage depends on.

    Attributes:
        settings: Recipe keys by table.
        inputs: Hashes of the files it reads, by name.
    """

    settings: Mapping[str, Any]
    inputs: Mapping[str, str]

    def plain(self) -> dict[str, Any]:
        """Write as plain data.

        Returns:
            What JSON writes and reads back unchanged.
        """
        return {"settings": dict(self.settings), "inputs": dict(self.inputs)}


def identity_of(stage: str, folder: RunDir, recipe: Recipe) -> Identity:
    """What the result of a stage depends on, as the recipe and the run folder are now.

    Args:
        stage: Name of the stage.
        folder: The run folder.
        recipe: The recipe.

    Returns:
        Its identity; a missing input has the hash "".
    """
    tables = recipe.model_dump(mode="json")
    train = {key: value for key, value in tables["train"].items() if key not in _FREE_TRAIN_KEYS}
    encoded = ("validation_share", "seed", "masked_loss", "prior_sources", "prior_loss_weight")
    split = {key: tables["train"][key] for key in encoded}
    drawn = {"held_out_prompts", "general_prompts", "scale"}
    match stage:
        case "collect":
            return Identity({"collect": tables["collect"]}, {})
        case "check":
            return Identity({}, {"pictures": hash_pictures(folder.dataset)})
        case "caption":
            return Identity({"caption": tables["caption"]}, {"pictures": hash_pictures(folder.dataset)})
        case "encode":
            settings = {"base": tables["base"], "encode": tables["encode"], "train": split}
            return Identity(settings, {"captions": hash_captions(folder.dataset)})
        case "train":
            settings = {"base": tables["base"], "lora": tables["lora"], "train": train}
            return Identity(settings, {"cache": hash_file(folder.cache / "index.json")})
        case "export":
            return Identity({}, {"candidates": hash_file(folder.candidates_json)})
        case "generate":
            compare = {key: value for key, value in tables["compare"].items() if key in drawn}
            settings = {"base": tables["base"], "generate": tables["generate"], "compare": compare}
            return Identity(settings, _adapter(folder))
        case "compare":
            settings = {"compare": tables["compare"], "generate": tables["generate"]}
            return Identity(settings, _adapter(folder))
        case "report":
            return Identity({}, {"metrics": hash_file(folder.metrics_json)})
        case _:
            raise ValueError(stage)


def _adapter(folder: RunDir) -> dict[str, str]:
    """Hashes of the exported LoRA and of the learnt word, where there is one."""
    word = hash_file(folder.embedding_file)
    return {"lora": hash_file(folder.lora_file)} | ({"embedding": word} if word else {})


def hash_file(path: Path) -> str:
    """Hash of a file.

    Args:
        path: The file.

    Returns:
        16 hexadecimal digits; empty where there is no such file.
    """
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def hash_pictures(dataset: Path) -> str:
    """Hash of which pictures a data set holds, by name and size.

    Args:
        dataset: The data-set folder.

    Returns:
        16 hexadecimal digits; empty where there is no such folder.
    """
    if not dataset.is_dir():
        return ""
    digest = hashlib.sha256()
    for name in Dataset(dataset).picture_names():
        digest.update(f"{name}\0{(dataset / name).stat().st_size}\n".encode())
    return digest.hexdigest()[:16]


def hash_captions(dataset: Path) -> str:
    """Hash of which pictures a data set holds and of their captions.

    Args:
        dataset: The data-set folder.

    Returns:
        16 hexadecimal digits.
    """
    return hashlib.sha256(
        (hash_pictures(dataset) + hash_file(Dataset(dataset).metadata_csv)).encode()
    ).hexdigest()[:16]
