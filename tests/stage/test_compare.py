import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.proofrun import make_run, proof_recipe
from veneer.config import GenerateTable, Recipe
from veneer.errors import RunError
from veneer.proof.comparison import Comparison
from veneer.proof.measures import CONTRACT
from veneer.records.files import write_json
from veneer.records.run import RunDir
from veneer.stages.compare import compare, compare_folders
from veneer.stages.generate import generate, generate_files


@pytest.fixture(scope="module")
def drawn(
    tmp_path_factory: pytest.TempPathFactory, base_folder: Path, picture_folder: Path, clip_folder: Path
) -> tuple[RunDir, Recipe]:
    run = make_run(tmp_path_factory.mktemp("compare") / "run", base_folder, picture_folder)
    recipe = proof_recipe(base_folder, clip_folder)
    generate(run, recipe)
    return run, recipe


@pytest.fixture
def run(drawn: tuple[RunDir, Recipe], tmp_path: Path) -> RunDir:
    shutil.copytree(drawn[0].root, tmp_path / "run")
    return RunDir(tmp_path / "run")


def codes(result: Comparison) -> list[str]:
    return [reason.code for reason in result.verdict.reasons]


def test_metrics_are_as_the_contract_says(run: RunDir, drawn: tuple[RunDir, Recipe]) -> None:
    result = compare(run, drawn[1])
    metrics = json.loads(run.metrics_json.read_text())
    assert metrics["verdict"] in {"better", "worse", "trade", "not shown"}
    assert metrics["reasons"] == [reason.text for reason in result.verdict.reasons]
    assert metrics["chosen_step"] == 20
    assert metrics["seeds"] == [0, 1, 2]
    assert len(metrics["prompts"]) == 8
    for name in CONTRACT:
        measure = metrics["measures"][name]
        assert {"base", "tuned", "delta", "ci95", "n", "wins"} <= set(measure)
        assert measure["delta"] == pytest.approx(measure["tuned"] - measure["base"], abs=1e-5)
    assert metrics["measures"]["style"]["n"] == 6
    assert metrics["measures"]["diversity"]["n"] == 6
    assert metrics["measures"]["forgetting"]["base"] == 0
    assert metrics["measures"]["validation_loss"]["base"] == pytest.approx(0.2)
    assert metrics["copies"]["num_pictures"] == 15
    assert metrics["facts"]["style_cost"] is None  # fewer than five held-out captions
    assert metrics["headline"] == result.verdict.headline != ""
    assert (run.root / metrics["copies"]["nearest"][0]["training"]).is_file()


def test_the_same_comparison_gives_the_same_numbers(run: RunDir, drawn: tuple[RunDir, Recipe]) -> None:
    compare(run, drawn[1])
    first = run.metrics_json.read_bytes()
    compare(run, drawn[1])
    assert run.metrics_json.read_bytes() == first


def test_adapter_that_changes_nothing(run: RunDir, drawn: tuple[RunDir, Recipe]) -> None:
    shutil.rmtree(run.samples / "tuned")
    shutil.copytree(run.samples / "base", run.samples / "tuned")
    result = compare(run, drawn[1])
    assert result.verdict.word == "not shown"
    assert codes(result)[0] == "adapter-changes-nothing"
    assert result.measures["style"].delta == 0


def test_no_held_out_pictures(run: RunDir, drawn: tuple[RunDir, Recipe]) -> None:
    index = json.loads(run.cache_index.read_text())
    write_json(run.cache_index, index | {"items": [i | {"split": "train"} for i in index["items"]]})
    events: list[Any] = []
    result = compare(run, drawn[1], events.append)
    assert result.measures["style"] is None
    assert result.unavailable["style"] == "the run holds no pictures out"
    assert "no-held-out-pictures" in codes(result)
    assert "measure-unavailable" in [getattr(event, "code", "") for event in events]
    assert json.loads(run.metrics_json.read_text())["measures"]["style"] is None


def test_black_pictures_are_worse(run: RunDir, drawn: tuple[RunDir, Recipe]) -> None:
    for path in (run.samples / "tuned").iterdir():
        Image.new("RGB", (32, 32)).save(path)
    result = compare(run, drawn[1])
    assert (result.verdict.word, codes(result)[0]) == ("worse", "broken-pictures")


def test_different_pictures_are_refused(run: RunDir, drawn: tuple[RunDir, Recipe]) -> None:
    (run.samples / "tuned/000-0.png").unlink()
    with pytest.raises(RunError, match="do not hold the same"):
        compare(run, drawn[1])


def test_no_pictures_are_refused(tmp_path: Path, drawn: tuple[RunDir, Recipe]) -> None:
    with pytest.raises(RunError, match="no prompt set"):
        compare(RunDir(tmp_path), drawn[1])


@pytest.mark.parametrize("seeds", [[0], [0, 1, 2, 3, 4, 5]])
def test_one_prompt_in_two_folders(
    tmp_path: Path, base_folder: Path, clip_folder: Path, drawn: tuple[RunDir, Recipe], seeds: list[int]
) -> None:
    table = GenerateTable(num_inference_steps=1, guidance_scale=1.0)
    for name, lora in (("base", None), ("tuned", drawn[0].lora_file)):
        generate_files(str(base_folder), ["a dog"], seeds, tmp_path / name, lora=lora, generate=table)
    held_out = sorted((drawn[0].dataset / "images").iterdir())[:4]
    result = compare_folders(
        tmp_path / "base", tmp_path / "tuned", embedder=str(clip_folder), held_out=held_out
    )
    style = result.measures["style"]
    assert style.n == len(seeds)
    assert (style.ci95 is None) == (len(seeds) == 1)
    assert "not available" in style.note or "not other prompts" in style.note
    assert result.measures["validation_loss"] is None
    assert (result.measures["diversity"] is None) == (len(seeds) == 1)


def test_style_is_found_where_it_is(run: RunDir, drawn: tuple[RunDir, Recipe]) -> None:
    """Held-out pictures in the place of the tuned ones: as near as can be, though few prompts show it."""
    held_out = sorted((run.dataset / "images").iterdir())[:4]
    for index, path in enumerate(sorted((run.samples / "tuned").iterdir())):
        with Image.open(held_out[index % 4]) as picture:
            noise = np.random.default_rng(index).integers(-3, 4, (32, 32, 3))
            pixels = np.asarray(picture.resize((32, 32)), int) + noise
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    style = compare(run, drawn[1]).measures["style"]
    assert style is not None
    assert style.ideal is not None
    assert style.tuned > style.ideal > style.base
    assert not style.falls
