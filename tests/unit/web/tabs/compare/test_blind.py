"""The studio's blind vote: what is shown is what is voted on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from veneer.records.files import write_json
from veneer.records.prompts import Prompt, write_prompts
from veneer.records.run import RunDir
from veneer.records.votes import read_votes
from veneer.web.studio import Studio
from veneer.web.tabs.compare.blind import ask, cast_vote


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run, random = RunDir(tmp_path / "run"), np.random.default_rng(0)
    prompts = [Prompt(index=n, prompt=f"prompt {n}", kind="recipe") for n in range(2)]
    for side in ("base", "tuned"):
        run.drawn.of(side).mkdir(parents=True)
        for n in range(2):
            pixels = random.integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(run.drawn.of(side) / f"{n:03d}-0.png")
    write_prompts(run.drawn.prompts_json, prompts)
    write_json(run.metrics_json, {"verdict": "better", "reasons": [], "measures": {}})
    return run


def test_a_vote_is_for_the_pair_shown_and_the_count_comes_at_the_end(run: RunDir) -> None:
    studio = cast(Studio, SimpleNamespace(workspace=SimpleNamespace(run=lambda name: run)))
    shown: tuple[Any, ...] = ask(studio, "run")
    assert "base" not in shown[1].split("base64")[0] + shown[1].split('alt="')[1]
    again = cast_vote(studio, "left", "run", "of a run that was looked at before")
    assert not read_votes(run.votes_jsonl)
    assert again[0] == shown[0]
    second = cast_vote(studio, "left", "run", shown[0])
    assert len(read_votes(run.votes_jsonl)) == 1
    assert "Blind vote" not in second[-1]
    last = cast_vote(studio, "right", "run", second[0])
    assert last[0] == ""
    assert "2 of 2 pairs" in last[-1]
    assert "Blind vote" in last[-1]
