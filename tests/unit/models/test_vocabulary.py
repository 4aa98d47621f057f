"""CLIP's vocabulary for checkpoints."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from veneer.errors import BaseModelError
from veneer.models import vocabulary
from veneer.models.vocabulary import find_vocabulary


def test_beside_the_checkpoint(tmp_path: Path) -> None:
    beside = tmp_path / "tokenizer"
    vocabulary.write_vocabulary(["t h"], beside)
    find_vocabulary(tmp_path / "m.safetensors", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "vocab.json").read_text())["th"] == 512


@pytest.mark.skipif(importlib.util.find_spec("open_clip") is None, reason="open_clip_torch is not installed")
def test_from_the_package(tmp_path: Path) -> None:
    find_vocabulary(tmp_path / "m.safetensors", tmp_path / "out")
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path / "out")
    # Numbers that every Stable Diffusion 1.x gives for this prompt.
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert len(tokenizer) == vocabulary.NUM_TOKENS


def test_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "_open_clip_merges", lambda: None)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(vocabulary, "CLIP", "nobody/nothing")
    with pytest.raises(BaseModelError, match=r"holds no tokenizer.*folder `tokenizer` beside it"):
        find_vocabulary(tmp_path / "m.safetensors", tmp_path / "out")
