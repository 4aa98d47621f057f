"""Learnt words (textual inversion): read from their files, and put on a pipeline that draws."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from veneer.errors import AdapterError
from veneer.lora.tensorfile import FLOATS, read_tensors
from veneer.models.quiet import quiet_libraries

LONGEST_WORD = 200
PARAMS_KEY = "emb_params"
"""Key of the vectors in files of A1111's and kohya's tools; the file's name is the word there."""


@dataclass(frozen=True)
class Embedding:
    """A word with vectors of its own in the text encoder's vocabulary.

    Attributes:
        token: The word; with more vectors than one, ``TOKEN_1`` and so on are taken too.
        vectors: Its vectors, shape (n, D).
        metadata: Text that the file carries.
    """

    token: str
    vectors: Tensor = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def tokens(self) -> tuple[str, ...]:
        """Entries of the vocabulary, one for each vector, named as diffusers names them."""
        return token_names(self.token, len(self.vectors))


def token_names(token: str, count: int) -> tuple[str, ...]:
    """Entries that a word of several vectors takes in the vocabulary.

    Args:
        count: Its vectors, >= 1.

    Returns:
        ``TOKEN``, ``TOKEN_1``, ``TOKEN_2`` and so on, as in diffusers.
    """
    return (token, *(f"{token}_{number}" for number in range(1, count)))


def read_embedding(path: Path) -> Embedding:
    """Read a learnt word, of Veneer or another tool.

    Args:
        path: The `.safetensors` file: one tensor, named by its word, or ``emb_params`` in a file of the
            word's name.

    Returns:
        The word and its vectors.

    Raises:
        AdapterError: If the file is missing, damaged, a pickle, or no such file.
    """
    tensors, metadata = read_tensors(path, "embedding")
    name, vectors = next(iter(tensors.items()), ("", None))
    if len(tensors) != 1 or vectors is None or not 0 < vectors.ndim <= 2 or not _is_word(name):
        todo = "Name the file of one learnt word; a LoRA goes to --lora"
        raise AdapterError("the file holds no textual-inversion embedding", where=str(path), todo=todo)
    if not vectors.numel() or vectors.dtype not in FLOATS or not torch.isfinite(vectors).all():
        what = f"the embedding {name!r} holds numbers that are not finite, of no usual precision, or none"
        raise AdapterError(what, where=str(path), todo="Take the file again: it is useless")
    return Embedding(
        path.stem if name == PARAMS_KEY else name, vectors.reshape(-1, vectors.shape[-1]), metadata
    )


def _is_word(name: str) -> bool:
    """Whether a tensor's name can be a word of a prompt; a LoRA's weight is none."""
    return name.isprintable() and 0 < len(name.strip()) <= LONGEST_WORD and not name.endswith(".weight")


def load_textual_inversion(pipeline: Any, embedding: Embedding, where: str = "") -> None:
    """Teach a pipeline a word, in place of the same word before.

    Args:
        pipeline: diffusers' `StableDiffusionPipeline`.
        where: Its file, for messages.

    Raises:
        AdapterError: If it is made for another base.
    """
    unload_textual_inversion(pipeline, embedding.token)
    try:
        # transformers tells how new rows start, and they are written over
        with quiet_libraries(), torch.random.fork_rng(devices=[]):
            pipeline.load_textual_inversion({embedding.token: embedding.vectors})
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        what = f"the embedding does not fit this base: {reason}"
        raise AdapterError(what, where=where, todo="Name the base that it was trained on") from error


def unload_textual_inversion(pipeline: Any, token: str) -> None:
    """Make a pipeline forget a word; nothing where it does not know it.

    Args:
        pipeline: diffusers' `StableDiffusionPipeline`.
    """
    known = pipeline.tokenizer.added_tokens_encoder
    own = [name for name in known if re.fullmatch(rf"{re.escape(token)}(_\d+)?", name)]
    if own:
        pipeline.unload_textual_inversion(own)
