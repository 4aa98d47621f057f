"""A word learnt as new vectors of the text encoder's vocabulary: attached, written, and loaded back.

Source: Gal et al. 2022, "An Image is Worth One Word: Personalizing Text-to-Image Generation using Textual
Inversion", section 4: the vectors alone are trained, by the same loss, and begin as a word that is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import TextualInversionLoaderMixin
from torch import Tensor, nn
from torch.nn import functional

from veneer.config import LoraTable
from veneer.errors import AdapterError, RecipeError
from veneer.lora.embedding_file import (
    Embedding,
    file_names,
    find_end,
    load_textual_inversion,
    read_embedding,
    token_names,
    unload_textual_inversion,
)
from veneer.lora.file import write_weights
from veneer.lora.keys import OWN_TOKEN
from veneer.models.base import Base, assemble, encode_prompts
from veneer.models.families import Family
from veneer.models.families.family import Conditioning, Parts

PROMPTS = ("{}", "a picture, {}", "{} of a city at night")
"""What the text encoder is asked when a written file is loaded back."""
_TOLERANCE = 1e-5


def refuse_words(lora: LoraTable, family: Family) -> None:
    """Refuse to learn a word where the family's bases cannot.

    Raises:
        RecipeError: If a word is to be learnt, and the family learns none.
    """
    if lora.embedding_token and not family.learns_words:
        raise RecipeError(
            f"words are not learnt on {family.label} yet",
            where="lora.embedding_token",
            todo="Leave it out; caption.trigger = WORD with lora.text_encoder = true teaches a word too",
        )


class PlaceholderEmbedding(nn.Module):
    """A text encoder's token embedding with trained rows after its own frozen ones.

    The trained rows are float32 whatever the text encoder's precision is.

    Args:
        vectors: Vectors of the new tokens, shape (n, D); their numbers follow ``first``.
        first: Number of the first new token.
    """

    def __init__(self, frozen: nn.Embedding, vectors: Tensor, first: int) -> None:
        super().__init__()
        self.frozen = frozen
        self.vectors = nn.Parameter(vectors.detach().to(frozen.weight.device, torch.float32, copy=True))
        self._first = first

    @property
    def weight(self) -> Tensor:
        """The frozen rows, of which transformers reads precision and device."""
        return self.frozen.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        """Look tokens up.

        Args:
            input_ids: Token numbers, shape (B, L).

        Returns:
            Their vectors, shape (B, L, D), in the text encoder's precision.
        """
        is_new = input_ids >= self._first
        own = self.frozen(torch.where(is_new, 0, input_ids))
        new = functional.embedding(torch.where(is_new, input_ids - self._first, 0), self.vectors)
        return torch.where(is_new[..., None], new.to(own.dtype), own)


def initial_embedding(parts: Parts, family: Family, lora: LoraTable) -> Embedding:
    """The word as it is before any training: it says what `embedding_init` says.

    Args:
        parts: The base's tokenizers and text encoders.
        lora: The settings, `embedding_token` not empty.

    Returns:
        The word; each of its vectors is that of a token of `embedding_init`, in turn.

    Raises:
        RecipeError: If the base knows the word already, or `embedding_init` has more tokens than there are
            vectors.
    """
    vectors = {
        part: _initial_vectors(parts[tokenizer], parts[part], lora)
        for part, tokenizer in family.text_encoders.items()
    }
    return Embedding(lora.embedding_token, vectors)


def _initial_vectors(tokenizer: Any, text_encoder: Any, lora: LoraTable) -> Tensor:
    names = token_names(lora.embedding_token, lora.embedding_vectors)
    vocabulary = tokenizer.get_vocab()
    if known := [name for name in names if name in vocabulary or f"{name}</w>" in vocabulary]:
        raise RecipeError(
            f"the base knows the word {known[0]} already",
            where="lora.embedding_token",
            todo="Take a word of your own, such as <my-style>",
        )
    ids = tokenizer(lora.embedding_init, add_special_tokens=False).input_ids
    if not 0 < len(ids) <= len(names):
        raise RecipeError(
            f"{lora.embedding_init!r} is {len(ids)} tokens for this base, and there are {len(names)} vectors",
            where="lora.embedding_init",
            todo="Name a shorter word, or set lora.embedding_vectors to as many",
        )
    chosen = torch.tensor([ids[number % len(ids)] for number in range(len(names))])
    weight: Tensor = text_encoder.get_input_embeddings().weight
    return weight[chosen.to(weight.device)].detach().to("cpu", torch.float32, copy=True)


def attach_embedding(parts: Parts, family: Family, embedding: Embedding) -> dict[str, nn.Parameter]:
    """Teach tokenizers and their text encoders a word whose vectors can be trained.

    Args:
        parts: The base's tokenizers, which learn the word, and its text encoders, whose embeddings are
            wrapped; their own rows stay frozen.

    Returns:
        The vectors by text encoder, each (n, D), float32.
    """
    vectors = {}
    for part, tokenizer in family.text_encoders.items():
        parts[tokenizer].add_tokens(list(embedding.tokens))
        first = parts[tokenizer].convert_tokens_to_ids(embedding.token)
        own = parts[part].get_input_embeddings()
        wrapped = PlaceholderEmbedding(own, embedding.vectors[part], first)
        parts[part].set_input_embeddings(wrapped)
        find_end(parts[part], parts[tokenizer])
        vectors[part] = wrapped.vectors
    return vectors


def spell_out(tokenizer: Any, prompts: Sequence[str]) -> list[str]:
    """Write out words of several vectors, as diffusers does before it draws.

    Args:
        tokenizer: A tokenizer that knows the words.

    Returns:
        The prompts, with ``TOKEN TOKEN_1 ...`` in the place of ``TOKEN``.
    """
    return list(TextualInversionLoaderMixin().maybe_convert_prompt(list(prompts), tokenizer))


def write_embedding(path: Path, embedding: Embedding) -> None:
    """Write a word for `pipe.load_textual_inversion`, A1111, ComfyUI and Forge.

    Args:
        path: The file; the last three call the word by the file's name.
    """
    text = dict(embedding.metadata)
    if len(embedding.vectors) > 1:  # no tensor says the word
        text[OWN_TOKEN] = embedding.token
    write_weights(path, file_names(embedding.token, embedding.vectors), text, hashed=True)


def file_stem(token: str) -> str:
    """Name of a word's file, which is its name in A1111, ComfyUI and Forge.

    Returns:
        The word without angle brackets, which Windows allows in no file's name.
    """
    return token.strip("<>")


@torch.no_grad()
def verify_embedding(path: Path, embedding: Embedding, base: Base) -> float:
    """Load a file back with plain diffusers, and compare what the text encoder says with the trained word.

    Args:
        path: The written file.
        embedding: What it should hold.
        base: The base with tokenizers and text encoders, all as before when this returns.

    Returns:
        Largest difference of an output, as a share of the largest output.

    Raises:
        AdapterError: If the file loads as something else.
    """
    pipeline = assemble(base, "ddim")
    prompts = [prompt.format(embedding.token) for prompt in PROMPTS]
    load_textual_inversion(pipeline, read_embedding(path), str(path))
    try:
        found = _read(base, prompts)
    finally:
        unload_textual_inversion(pipeline, embedding.token)
    wanted = _wanted(pipeline, embedding, base, prompts)
    difference = max(float((found[name] - one).abs().max() / one.abs().max()) for name, one in wanted.items())
    if not difference <= _TOLERANCE:
        raise AdapterError(
            f"the written embedding does not load as trained: outputs differ by {difference:.2g}",
            where=str(path),
            todo="Please report it, with the recipe's [lora] table; the trained weights are safe in train/",
        )
    return difference


def _wanted(pipeline: Any, embedding: Embedding, base: Base, prompts: Sequence[str]) -> Conditioning:
    """What the text encoders say with the word as it was trained."""
    own = {part: module.get_input_embeddings() for part, module in base.text_encoders.items()}
    try:
        attach_embedding(base.parts, base.family, embedding)
        return _read(base, prompts)
    finally:
        for part, module in base.text_encoders.items():
            module.set_input_embeddings(own[part])
        unload_textual_inversion(pipeline, embedding.token)


def _read(base: Base, prompts: Sequence[str]) -> Conditioning:
    told = encode_prompts(base, spell_out(base.tokenizer, prompts))
    return {name: one.float() for name, one in told.items()}
