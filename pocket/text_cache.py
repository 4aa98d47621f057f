"""Text embeddings of every caption, computed once by the frozen text tower.

Read by ``train_clip.py``, ``train_layout.py`` and ``train_unet.py``. A CPU keeps them in ``WORK/SIZE/``; a
GPU makes them anew in less time than their gigabytes take to be written.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPModel

from .config import Size, work_folder
from .device import low_precision, quick_attention
from .tokens import cache_tokens

CPU_BATCH, GPU_BATCH = 64, 2048


def cache_texts(size: Size, model: CLIPModel, name: str = "texts") -> dict[str, Tensor]:
    """States and rows of every caption, on the model's device; row 0 is the empty one.

    Args:
        size: The preset.
        model: Whose text tower reads them.
        name: Name of the file, one for each text tower.

    Returns:
        ``states`` (captions, 77, width) float16, ``pooled`` (captions, width), the state of each
        end token, and ``rows`` (pictures, 4), the captions of each picture.
    """
    if model.device.type != "cpu":
        return read_texts(size, model)
    file = _file(size, name)
    if not file.exists():
        unfinished = file.with_suffix(".partial")
        save_file(read_texts(size, model), unfinished)
        unfinished.rename(file)
    return load_file(file)


def read_texts(size: Size, model: CLIPModel) -> dict[str, Tensor]:
    """What ``cache_texts`` keeps."""
    known = cache_tokens(size)
    states, pooled = encode_texts(model, known["tokens"])
    return {"states": states, "pooled": pooled, "rows": known["rows"].to(model.device)}


def forget_texts(size: Size, name: str) -> None:
    """Remove a cache, since the text tower that made it is about to change."""
    _file(size, name).unlink(missing_ok=True)


def _file(size: Size, name: str) -> Path:
    return work_folder() / size.name / f"{name}.safetensors"


@torch.no_grad()
def encode_texts(model: CLIPModel, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens (N, 77) => last hidden states as the pipeline has them, (N, 77, width) float16, and pooled."""
    states, pooled = [], []
    for part in tokens.split(CPU_BATCH if model.device.type == "cpu" else GPU_BATCH):
        with low_precision(model.device), quick_attention():
            answer = model.text_model(input_ids=part.to(model.device).long())
        states.append(answer.last_hidden_state.half())
        pooled.append(answer.pooler_output.float())
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
