"""The blind vote: nothing tells the sides apart, votes outlast a stop, the share has an exact interval."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from veneer.cli import exit_status
from veneer.proof.blind import Tally, blind_pairs, cast, next_pair, side_by_side, tally, tally_words
from veneer.proof.pairs import read_pairs
from veneer.records.files import write_json
from veneer.records.prompts import Kind, Prompt, write_prompts
from veneer.records.run import RunDir
from veneer.records.votes import read_votes


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Sixteen prompts with two seeds, one outside the style; base dark, tuned bright."""
    run, random = RunDir(tmp_path / "run"), np.random.default_rng(0)
    kinds: list[Kind] = ["recipe" for _ in range(16)]
    kinds.append("general")
    prompts = [Prompt(index=n, prompt=f"prompt {n}", kind=kind) for n, kind in enumerate(kinds)]
    for folder, level in ((run.drawn.of("base"), 0), (run.drawn.of("tuned"), 128)):
        folder.mkdir(parents=True)
        for prompt in prompts:
            for seed in range(2):
                pixels = level + random.integers(0, 100, (8, 8, 3)).astype(np.uint8)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{prompt.index:03d}-{seed}.png")
    write_prompts(run.drawn.prompts_json, prompts)
    write_json(run.metrics_json, {"verdict": "better", "reasons": [], "measures": {}})
    return run


def test_each_prompt_of_the_style_is_asked_once_with_sides_dealt_evenly(run: RunDir) -> None:
    pairs = blind_pairs(read_pairs(run.drawn))
    assert sorted(one.pair.prompt for one in pairs) == sorted(f"prompt {n}" for n in range(16))
    assert 3 <= sum(one.left == "base" for one in pairs) <= 13
    assert [one.pair.prompt for one in pairs] != sorted(one.pair.prompt for one in pairs)
    for one in pairs:
        sheet = np.asarray(Image.open(io.BytesIO(side_by_side(one))), float)
        assert (sheet[:, :512].mean() < sheet[:, -512:].mean()) == (one.left == "base")


def test_a_vote_goes_on_where_it_was_stopped_and_counts_for_the_right_side(run: RunDir) -> None:
    first = next_pair(run)
    assert first is not None
    cast(run, first, "left" if first.left == "tuned" else "right")
    second = next_pair(run)
    assert second is not None and second.pictures != first.pictures
    cast(run, second, "neither")
    assert tally(run) == Tally(tuned=1, base=0, neither=1, num_pairs=16)


def test_votes_on_pictures_that_were_drawn_anew_do_not_count(run: RunDir) -> None:
    first = next_pair(run)
    assert first is not None
    cast(run, first, "left")
    Image.new("RGB", (8, 8), "red").save(first.pair.tuned)
    assert tally(run).num_votes == 0


@pytest.mark.parametrize(
    ("tuned", "base", "low", "high", "word"),
    [(16, 0, 0.794, 1, "better"), (8, 8, 0.247, 0.753, "not shown"), (1, 15, 0.0016, 0.302, "worse")],
)
def test_the_interval_is_clopper_and_pearsons(
    tuned: int, base: int, low: float, high: float, word: str
) -> None:
    votes = Tally(tuned, base, 2, 20)
    assert votes.interval == pytest.approx((low, high), abs=1e-3)
    assert votes.word == word


def test_votes_and_verdict_agree_or_it_is_said() -> None:
    assert "agree: better" in tally_words(Tally(16, 0, 0, 16), "better")
    assert "disagree: people say worse" in tally_words(Tally(0, 16, 0, 16), "better")
    assert "people say better" in tally_words(Tally(16, 0, 0, 16), "trade").replace("People", "people")
    assert tally_words(Tally(0, 0, 3, 16), "better") == ""


def test_keys_vote_until_q(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = iter(["l", "x", "R", "n", "q"])
    monkeypatch.setattr("typer.prompt", lambda *given, **options: next(keys))
    monkeypatch.setattr("typer.launch", lambda *given, **options: 0)
    assert exit_status(["compare", str(run.root), "--blind"]) == 0
    said = capsys.readouterr().out
    assert "3 of 16 pairs have a vote" in said
    assert "base" not in said.split("of 16 pairs")[0]
    assert len(read_votes(run.votes_jsonl)) == 3
