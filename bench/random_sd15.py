"""Stable Diffusion 1.5 or XL in its exact structure and Hugging Face layout, with random weights.

    python -m bench.random_sd15 FOLDER [--family sdxl] [--dtype float16] [--blip FOLDER]

859,520,964 weights of the UNet, 83,653,863 of the VAE, 123,060,480 of the text encoder, CLIP's real
vocabulary (from the package open_clip_torch). What runs on it runs on the real one, in the same time and
memory; only the pictures are noise. Files are written tensor by tensor, so building takes little memory.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    BlipProcessor,
    CLIPTextConfig,
)

from veneer.models.families import Family, family_named
from veneer.models.families.sd import SD1 as SD1_FAMILY
from veneer.models.modelfiles import read_json
from veneer.models.vocabulary import find_vocabulary
from veneer.records.files import staged_folder
from veneer.seeds import torch_generator

DTYPES = {
    "float32": (torch.float32, "F32"),
    "float16": (torch.float16, "F16"),
    "bfloat16": (torch.bfloat16, "BF16"),
}
POOL = (
    1 << 22
)  # random numbers that all tensors are cut from: drawing 10^9 of them would take most of the time
DEC_TOKEN, SEP_TOKEN = 30522, 102
TIED = ("text_decoder.cls.predictions.decoder.weight", "text_decoder.cls.predictions.decoder.bias")


def build_random_sd15(
    folder: Path, dtype: str = "float16", seed: int = 0, *, family: Family = SD1_FAMILY
) -> Path:
    """Build the base.

    Args:
        folder: Where it goes; what is there already is replaced.
        dtype: Precision of the files: "float32" (4.3 GB; SDXL 13.9), "float16" or "bfloat16" (half).
        family: Whose structure it has; one that comes in single files.

    Returns:
        The folder.
    """
    with staged_folder(folder) as half:
        shutil.copytree(settings_of(family), half, dirs_exist_ok=True)
        for tokenizer in family.tokenizers:
            find_vocabulary(half / "model.safetensors", half / tokenizer)
        for name, module in structure(family).items():
            stem = "model" if name in family.text_encoders else "diffusion_pytorch_model"
            prefix = "text_model." if name == "text_encoder" else ""
            write_random(half / name / f"{stem}.safetensors", module, dtype, seed, prefix)
    return folder


def build_random_blip(folder: Path, dtype: str = "float16", seed: int = 0) -> Path:
    """Build a captioner of the structure of BLIP base, with random weights and a made-up vocabulary.

    Args:
        folder: Where it goes; what is there already is replaced.
        dtype: Precision of the file.

    Returns:
        The folder.
    """
    config = BlipConfig()
    with torch.device("meta"):
        module = BlipForConditionalGeneration(config)
    special = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", SEP_TOKEN: "[SEP]", 103: "[MASK]", DEC_TOKEN: "[DEC]"}
    vocab = {special.get(number, f"word{number}"): number for number in range(config.text_config.vocab_size)}
    tokenizer = BertTokenizer(vocab=vocab, bos_token="[DEC]")
    images = BlipImageProcessorPil(size={"height": 384, "width": 384})
    with staged_folder(folder) as half:
        write_random(half / "model.safetensors", module, dtype, seed)
        config.save_pretrained(half)
        BlipProcessor(images, tokenizer).save_pretrained(half)
    return folder


def structure(family: Family = SD1_FAMILY) -> dict[str, nn.Module]:
    """The networks of a base without their weights.

    Returns:
        Modules on torch's meta device, by part.
    """
    settings = settings_of(family)
    found: dict[str, nn.Module] = {}
    with torch.device("meta"):
        for part, kind in family.networks.items():
            if part in family.text_encoders:
                found[part] = kind(CLIPTextConfig.from_pretrained(str(settings / part)))
            else:
                found[part] = kind.from_config(read_json(settings / part / "config.json"))
    return found


def settings_of(family: Family) -> Path:
    """Folder of the settings that a family's single files go by."""
    assert family.single_file is not None
    return family.single_file.settings


def write_random(path: Path, module: nn.Module, dtype: str, seed: int, prefix: str = "") -> None:
    """Write random weights for a module.

    Args:
        module: A module on the meta device.
        dtype: Precision of the file.
        prefix: Text before every name.
    """
    kind, code = DTYPES[dtype]
    own = {name: weight.shape for name, weight in sorted(module.state_dict().items()) if name not in TIED}
    shapes = {f"{prefix}{name}": shape for name, shape in own.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        _write_header(file, shapes, code, kind.itemsize)
        for tensor in _random_tensors(shapes, seed):
            file.write(tensor.to(kind).contiguous().view(torch.uint8).numpy().data)


def _write_header(file: BinaryIO, shapes: Mapping[str, torch.Size], code: str, itemsize: int) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + shape.numel() * itemsize
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)


def _random_tensors(shapes: Mapping[str, torch.Size], seed: int) -> Iterator[Tensor]:
    """Norms at one, biases at zero, and the rest so wide that signals neither die nor grow."""
    pool = torch.randn(POOL, generator=torch_generator(seed, "random-sd15"))
    for name, shape in shapes.items():
        if len(shape) == 1:
            yield torch.ones(shape) if "norm" in name and name.endswith("weight") else torch.zeros(shape)
            continue
        count = shape.numel()
        start = torch_generator(seed, "start", item=name).initial_seed() % POOL
        repeats = -(-(start + count) // POOL)
        values = pool.repeat(repeats)[start : start + count] if repeats > 1 else pool[start : start + count]
        yield values.reshape(shape) / math.sqrt(count / shape[0])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the base goes")
    parser.add_argument("--family", choices=("sd1", "sdxl"), default="sd1")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--blip", type=Path, help="where a random BLIP goes")
    arguments = parser.parse_args()
    family = family_named(arguments.family) or SD1_FAMILY
    print(build_random_sd15(arguments.folder, arguments.dtype, arguments.seed, family=family))
    if arguments.blip:
        print(build_random_blip(arguments.blip, arguments.dtype, arguments.seed))


if __name__ == "__main__":
    main()
