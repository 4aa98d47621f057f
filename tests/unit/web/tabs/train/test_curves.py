"""Curves of a training."""

from __future__ import annotations

from pathlib import Path

from veneer.web.tabs.train import curves


def test_a_chart_tells_its_last_value(tmp_path: Path) -> None:
    rest = '"lr": 0.001, "grad_norm": 1.0, "images_per_second": 8.0'
    lines = [f'{{"step": {n}, "loss": {1 / n}, {rest}}}' for n in range(1, 999)]
    (tmp_path / "log.jsonl").write_text("\n".join([*lines, '{"step": 9']))
    shown = curves.training_charts(tmp_path / "log.jsonl", {0: 1.0, 900: 0.5})
    assert shown.count('role="img"') == 4
    assert "held out 0.5" in shown
    assert len(shown) < 40_000
    assert curves.training_charts(tmp_path / "none.jsonl", {}) == ""
