"""Sabotaged runs on the bundled base: the verdict must not be `better`, and must name what was done.

Minutes each; run by ``make test-all``. Pictures are the bundled 8-bit ones and captions name what they show:
nothing but the sabotage is wrong.
"""

import csv
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from veneer.errors import BaseModelError, TrainingError
from veneer.models.modelfiles import pocket_folder
from veneer.proof.promptset import build_jobs, build_prompts
from veneer.recipe import load_recipe
from veneer.records.dataset import Dataset, Item
from veneer.records.prompts import write_prompts
from veneer.records.run import RunDir
from veneer.stages.compare import compare
from veneer.stages.encode import encode
from veneer.stages.export import export
from veneer.stages.generate import generate
from veneer.stages.train import train

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(3000)]

STEPS = 60
GENERAL = '["a photo of a dog", "a photo of a tree", "a photo of a boat", "a photo of a fish", "a cup"]'


def has_pocket() -> bool:
    try:
        return (pocket_folder() / "clip").is_dir()
    except BaseModelError:
        return False


if not has_pocket():
    pytest.skip("the bundled base is not there", allow_module_level=True)


def take_through(
    tmp_path: Path,
    *,
    spoil: Callable[[list[Path], list[str]], None] = lambda pictures, captions: None,
    overrides: Sequence[str] = (),
) -> tuple[str, set[str]]:
    """A whole run on the bundled pictures, spoilt before it begins; verdict and codes of the reasons."""
    demo = pocket_folder() / "demo"
    with (demo / "NAMES.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    run = RunDir(tmp_path / "run")
    (run.dataset / "images").mkdir(parents=True)
    pictures, captions = [], []
    for row in rows:
        pictures.append(run.dataset / "images" / row["file_name"])
        shutil.copy(demo / row["file_name"], pictures[-1])
        captions.append(f"8-bit illustration of a {row['subject']}")
    spoil(pictures, captions)
    items = [Item(f"images/{path.name}", text) for path, text in zip(pictures, captions, strict=True)]
    Dataset(run.dataset).write_metadata(items)
    recipe = load_recipe(
        "pocket-8bit",
        [
            f"train.max_train_steps={STEPS}",
            "train.validation_steps=20",
            "train.checkpointing_steps=20",
            "generate.seeds=[0, 1]",
            "generate.num_inference_steps=8",
            "compare.held_out_prompts=6",
            f"compare.general_prompts={GENERAL}",
            *overrides,
        ],
    )
    for stage in (encode, train, export, generate):
        stage(run, recipe)
    result = compare(run, recipe)
    print(result.verdict)
    return result.verdict.word, {reason.code for reason in result.verdict.reasons}


def test_honest_run_is_not_worse(tmp_path: Path) -> None:
    word, codes = take_through(tmp_path)
    assert word in {"better", "trade", "not shown"}
    assert not codes & {"captions-mismatch", "pictures-noise", "diverged", "overfit"}


def test_shuffled_captions(tmp_path: Path) -> None:
    def shuffle(_: object, captions: list[str]) -> None:
        random.Random(0).shuffle(captions)

    word, codes = take_through(tmp_path, spoil=shuffle)
    assert word != "better"
    assert "captions-mismatch" in codes


def test_far_too_many_steps_and_the_last_one_taken(tmp_path: Path) -> None:
    few = ["train.max_train_steps=1200", "train.choose=last", "train.validation_steps=400"]
    word, codes = take_through(tmp_path, overrides=[*few, "train.learning_rate=4e-3"])
    assert word != "better"
    assert codes & {"overfit", "diverged", "memorised", "prompt-fell", "subject-lost", "prompt-unsure"}


def test_learning_rate_a_hundredfold(tmp_path: Path) -> None:
    try:
        word, codes = take_through(tmp_path, overrides=["train.learning_rate=0.2", "train.choose=last"])
    except TrainingError as error:  # as good an answer: it says what happened and what to do
        assert error.todo
        return
    assert word != "better"
    assert codes & {"diverged", "broken-pictures"}


def test_noise_for_pictures(tmp_path: Path) -> None:
    def drown(pictures: list[Path], _: object) -> None:
        noise = np.random.default_rng(0)
        for path in pictures:
            Image.fromarray(noise.integers(0, 256, (128, 128, 3), dtype=np.uint8)).save(path)

    word, codes = take_through(tmp_path, spoil=drown)
    assert word != "better"
    assert "pictures-noise" in codes


def test_base_against_base_with_other_seeds_is_no_different(tmp_path: Path) -> None:
    """One hundred comparisons of the base with itself, seed s against seed s + 1."""
    from veneer.models.embedder import choose_embedders
    from veneer.models.sampling import load_sampler, sample
    from veneer.proof.comparison import compare_pairs
    from veneer.proof.evidence import References
    from veneer.proof.pairs import Pair

    recipe = load_recipe("pocket-8bit", ["generate.num_inference_steps=6", "compare.general_prompts=[]"])
    subjects = ["bird", "hen", "chick", "goat", "cat", "dog", "house", "tree"]
    table = recipe.generate.model_copy(update={"prompts": tuple(f"a flat {one}" for one in subjects)})
    recipe = recipe.model_copy(update={"generate": table})
    prompts = build_prompts(recipe, [])
    jobs = build_jobs(prompts, list(range(101)))
    write_prompts(tmp_path / "prompts.json", prompts)
    sampler = load_sampler("pocket", recipe.generate)
    for job, one in zip(jobs, sample(sampler, [(j.prompt.prompt, j.seed) for j in jobs]), strict=True):
        one.image.save(tmp_path / job.file_name)
    embedders = choose_embedders("pocket", "pocket")
    held_out = tuple(sorted((pocket_folder() / "demo").glob("*.png")))[:8]
    words = []
    for seed in range(100):
        # Every prompt has noise of its own, as held-out prompts have; shared noise would count as one prompt.
        own = {p.index: [(seed + 12 * p.index + step) % 101 for step in (0, 1)] for p in prompts}
        pairs = [
            Pair(p.prompt, p.kind, seed, *(tmp_path / f"{p.index:03d}-{s}.png" for s in own[p.index]))
            for p in prompts
        ]
        words.append(compare_pairs(pairs, References(held_out), embedders).verdict.word)
    assert words.count("not shown") >= 95
