"""A picture is kept as long as nothing that it depends on has changed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from veneer.models.sampling import Sample
from veneer.proof import series as module
from veneer.proof.promptset import build_jobs
from veneer.proof.series import Series
from veneer.records.prompts import Prompt

PROMPTS = [
    Prompt(index=place, prompt=f"a {word}", kind="recipe") for place, word in enumerate(("cat", "hat"))
]
BLACK = Image.fromarray(np.zeros((8, 8, 3), np.uint8))
SETTINGS = {"negative_prompt": "", "num_inference_steps": 2, "scheduler": "ddim", "guidance_scale": 7.5}


@pytest.fixture
def drawn(tmp_path: Path) -> Series:
    """Four pictures in two batches, all drawn."""
    series = Series(tmp_path, build_jobs(PROMPTS, [0, 1]), SETTINGS | {"side_px": 8}, 0, 2)
    for batch in series.missing():
        for job, identity in zip(batch, series.identities(batch), strict=True):
            one = Sample(job.prompt.prompt, job.seed, BLACK, is_broken=False)
            module._save(series, job, identity, one)
    return series


def test_drawn_pictures_are_left_as_they_are(drawn: Series) -> None:
    assert drawn.missing() == [] and drawn.num_broken == 0


def test_a_changed_setting_draws_all_anew(drawn: Series) -> None:
    assert len(replace(drawn, settings=dict(drawn.settings) | {"scale": 0.8}).missing()) == 2


@pytest.mark.parametrize("damage", [b"", b"no picture"])
def test_a_damaged_picture_is_drawn_anew_with_its_whole_batch(drawn: Series, damage: bytes) -> None:
    (drawn.folder / drawn.jobs[3].file_name).write_bytes(damage)
    assert drawn.missing() == [drawn.jobs[2:]]


def test_other_pictures_beside_it_make_it_another(drawn: Series) -> None:
    assert len(replace(drawn, batch_size=4).missing()) == 1
    assert [len(batch) for batch in replace(drawn, batch_size=1).missing()] == [1] * 4
