"""Text embeddings of every caption, computed once by the frozen text tower.

Kept in ``WORK/SIZE/``; read by ``train_clip.py``, ``train_layout.py`` and ``train_unet.py``.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from .config import Size, work_folder
from .draw import Picture, load_pictures
from .training import low_precision, quick_attention


def cache_texts(
    size: Size, model: CLIPModel, tokenizer: CLIPTokenizer, name: str = "texts"
) -> dict[str, Tensor]:
    """States and rows of every caption; row 0 is the empty one.

    Args:
        size: The preset.
        model: Whose text tower reads them.
        tokenizer: Its tokenizer.
        name: Name of the file, one for each text tower.

    Returns:
        ``states`` (captions, 77, width) float16, ``pooled`` (captions, width), the state of each
        end token, and ``rows`` (pictures, 4), the captions of each picture.
    """
    file = _file(size, name)
    if not file.exists():
        pictures = load_pictures(size)[1]
        captions = different_captions(pictures)
        states, pooled = encode_texts(model, tokenizer, captions)
        save_file({"states": states, "pooled": pooled, "rows": caption_rows(pictures, captions)}, file)
    return load_file(file)


def forget_texts(size: Size, name: str) -> None:
    """Remove a cache, since the text tower that made it is about to change."""
    _file(size, name).unlink(missing_ok=True)


def _file(size: Size, name: str) -> Path:
    return work_folder() / size.name / f"{name}.safetensors"


def different_captions(pictures: list[Picture]) -> list[str]:
    """Every caption once, the empty one first."""
    return list(dict.fromkeys(["", *(text for picture in pictures for text in picture.captions)]))


def tokens_of(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Numbers of tokens as the pipeline makes them, padded, (N, 77)."""
    return tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids


def caption_rows(pictures: list[Picture], captions: list[str]) -> Tensor:
    """The row of each caption of each picture, (pictures, 4)."""
    number = {caption: row for row, caption in enumerate(captions)}
    return torch.from_numpy(np.array([[number[text] for text in picture.captions] for picture in pictures]))


@torch.no_grad()
def encode_texts(
    model: CLIPModel, tokenizer: CLIPTokenizer, texts: list[str], batch: int = 64
) -> tuple[Tensor, Tensor]:
    """Last hidden states as the pipeline computes them, (N, 77, width) float16, and pooled ones."""
    states, pooled = [], []
    for start in range(0, len(texts), batch):
        tokens = tokens_of(tokenizer, texts[start : start + batch]).to(model.device)
        with low_precision(model.device), quick_attention():
            answer = model.text_model(input_ids=tokens)
        states.append(answer.last_hidden_state.half().cpu())
        pooled.append(answer.pooler_output.float().cpu())
    return torch.cat(states), torch.cat(pooled)


def whitening(pooled: Tensor, num_out: int) -> Tensor:
    """The projection that spreads pooled states evenly over its directions.

    A text tower that was trained briefly puts all names close together; this pulls them apart.

    Args:
        pooled: (N, width).
        num_out: Directions kept, the strongest.

    Returns:
        (num_out, width).
    """
    moments = pooled.T @ pooled / len(pooled)
    values, vectors = torch.linalg.eigh(moments)
    strongest = values.argsort(descending=True)[:num_out]
    damped = (values[strongest] + 1e-3 * values.mean()).rsqrt()
    return (vectors[:, strongest] * damped).T.contiguous()
