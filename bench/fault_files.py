"""Damaged files, thousands of them: LoRA files with odd headers, pictures, and files of captions."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save

from bench.faults import Slice, WrongError
from veneer.data.picture import decode_picture
from veneer.data.sidecars import FolderCaptions
from veneer.lora.info import inspect
from veneer.lora.merge import resize_adapter
from veneer.lora.reader import read_lora

FORMATS = ("jpg", "png", "webp", "bmp", "tif", "gif")
LAYERS = (
    "lora_unet_mid_block_attentions_0_proj_in",
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q",
    "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
)
ODD_NAMES = (
    "",
    ".",
    "lora_",
    "__metadata__",
    "\x1b[2J",
    "a" * 70_000,
    "é" * 300,
    "../x",
    "unet.",
    "lora_unet_",
)
ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, 10**30, "", "F32", [], {}, [[]], [-1, -1], [0, 10**18], [2**63, 2**63], "a\0b",
)  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """A folder to work in, and files to damage.

    Attributes:
        whole: Contents of whole files by suffix.
    """

    path: Path
    whole: Mapping[str, bytes]


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Cut at a random place, flip bits, overwrite the head, or repeat a piece.

    Args:
        content: A whole file.

    Returns:
        What is left of it.
    """
    data = bytearray(content)
    match chance.randrange(4):
        case 0:
            return bytes(data[: chance.randrange(len(data))])
        case 1:
            for _ in range(chance.randrange(1, 12)):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case 2:
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(min(64, len(data)))] = chance.randrange(256)
        case _:
            start, size = chance.randrange(len(data)), chance.randrange(1, 40)
            data[start : start + size] = data[:size] * chance.randrange(3)
    return bytes(data)


def whole_loras(folder: Path) -> Folder:
    """LoRA files to damage: plain, DoRA, half precision, with metadata."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for layer in LAYERS:
        tensors[f"{layer}.lora_down.weight"] = torch.randn(4, 8, generator=generator)
        tensors[f"{layer}.lora_up.weight"] = torch.randn(8, 4, generator=generator)
        tensors[f"{layer}.alpha"] = torch.tensor(2.0)
    dora = tensors | {f"{layer}.dora_scale": torch.ones(8, 1) for layer in LAYERS}
    peft = {
        name.replace("lora_unet_mid_block_attentions_0_proj_in.", "unet.mid_block.attentions.0.proj_in.")
        .replace("lora_down", "lora_A")
        .replace("lora_up", "lora_B"): weight
        for name, weight in tensors.items()
        if LAYERS[0] in name and "alpha" not in name
    }
    settings = {
        "unet.r": 4,
        "unet.lora_alpha": 2,
        "unet.alpha_pattern": {"proj_in": 1},
        "unet.use_rslora": False,
    }
    text = {"ss_network_dim": "4", "lora_adapter_metadata": json.dumps(settings)}
    return Folder(
        folder,
        {
            "kohya": save(tensors, {"ss_network_dim": "4"}),
            "dora": save(dora),
            "half": save({name: weight.half() for name, weight in tensors.items()}),
            "peft": save(peft, text),
        },
    )


def try_lora(folder: Folder, number: int) -> str:
    """Read one damaged LoRA file everywhere that a LoRA is read.

    Raises:
        WrongError: If what was read is not fit to be used.
    """
    chance = random.Random(number)
    path = folder.path / "x.safetensors"
    content = folder.whole[chance.choice(sorted(folder.whole))]
    path.write_bytes(_odd_header(content, chance) if chance.random() < 0.7 else damaged(content, chance))
    inspect(path)
    lora = read_lora(path)
    if not all(bool(torch.isfinite(weight).all()) for weight in lora.state.values()) or not lora.modules:
        raise WrongError("weights that are no numbers were read")
    if not lora.use_dora:
        resize_adapter(lora, 2)
    return "read"


def _odd_header(content: bytes, chance: random.Random) -> bytes:
    """The same file with a header that was changed as JSON, or is none."""
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    names = [name for name in header if name != "__metadata__"]
    for _ in range(chance.randrange(1, 4)):
        _change(header, chance.choice(names), chance)
    text = json.dumps(header, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    if chance.random() < 0.1:
        text = text[:-1] + b', "a": ' + b"[" * 9_000 + b"}"
    told = len(text) if chance.random() < 0.8 else chance.choice([0, 1, len(text) + 9, 2**40, 2**64 - 1])
    return told.to_bytes(8, "little") + text + data[: len(data) - chance.choice([0, 0, 0, 1, 64])]


def _change(header: dict[str, Any], name: str, chance: random.Random) -> None:
    entry = header.get(name)
    odd = chance.choice(ODD_VALUES)
    match chance.randrange(8):
        case 0:
            header[chance.choice(ODD_NAMES) + name[-20:]] = header.pop(name, odd)
        case 1:
            header[name] = odd
        case 2 if isinstance(entry, dict):
            entry["dtype"] = chance.choice(
                ["F64", "F16", "BF16", "I64", "BOOL", "F8_E4M3", "F8_E5M2", "U8", odd]
            )
        case 3 if isinstance(entry, dict):
            entry["shape"] = chance.choice([[4, 8, 1, 1], [32], [2, 16], [1, 32], [0, 8], odd])
        case 4 if isinstance(entry, dict):
            entry["data_offsets"] = chance.choice([[0, 0], [128, 0], [0, 10**12], [-1, 127], odd])
        case 5:
            header["__metadata__"] = chance.choice(
                [odd, {"a": odd}, {"lora_adapter_metadata": _settings(chance)}]
            )
        case 6:
            header.pop(name, None)
        case _:
            header[f"{name}{chance.choice(['.extra', '.hada_w1_a', '.diff', 'x', ''])}"] = entry


def _settings(chance: random.Random) -> str:
    odd = chance.choice(ODD_VALUES)
    table = {
        "unet.r": odd,
        "unet.lora_alpha": odd,
        "unet.alpha_pattern": chance.choice([odd, {"(a*)*": odd}]),
    }
    return chance.choice(
        [json.dumps(table), "[" * 5_000, "{", json.dumps(odd), "NaN", '{"unet.lora_alpha": NaN}']
    )


def whole_pictures(folder: Path) -> Folder:
    """Pictures of every format to damage.

    Returns:
        The folder and the files.
    """
    noise = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    whole = {}
    for suffix in FORMATS:
        path = folder / f"whole.{suffix}"
        Image.fromarray(noise).save(path)
        whole[suffix] = path.read_bytes()
    return Folder(folder, whole)


def try_picture(folder: Folder, number: int) -> str:
    """Decode one damaged picture.

    Returns:
        "decoded".

    Raises:
        WrongError: If it is not decoded to its end.
    """
    chance = random.Random(number)
    suffix = chance.choice(sorted(folder.whole))
    path = folder.path / f"x.{suffix}"
    path.write_bytes(damaged(folder.whole[suffix], chance))
    picture = decode_picture(path).picture
    picture.load()
    if picture.mode != "RGB":
        raise WrongError(f"decoded as {picture.mode}")
    return "decoded"


def whole_captions(folder: Path) -> Folder:
    """Files of captions to damage, beside three pictures."""
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"p{number}.png")
    rows = [(f"p{number}.png", f"a thing, {number}\nand “more”") for number in range(3)]
    lines = [
        json.dumps({"file_name": name, "text": text, "score": 0.5, "tags": ["a", None]})
        for name, text in rows
    ]
    table = "file_name,caption\n" + "".join(f'{name},"{text}"\n' for name, text in rows)
    return Folder(
        folder,
        {
            "metadata.csv": table.encode(),
            "metadata.jsonl": "\n".join(lines).encode(),
            "p1.txt": rows[1][1].encode("utf-16"),
            "p2.caption": rows[2][1].encode(),
        },
    )


def try_captions(folder: Folder, number: int) -> str:
    """Read one damaged file of captions.

    Returns:
        "read", or "read, none" where no caption is left.

    Raises:
        WrongError: If something is read that is no caption.
    """
    chance = random.Random(number)
    place = folder.path / "case"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for picture in folder.path.glob("p*.png"):
        shutil.copy(picture, place)
    name = chance.choice(sorted(folder.whole))
    (place / name).write_bytes(_odd_text(folder.whole[name], chance))
    pictures = [f"p{n}.png" for n in range(3)]
    folder_captions = FolderCaptions(place, [*pictures, name], pictures)
    list(folder_captions.notices("collect", "case"))
    found = folder_captions.items
    if not all(isinstance(item.caption, str) for item in found.values()):
        raise WrongError("a caption that is no text was read")
    return "read" if found else "read, none"


def _odd_text(content: bytes, chance: random.Random) -> bytes:
    makers: list[Callable[[], bytes]] = [
        lambda: damaged(content, chance),
        lambda: content + b'\n{"file_name": "p1.png", "text": ' + b"[" * 20_000,
        lambda: content.replace(
            b"p1.png", chance.choice([b"", b"../p1.png", b"/etc/passwd", b"p\0.png", b"x" * 5_000])
        ),
        lambda: content.replace(b"a thing", b"a" * 200_000),
        lambda: content.replace(
            b'"text"', chance.choice([b'"text":7,"a"', b'"text":null,"a"', b'"Text"', b'"prompt"'])
        ),
        lambda: content.decode("utf-8", "replace").encode(
            chance.choice(["utf-16", "utf-8-sig", "cp1252", "utf-32"]), "replace"
        ),
        lambda: content.replace(b"\n", chance.choice([b"\r", b"\r\n", b"\0", b"\x85"])),
        lambda: b"\xff" * chance.randrange(1, 300),
        lambda: content.replace(b"0.5", b"1" * 5_000),
    ]
    return chance.choice(makers)()


SLICES = (
    Slice("lora-headers", "LoRA files with damaged or odd headers", 500, range(40), whole_loras, try_lora),
    Slice("pictures", "damaged pictures of six formats", 2000, range(60), whole_pictures, try_picture),
    Slice("captions", "damaged and odd files of captions", 2000, range(60), whole_captions, try_captions),
)
