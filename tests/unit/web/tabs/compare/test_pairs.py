"""Base and tuned pictures side by side."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from veneer.records.files import write_json
from veneer.web.tabs.compare import pairs as pictures_beside


def test_base_and_tuned_are_found_by_name(tmp_path: Path) -> None:
    for side in ("base", "tuned"):
        (tmp_path / side).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / side / "000-7.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "tuned" / "001-7.png")
    write_json(
        tmp_path / "prompts.json",
        [{"index": n, "prompt": text, "kind": "recipe"} for n, text in enumerate(["a <b>", "c"])],
    )
    (pair,) = pictures_beside.find_beside(tmp_path / "base", tmp_path / "tuned", tmp_path / "prompts.json")
    shown = pictures_beside.slider(pair)
    assert 'alt="Tuned: a &lt;b&gt; · seed 7"' in shown
    assert 'type="range"' in shown
