"""The tokens of every caption: ``python -m pocket tokens``.

Kept in ``WORK/SIZE/tokens.safetensors``; a step that learns from captions picks rows and asks no tokenizer.
"""

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTokenizer

from .config import Size, work_folder
from .draw import Picture, load_pictures
from .tokenizer import tokenizer_folder
from .waiting import wait_for


def load_tokenizer(size: Size) -> CLIPTokenizer:
    """The tokenizer of a preset."""
    return CLIPTokenizer.from_pretrained(tokenizer_folder(size))


def cache_tokens(size: Size) -> dict[str, Tensor]:
    """Tokens of every caption and the captions of every picture; row 0 is the empty caption.

    Returns:
        ``tokens`` (captions, 77) int32 as the pipeline makes them, and ``rows`` (pictures, 4).
    """
    file = work_folder() / size.name / "tokens.safetensors"
    if not file.exists():
        wait_for(size, "tokenizer")
        pictures = load_pictures(size)
        captions = different_captions(pictures)
        tokens = tokens_of(load_tokenizer(size), captions)
        unfinished = file.with_suffix(".partial")
        save_file({"tokens": tokens, "rows": caption_rows(pictures, captions)}, unfinished)
        unfinished.rename(file)
    return load_file(file)


def different_captions(pictures: list[Picture]) -> list[str]:
    """Every caption once, the empty one first."""
    return list(dict.fromkeys(["", *(text for picture in pictures for text in picture.captions)]))


def tokens_of(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Numbers of tokens as the pipeline makes them, padded, (N, 77) int32."""
    made = tokenizer(texts, padding="max_length", truncation=True, return_tensors="np")
    return torch.from_numpy(made.input_ids.astype(np.int32))


def caption_rows(pictures: list[Picture], captions: list[str]) -> Tensor:
    """The row of each caption of each picture, (pictures, 4)."""
    number = {caption: row for row, caption in enumerate(captions)}
    return torch.from_numpy(np.array([[number[text] for text in picture.captions] for picture in pictures]))


def without_padding(tokens: Tensor) -> Tensor:
    """Cut (N, 77) after the longest text's end token, which is what the rest is padded with."""
    longest = int((tokens != tokens[0, -1]).sum(1).max())
    return tokens[:, : longest + 1]
