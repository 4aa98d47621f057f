"""CLIP and DINO by name: pictures and texts as rows of unit length."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

from veneer import machine
from veneer.config import Recipe
from veneer.errors import NetworkError, VeneerError
from veneer.events import Notice, OnEvent
from veneer.hubnames import CLIP, DINO, embedder_names, revision_of, split_revision
from veneer.intervals import Array
from veneer.models import asdata
from veneer.models.modelfiles import pocket_folder
from veneer.models.quiet import hide_progress_bars

EMBED_BATCH_SIZE = 32

_T = TypeVar("_T")


@dataclass(frozen=True)
class Embedder:
    """A model that turns pictures, and with CLIP texts, into features.

    Attributes:
        name: What the user called it.
        model: The network, frozen.
        processor: What resizes and normalises pictures.
        tokenizer: What splits texts; None where the model has no text side (DINO).
    """

    name: str
    model: Any
    processor: Any
    tokenizer: Any
    device: torch.device

    @torch.no_grad()
    def image_features(self, pictures: Sequence[Image.Image | Path]) -> Array:
        """Embed pictures.

        Args:
            pictures: RGB pictures of any size, or their files; N >= 1.

        Returns:
            Features, shape (N, D), each row of length 1.
        """
        rows = []
        with _whole_float32():
            for batch in _batches(pictures):
                opened = [_open(picture) for picture in batch]
                pixel_values = self.processor(opened, return_tensors="pt")["pixel_values"].to(self.device)
                if self.tokenizer is None:
                    features = self.model(pixel_values=pixel_values).pooler_output
                else:
                    features = self.model.get_image_features(pixel_values=pixel_values).pooler_output
                rows.append(_unit_rows(features))
        return np.concatenate(rows)

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> Array | None:
        """Embed texts.

        Args:
            texts: N >= 1 texts; what is longer than the model reads is cut.

        Returns:
            Features, shape (N, D), each row of length 1; None where the model reads no text.
        """
        if self.tokenizer is None:
            return None
        rows = []
        with _whole_float32():
            for batch in _batches(texts):
                tokens = self.tokenizer(
                    list(batch),
                    padding="max_length",
                    max_length=self.model.config.text_config.max_position_embeddings,
                    truncation=True,
                    return_tensors="pt",
                ).to(self.device)
                rows.append(_unit_rows(self.model.get_text_features(**tokens).pooler_output))
        return np.concatenate(rows)


@dataclass(frozen=True)
class Embedders:
    """The models that a comparison looks through.

    Attributes:
        clip: A model that reads pictures and texts; None where only DINO was asked for.
        dino: A model that reads pictures only; None where only CLIP was asked for.
    """

    clip: Embedder | None
    dino: Embedder | None

    @property
    def pictures(self) -> Embedder:
        """The model whose features stand for what a picture looks like: CLIP where there is one."""
        chosen = self.clip or self.dino
        assert chosen is not None
        return chosen

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models in use."""
        return tuple(embedder.name for embedder in (self.clip, self.dino) if embedder is not None)


def choose_embedders(
    embedder: str, base_model: str, device: torch.device | str = "cpu", *, revision: str | None = None
) -> Embedders:
    """Load the models that a recipe asks for.

    Args:
        embedder: "auto", "pocket", a hub name or folder of a CLIP or DINO model, or two of them with a comma.
        base_model: The base model; "auto" takes the bundled CLIP for the bundled base.
        device: Where they compute.
        revision: Revision of the hub repositories.

    Returns:
        One CLIP, one DINO or both.

    Raises:
        VeneerError: If a model is not there, is of another kind, or two of one kind are asked for.
    """
    names = embedder_names(embedder, base_model)
    loaded = [load_embedder(name, device, revision=revision) for name in names]
    clips = [one for one in loaded if one.tokenizer is not None]
    dinos = [one for one in loaded if one.tokenizer is None]
    if len(clips) > 1 or len(dinos) > 1:
        raise VeneerError(
            "two embedders of one kind", where=embedder, todo="Name one CLIP and one DINO at most"
        )
    return Embedders(clips[0] if clips else None, dinos[0] if dinos else None)


def choose_clip(embedder: str, base_model: str, device: torch.device | str = "cpu") -> Embedder | None:
    """Load the one of a recipe's models that reads texts, for what looks at pictures and captions early.

    Returns:
        The CLIP; None where the recipe names none.

    Raises:
        VeneerError: If it is not there, or of another kind.
    """
    names = embedder.split(",")
    if embedder == "auto":
        names = ["pocket" if base_model == "pocket" else CLIP]
    loaded = (load_embedder(name.strip(), device) for name in names)
    return next((one for one in loaded if one.tokenizer is not None), None)


def clip_of(recipe: Recipe, stage: str, on_event: OnEvent) -> Embedder | None:
    """The CLIP that `compare` will look through, for a stage of the data set.

    Args:
        stage: Name of the stage, for the notice.
        on_event: Told where there is none: the stage then looks at less.

    Returns:
        The CLIP; None where it cannot be loaded or the recipe names none.
    """
    try:
        return choose_clip(recipe.compare.embedder, recipe.base.model, machine.pick_device())
    except VeneerError as error:
        on_event(Notice(stage, "no-embedder", f"not looked at through a CLIP: {error}"))
        return None


def load_embedder(name: str, device: torch.device | str = "cpu", *, revision: str | None = None) -> Embedder:
    """Load one model.

    Args:
        name: "pocket" for the bundled CLIP, a hub name, or a folder.

    Raises:
        NetworkError: If the model is neither on disk nor to be had from the hub.
        VeneerError: If it is neither CLIP nor DINO, or has no safetensors weights.
    """
    hide_progress_bars()
    source, revision = split_revision(name)[0], revision_of(name, revision)
    source = str(pocket_folder() / "clip") if name == "pocket" else source
    try:
        kind = AutoConfig.from_pretrained(source, revision=revision, **asdata.SETTINGS).model_type
        if kind != "clip" and "dino" not in kind:
            raise VeneerError(
                f"a {kind} model measures no likeness", where=name, todo=f"Use {CLIP} or {DINO}"
            )
        model = AutoModel.from_pretrained(source, revision=revision, **asdata.WEIGHTS)
        settings = {"revision": revision, **asdata.SETTINGS}
        processor = AutoImageProcessor.from_pretrained(source, backend="pil", **settings)
        tokenizer = AutoTokenizer.from_pretrained(source, **settings) if kind == "clip" else None
    except (OSError, ValueError) as error:
        raise _missing(name, error) from error
    model.requires_grad_(False)
    return Embedder(name, model.eval().to(device), processor, tokenizer, torch.device(device))


@contextlib.contextmanager
def _whole_float32() -> Iterator[None]:
    """Products on a GPU in float32 and not TF32, so that equal pictures have equal features in any batch."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def _missing(name: str, error: Exception) -> VeneerError:
    reason = asdata.why_not(error)
    if Path(name).exists():
        return VeneerError(f"the embedder cannot be loaded: {reason}", where=name)
    return NetworkError(
        f"the embedder that measures likeness cannot be loaded: {reason}",
        where=name,
        todo="Connect once so that it is kept on disk, name a folder with compare.embedder=FOLDER, "
        "or measure roughly with the bundled one: compare.embedder=pocket",
    )


def _open(picture: Image.Image | Path) -> Image.Image:
    if isinstance(picture, Path):
        with Image.open(picture) as opened:
            return opened.convert("RGB")
    return picture.convert("RGB")


def _unit_rows(features: torch.Tensor) -> Array:
    unit = torch.nn.functional.normalize(features.double(), dim=-1)
    return np.asarray(unit.cpu().numpy(), dtype=np.float64)


def _batches(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), EMBED_BATCH_SIZE):
        yield items[start : start + EMBED_BATCH_SIZE]
