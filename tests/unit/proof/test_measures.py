import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.features import PROMPTS, rows
from veneer.proof import measures
from veneer.proof.evidence import evidence_of
from veneer.proof.layout import Layouts
from veneer.proof.pairs import Pair, View
from veneer.proof.texture import TextureView


@pytest.mark.parametrize("spec", measures.MEASURES, ids=lambda spec: spec.name)
def test_every_measure_asks_a_question_and_stands_in_the_page(spec: measures.Spec) -> None:
    assert "?" in spec.question
    page = (Path(__file__).parents[3] / "docs" / "verdict.md").read_text("utf-8")
    assert f"| `{spec.name}` | {spec.unit} | {spec.better} |" in page


def test_the_page_names_no_measure_that_is_not_in_the_table() -> None:
    page = (Path(__file__).parents[3] / "docs" / "verdict.md").read_text("utf-8")
    table = page[page.index("## The measures") :].split("\n\n")[1]
    names = re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)
    assert names == [spec.name for spec in measures.MEASURES]


def test_measures_point_the_way_that_the_table_says(tmp_path: Path) -> None:
    view = View(rows(1), rows(2), rows(3), rows(4, n=5), rows(5, n=6))
    base, tuned = (tmp_path / name for name in ("base.png", "tuned.png"))
    for number, path in enumerate((base, tuned)):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)).save(path)
    pairs = [Pair(prompt, "recipe", seed, base, tuned) for seed, prompt in enumerate(PROMPTS)]
    seen = evidence_of(
        pairs,
        view,
        second=view,
        texture=TextureView(*dataclasses.astuple(view)),
        laid_out=Layouts(np.zeros((12, 6)), np.ones((12, 6)), 0.9),
        losses=((0.1, 0.2), (0.1, 0.1)),
    )
    for spec in measures.MEASURES:
        found = spec.of(seen)
        assert not isinstance(found, str), spec.name
        assert found.better == spec.better
