"""Several adapters at several strengths on the prompts and seeds of a run."""

import json
from pathlib import Path

import pytest
from PIL import Image

from helpers.proofrun import make_run, proof_recipe, write_lora
from veneer.cli import exit_status
from veneer.config import Recipe
from veneer.errors import AdapterError, RunError
from veneer.records.run import RunDir
from veneer.stages.compare import compare_adapters
from veneer.stages.generate import generate


@pytest.fixture(scope="module")
def recipe(base_folder: Path, clip_folder: Path) -> Recipe:
    return proof_recipe(base_folder, clip_folder)


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, base_folder: Path, picture_folder: Path, recipe: Recipe
) -> RunDir:
    run = make_run(tmp_path_factory.mktemp("adapters") / "run", base_folder, picture_folder)
    run.write_recipe(recipe)
    generate(run, recipe)
    return run


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Path:
    return write_lora(tmp_path_factory.mktemp("other") / "other.safetensors", base_folder, 2.0)


def test_every_adapter_at_every_strength(run: RunDir, recipe: Recipe, other: Path) -> None:
    base = {path: path.stat().st_mtime_ns for path in (run.samples / "base").iterdir()}
    found = compare_adapters(run, recipe, [run.lora_file, other], [0.0, 1.0])
    assert [one.name for one in found.swept] == [
        "pytorch_lora_weights at 0", "pytorch_lora_weights at 1", "other at 0", "other at 1"
    ]  # fmt: skip
    assert [one.comparison.facts.num_identical for one in found.swept] == [17, 0, 17, 0]
    assert base == {path: path.stat().st_mtime_ns for path in (run.samples / "base").iterdir()}
    own, foreign = found.swept[1].comparison, found.swept[3].comparison
    assert own.measures["validation_loss"] is not None
    assert foreign.measures["validation_loss"] is None
    stored = json.loads((run.report / "adapters.json").read_text())["adapters"]
    assert [one["verdict"] for one in stored] == [one.comparison.verdict.word for one in found.swept]
    with Image.open(found.sheet) as sheet:
        assert sheet.height > 3 * 5 * 128


def test_own_adapter_at_full_strength_is_what_generate_drew(run: RunDir, recipe: Recipe) -> None:
    found = compare_adapters(run, recipe, scales=[1.0])
    drawn = found.swept[0].folder
    names = sorted(path.name for path in drawn.iterdir())
    assert names == sorted(path.name for path in (run.samples / "tuned").iterdir())
    for name in names[:3]:
        with Image.open(drawn / name) as one, Image.open(run.samples / "tuned" / name) as two:
            assert one.tobytes() == two.tobytes()


def test_adapter_for_another_base_is_refused_before_anything_is_drawn(
    run: RunDir, recipe: Recipe, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    odd = tmp_path / "odd.safetensors"
    save_file({name: t.repeat(2, 2) for name, t in load_file(run.lora_file).items()}, odd)
    with pytest.raises(AdapterError, match="does not fit this base"):
        compare_adapters(run, recipe, [run.lora_file, odd], [0.25])
    assert not list((run.samples / "adapters").glob("*-0.25"))


def test_strength_below_zero_is_refused(run: RunDir, recipe: Recipe) -> None:
    with pytest.raises(RunError, match="a strength below 0"):
        compare_adapters(run, recipe, scales=[-1.0])


def test_command_prints_one_line_each(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    status = exit_status(["compare", str(run.root), "--scale", "0", "--scale", "0.5", "--quiet"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("pytorch_lora_weights at 0: not shown: The adapter changes nothing")
    assert lines[1].startswith("pytorch_lora_weights at 0.5: ")
    assert lines[2].startswith("sheet: ")
    assert status == 0


def test_strengths_do_not_go_with_two_folders(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(run.samples / name) for name in ("base", "tuned")]
    assert exit_status(["compare", *folders, "--scale", "1"]) == 2
    assert "go with a run" in capsys.readouterr().err


def test_folder_without_a_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(["compare", str(tmp_path), "--scale", "1", "--quiet"]) == 1
    assert "not a run folder" in capsys.readouterr().err
    assert RunDir(tmp_path).read_record().stages == {}
