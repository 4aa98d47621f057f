"""Pictures of every kind, and the run that one machine makes of them, to hold a cluster's run against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from helpers.tiny import tiny_pictures
from helpers.webserver import Web
from veneer.config import Recipe
from veneer.recipe import resolve
from veneer.records.files import write_text

TIMES = {"seconds", "fetched", "time", "collected"}
"""Keys of provenance that no two commands have alike."""


def odd_sources(folder: Path, web: Web, count: int = 7) -> list[str]:
    """A folder with good, equal, broken and alike pictures, and a list of addresses, some of which fail."""
    pictures = tiny_pictures(folder / "pictures", count)
    names = sorted(pictures.iterdir())
    for number, path in enumerate(names):
        path.rename(path.with_stem(f"picture of number {number}"))
    first, second, third, *_ = sorted(pictures.iterdir())
    (pictures / "same as the first.png").write_bytes(first.read_bytes())
    (pictures / "torn.png").write_bytes(second.read_bytes()[:90])
    Image.open(third).save(pictures / "another form.webp", lossless=True)
    listed = [web.picture(f"/{index}.png", index) for index in range(4)]
    listed += [web.answer("/gone.png", 404), web.answer("/page.png", 200, b"<p>", Content_Type="text/html")]
    write_text(folder / "list.txt", "\n".join(listed) + "\n")
    return [str(pictures), f"urls:{folder / 'list.txt'}"]


def odd_recipe(base: Path, captioner: Path | str, sources: list[str]) -> Recipe:
    """Up to `encode`, with a captioner."""
    return resolve(
        {
            "base": {"model": str(base)},
            "collect": {"sources": sources},
            "caption": {"model": str(captioner), "prefix": "a picture of"},
            "encode": {"resolution": 32},
            "compare": {"embedder": "pocket"},
        }
    )


def contents(folder: Path) -> dict[str, bytes]:
    """All files but those that name times and places; of those what does not."""
    found = {path: path for path in folder.rglob("*") if path.is_file()}
    told = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
    plain = {
        name: content
        for name, content in told.items()
        if name.rpartition("/")[2][0] != "." and name != "check.html"
    }
    return {name: _timeless(name, one) if name.endswith(".jsonl") else one for name, one in plain.items()}


def _timeless(name: str, content: bytes) -> bytes:
    lines: list[dict[str, Any]] = [json.loads(line) for line in content.splitlines()]
    kept = [json.dumps({k: v for k, v in line.items() if k not in TIMES}) for line in lines]
    if name.endswith("reasons.jsonl"):  # how many are fetched before the first is entered decides their order
        kept.sort()
    return "\n".join(kept).encode()
