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
from veneer.lora.keys import OWN_TOKEN
from veneer.lora.tensorfile import FLOATS, read_tensors
from veneer.models.quiet import quiet_libraries

LONGEST_WORD = 200
PARAMS_KEY = "emb_params"
"""Key of the vectors in files of A1111's and kohya's tools; the file's name is the word there."""
ENCODER_KEYS = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
"""Keys of the vectors in files for two text encoders, by whose they are; the file's name is the word."""
READERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
"""Text encoders that words are learnt on, and their tokenizers."""
_LEGACY_END = 2
"""The end of a prompt in wrong settings of CLIP; transformers then takes the largest number for it."""


@dataclass(frozen=True)
class Embedding:
    """A word with vectors of its own in the vocabulary of each text encoder.

    Attributes:
        token: The word; with more vectors than one, ``TOKEN_1`` and so on are taken too.
        vectors: Its vectors by text encoder, each (n, D).
        metadata: Text that the file carries.
    """

    token: str
    vectors: Mapping[str, Tensor] = field(repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def tokens(self) -> tuple[str, ...]:
        """Entries of the vocabulary, one for each vector, named as diffusers names them."""
        return token_names(self.token, len(next(iter(self.vectors.values()))))


def file_names(token: str, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A word's vectors by their names in a file.

    Args:
        vectors: By text encoder.

    Returns:
        One text encoder's by the word; those of two as ``clip_l`` and ``clip_g``.
    """
    if len(vectors) == 1:
        return {token: next(iter(vectors.values()))}
    return {key: vectors[part] for key, part in ENCODER_KEYS.items()}


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
            word's name; or ``clip_l`` and ``clip_g``, for two text encoders.

    Returns:
        The word and its vectors.

    Raises:
        AdapterError: If the file is missing, damaged, a pickle, or no such file.
    """
    tensors, metadata = read_tensors(path, "embedding")
    if not is_embedding(tensors):
        todo = "Name the file of one learnt word; a LoRA goes to --lora"
        raise AdapterError("the file holds no textual-inversion embedding", where=str(path), todo=todo)
    for name, vectors in tensors.items():
        if not vectors.numel() or vectors.dtype not in FLOATS or not torch.isfinite(vectors).all():
            what = f"the embedding {name!r} holds numbers that are not finite, of no usual precision, or none"
            raise AdapterError(what, where=str(path), todo="Take the file again: it is useless")
    rows = {
        ENCODER_KEYS.get(name, "text_encoder"): one.reshape(-1, one.shape[-1])
        for name, one in sorted(tensors.items())
    }
    if len({len(one) for one in rows.values()}) > 1:
        what = "the embedding has more vectors for one text encoder than for the other"
        raise AdapterError(what, where=str(path), todo="Take the file again: no word can be made of it")
    return Embedding(_word(path, next(iter(tensors)), metadata), rows, metadata)


def is_embedding(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file's tensors are those of one learnt word."""
    is_of_two = bool(tensors) and tensors.keys() <= ENCODER_KEYS.keys()
    is_one = len(tensors) == 1 and _is_word(next(iter(tensors)))
    return (is_of_two or is_one) and all(0 < one.ndim <= 2 for one in tensors.values())


def _word(path: Path, name: str, metadata: Mapping[str, str]) -> str:
    """The word of a file whose first tensor has a name."""
    if name != PARAMS_KEY and name not in ENCODER_KEYS:
        return name
    said = metadata.get(OWN_TOKEN, "")
    return said if _is_word(said) else path.stem


def _is_word(name: str) -> bool:
    """Whether a tensor's name can be a word of a prompt; a LoRA's weight is none."""
    return name.isprintable() and 0 < len(name.strip()) <= LONGEST_WORD and not name.endswith(".weight")


def load_textual_inversion(pipeline: Any, embedding: Embedding, where: str = "") -> None:
    """Teach a pipeline a word, in place of the same word before.

    Args:
        pipeline: diffusers' `StableDiffusionPipeline` or `StableDiffusionXLPipeline`.
        where: Its file, for messages.

    Raises:
        AdapterError: If it is made for another base.
    """
    _refuse_misfit(pipeline, embedding, where)
    unload_textual_inversion(pipeline, embedding.token)
    try:
        # transformers tells how new rows start, and they are written over
        with quiet_libraries(), torch.random.fork_rng(devices=[]):
            for part, vectors in embedding.vectors.items():
                tokenizer, encoder = _reader(pipeline, part)
                pipeline.load_textual_inversion(
                    {embedding.token: vectors}, tokenizer=tokenizer, text_encoder=encoder
                )
                find_end(encoder, tokenizer)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        what = f"the embedding does not fit this base: {reason}"
        raise AdapterError(what, where=where, todo="Name the base that it was trained on") from error


def unload_textual_inversion(pipeline: Any, token: str) -> None:
    """Make a pipeline forget a word; nothing where it does not know it.

    Args:
        pipeline: diffusers' `StableDiffusionPipeline` or `StableDiffusionXLPipeline`.
    """
    for part in _readers(pipeline):
        tokenizer, encoder = _reader(pipeline, part)
        known = tokenizer.added_tokens_encoder
        own = [name for name in known if re.fullmatch(rf"{re.escape(token)}(_\d+)?", name)]
        if own:
            pipeline.unload_textual_inversion(own, tokenizer=tokenizer, text_encoder=encoder)


def find_end(text_encoder: Any, tokenizer: Any) -> None:
    """Let a CLIP take its pooled state at the prompt's end, as A1111, ComfyUI and Forge do.

    Settings of old name a wrong end, and transformers then looks for the largest number of a prompt: that is
    the end only as long as no word is added.
    """
    for module in text_encoder.modules():
        if getattr(module, "eos_token_id", None) == _LEGACY_END:
            module.eos_token_id = tokenizer.eos_token_id


def _refuse_misfit(pipeline: Any, embedding: Embedding, where: str) -> None:
    own, given = _readers(pipeline), set(embedding.vectors)
    if own == given:
        _refuse_sign(pipeline, embedding, where)
        return
    kind = type(pipeline).__name__
    what = (
        f"the embedding does not fit this base: for {len(given)} text encoders, this base has {len(own)}"
        if own
        else f"learnt words are not drawn with by {kind}"
    )
    raise AdapterError(what, where=where, todo="Name the base that it was trained on")


def _refuse_sign(pipeline: Any, embedding: Embedding, where: str) -> None:
    """Refuse a word that every prompt has: in its place, all of them would say something else."""
    signs = {sign for part in embedding.vectors for sign in _reader(pipeline, part)[0].all_special_tokens}
    if taken := sorted(signs & set(embedding.tokens)):
        what = f"the embedding's word {taken[0]!r} is a sign of the base's own, begin or end of a prompt"
        raise AdapterError(what, where=where, todo="Take another file: no prompt can call this word")


def _readers(pipeline: Any) -> set[str]:
    """Text encoders of a pipeline that words can be put on."""
    if not hasattr(pipeline, "load_textual_inversion"):
        return set()
    return {part for part in READERS if getattr(pipeline, part, None) is not None}


def _reader(pipeline: Any, part: str) -> tuple[Any, Any]:
    return getattr(pipeline, READERS[part]), getattr(pipeline, part)
