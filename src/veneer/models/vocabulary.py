"""CLIP's vocabulary for checkpoints, which hold none: from beside them, a package, or the hub."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path

from huggingface_hub import snapshot_download

from veneer.errors import BaseModelError
from veneer.hubnames import CLIP, revision_of

CLIP_FILES = ("vocab.json", "merges.txt")
NUM_TOKENS = 49408
MAX_TOKENS = 77
"""Tokens that CLIP's text encoder reads, with the marks of beginning and end."""

SPECIAL = ("<|startoftext|>", "<|endoftext|>")


def find_vocabulary(checkpoint: Path, folder: Path) -> None:
    """Put CLIP's `vocab.json` and `merges.txt` into a folder.

    They are looked for in `tokenizer/` beside the checkpoint, in an installed open_clip, and on the hub.

    Args:
        checkpoint: The checkpoint that needs a tokenizer.

    Raises:
        BaseModelError: If they are nowhere to be had.
    """
    beside = checkpoint.parent / "tokenizer"
    if all((beside / name).is_file() for name in CLIP_FILES):
        _copy(beside, folder)
    elif (merges := _open_clip_merges()) is not None:
        write_vocabulary(merges, folder)
    else:
        _copy(_from_hub(checkpoint), folder)


def write_vocabulary(merges: list[str], folder: Path) -> None:
    """Write a byte-level BPE vocabulary in Hugging Face layout.

    Args:
        merges: Merges such as ``t h``, in their order.
        folder: Where `vocab.json` and `merges.txt` go.
    """
    letters = [chr(code) for code in _byte_codes()]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += [merge.replace(" ", "") for merge in merges]
    vocab = {token: index for index, token in enumerate([*tokens, *SPECIAL])}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", "utf-8")


def _open_clip_merges() -> list[str] | None:
    spec = importlib.util.find_spec("open_clip")
    for place in (spec.submodule_search_locations or []) if spec else []:
        path = Path(place) / "bpe_simple_vocab_16e6.txt.gz"
        if path.is_file():
            lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
            return lines[1 : NUM_TOKENS - 512 - len(SPECIAL) + 1]
    return None


def _byte_codes() -> list[int]:
    """Code points that stand for bytes, in CLIP's order: printable ones, then the others, from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*printable, *range(256, 256 + 256 - len(printable))]


def _copy(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in CLIP_FILES:
        (folder / name).write_bytes((source / name).read_bytes())


def _from_hub(checkpoint: Path) -> Path:
    try:
        return Path(snapshot_download(CLIP, revision=revision_of(CLIP), allow_patterns=list(CLIP_FILES)))
    except Exception as error:
        raise BaseModelError(
            "the checkpoint holds no tokenizer, and CLIP's vocabulary is not on this machine",
            where=str(checkpoint),
            todo="Put vocab.json and merges.txt of any Stable Diffusion 1.x into a folder `tokenizer` beside "
            "it, or `pip install open_clip_torch`, which brings them, or go online once",
        ) from error
