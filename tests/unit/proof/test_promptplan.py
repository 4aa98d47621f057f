"""How many prompts an answer takes: more where less is known, none where the difference is too large."""

from __future__ import annotations

import numpy as np

from veneer.proof.promptplan import POWER, prompts_after, prompts_before
from veneer.stats import paired


def measured(delta: float, n: int = 8) -> dict[str, object]:
    random = np.random.default_rng(0)
    base, noise = random.normal(0.3, 0.02, n), random.normal(0, 0.03, n)
    return paired(base, base + delta + (noise - noise.mean()), range(n)).plain()


def test_each_open_question_says_how_many_more_prompts_it_needs() -> None:
    metrics = {"measures": {"style": measured(0.1), "prompt": measured(0.0), "retrieval": None}}
    style, prompt = prompts_after(metrics, 0.02)
    assert style == "nearer to the style: shown with 8 prompts"
    needed = int(prompt.split("about ")[1].split()[0])
    assert needed > 8
    easier = prompts_after(metrics | {"facts": {"style_cost": 0.04, "prompt_span": 0.3}}, 0.02)[1]
    assert "shown with 8" in easier or int(easier.split("about ")[1].split()[0]) < needed


def test_a_loss_beyond_the_margin_is_not_mended_by_prompts() -> None:
    told = prompts_after({"measures": {"prompt": measured(-0.2)}}, 0.02)
    assert "no number of prompts" in told[0]


def test_before_a_run_the_measured_power_is_told() -> None:
    assert prompts_before(3) == ["3 prompts have no interval: 2 more are needed at least"]
    now, more = prompts_before(8)
    assert str(POWER[8][2]) in now
    assert more.startswith("14 prompts")
    assert len(prompts_before(30)) == 1
