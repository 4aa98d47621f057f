import json
import shutil
from pathlib import Path

import pytest

from helpers.proofrun import make_run, proof_recipe
from veneer.cli import exit_status
from veneer.config import GenerateTable
from veneer.records.run import RunDir
from veneer.stages.generate import generate_files


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, base_folder: Path, picture_folder: Path) -> Path:
    root = tmp_path_factory.mktemp("folders")
    run = make_run(root / "run", base_folder, picture_folder)
    table = GenerateTable(num_inference_steps=1, guidance_scale=1.0)
    prompts = ["a dog", "the city", "a house", "a red circle", "a tree"]
    for name, lora in (("base", None), ("tuned", run.lora_file)):
        generate_files(str(base_folder), prompts, [0], root / name, lora=lora, generate=table)
    return root


def test_two_folders_of_pictures(
    folders: Path, clip_folder: Path, picture_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", str(folders / "base"), str(folders / "tuned"), "--embedder", str(clip_folder)]
    status = exit_status([*command, "--held-out", str(picture_folder), "--json", "--quiet"])
    found = json.loads(capsys.readouterr().out)
    assert found["measures"]["style"]["n"] == 5
    assert status == (4 if found["verdict"] == "worse" else 0)


def test_black_pictures_end_with_four(
    folders: Path, clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    shutil.copytree(folders / "base", tmp_path / "black")
    for path in (tmp_path / "black").glob("*.png"):
        Image.new("RGB", (32, 32)).save(path)
    command = ["compare", str(folders / "base"), str(tmp_path / "black"), "--embedder", str(clip_folder)]
    assert exit_status([*command, "--quiet"]) == 4
    assert capsys.readouterr().out.startswith("worse: ")


def test_different_folders_are_one_line_and_one(
    folders: Path, clip_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", str(folders / "base"), str(tmp_path), "--embedder", str(clip_folder)]
    assert exit_status([*command, "--quiet"]) == 1
    assert "do not hold the same pictures" in capsys.readouterr().err


def test_push_of_an_unfinished_run_is_refused(
    folders: Path, base_folder: Path, clip_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunDir(folders / "run")
    run.write_recipe(proof_recipe(base_folder, clip_folder))
    assert exit_status(["report", str(run.root), "--push", "me/style", "--quiet"]) == 1
    assert "is not done yet" in capsys.readouterr().err
