"""export, merge, resize and inspect on the command line, each held to the update layer by layer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.loras import random_lora
from veneer.cli import exit_status
from veneer.lora.embedding_file import Embedding
from veneer.lora.file import write_diffusers
from veneer.lora.merge import delta
from veneer.lora.reader import read_lora
from veneer.lora.textual_inversion import write_embedding
from veneer.lora.weights import LoraFile

CLOSE = 1e-6


@pytest.fixture
def files(base_folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    for seed, path in enumerate(paths):
        write_diffusers(path, random_lora(base_folder, seed=seed, lora_alpha=2))
    return paths


def largest(found: LoraFile, *parts: tuple[LoraFile, float]) -> float:
    """Largest difference of any layer's update from a weighted sum of others."""
    return max(
        float((delta(found, m) - sum(w * delta(one, m) for one, w in parts)).abs().max())
        for m in found.modules
    )


def test_export_scales_casts_and_changes_the_layout(files: tuple[Path, Path], tmp_path: Path) -> None:
    out, half = tmp_path / "k.safetensors", tmp_path / "h.safetensors"
    common = ["export", "--lora", str(files[0]), "--layout", "kohya", "-q"]
    assert exit_status([*common, "--out", str(out), "--scale", "0.5"]) == 0
    own, found = read_lora(files[0]), read_lora(out)
    assert found.layout == "kohya"
    assert found.modules == own.modules
    assert largest(found, (own, 0.5)) < CLOSE
    assert exit_status([*common, "--out", str(half), "--dtype", "float16"]) == 0
    assert {weight.dtype for weight in read_lora(half).state.values()} == {torch.float16}
    assert exit_status([*common, "--out", str(half), "--dtype", "int8"]) == 2


def test_a_run_takes_no_options_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(["export", str(tmp_path), "--scale", "0.5", "--dtype", "float16"]) == 2
    assert "--scale, --dtype" in capsys.readouterr().err


def test_merge_adds_up(files: tuple[Path, Path], tmp_path: Path, base_folder: Path) -> None:
    out = tmp_path / "sum.safetensors"
    weights = ["--weights", "0.25", "--weights", "-1"]
    assert (
        exit_status(["merge", *map(str, files), *weights, "--out", str(out), "--base", str(base_folder)]) == 0
    )
    first, second = (read_lora(path) for path in files)
    assert largest(read_lora(out), (first, 0.25), (second, -1.0)) < CLOSE


def test_resize_keeps_what_a_smaller_rank_can(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "small.safetensors"
    assert exit_status(["resize", str(files[0]), "--rank", "2", "--out", str(out), "--json"]) == 0
    kept = json.loads(capsys.readouterr().out)["kept"]
    own, found = read_lora(files[0]), read_lora(out)
    assert set(found.ranks.values()) == {2}
    total = sum(float(delta(own, m).square().sum()) for m in own.modules)
    lost = sum(float((delta(own, m) - delta(found, m)).square().sum()) for m in own.modules)
    assert 0 < kept < 1
    assert 1 - lost / total == pytest.approx(kept, rel=1e-5)


def test_inspect_tells_rank_alpha_and_norms(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(["inspect", str(files[0]), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    own = read_lora(files[0])
    assert told["ranks"] == {"4": len(own.modules)}
    assert told["alphas"] == {"2.0": len(own.modules)}
    norms = {block["block"]: block["norm"] for block in told["blocks"]}
    middle = [delta(own, m).square().sum() for m in own.modules if m.startswith("mid_block")]
    assert norms["mid_block"] == pytest.approx(float(torch.stack(middle).sum().sqrt()))


def test_inspect_has_room_on_any_screen_and_the_recipe_on_request(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(["inspect", str(files[0])]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = {line.split(None, 1)[0]: line.split(None, 1)[1] for line in lines}
    assert len(lines) <= 12
    assert (told["rank"], told["alpha"]) == ("4", "2")
    assert exit_status(["inspect", str(files[0]), "--recipe"]) == 0
    assert capsys.readouterr().out.startswith(("[base]", "#"))


def test_a_learnt_word_is_named_for_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "word.safetensors"
    write_embedding(path, Embedding("<my-style>", {"text_encoder": torch.ones(2, 16)}))
    assert exit_status(["inspect", str(path)]) == 1
    assert "a learnt word, <my-style>" in capsys.readouterr().err


def test_half_a_megabyte_of_metadata_is_cut_and_whole_as_json(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, long = tmp_path / "long.safetensors", "tag, " * 100_000
    save_file(load_file(files[0]), path, {"ss_tag_frequency": long, "\x1b[2Jtitle": "a\x1b]0;b\x07"})
    assert exit_status(["inspect", str(path)]) == 0
    shown = capsys.readouterr().out
    assert len(shown) < 10_000
    assert all(line.isprintable() for line in shown.splitlines())
    assert exit_status(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metadata"]["ss_tag_frequency"] == long


def test_numbers_that_are_none_are_said_by_inspect_and_refused_by_the_others(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = load_file(files[0])
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    save_file(tensors, files[0])
    assert exit_status(["inspect", str(files[0])]) == 0
    assert "1 layers hold numbers that are not finite" in capsys.readouterr().out
    assert exit_status(["inspect", str(files[0]), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["broken"]) == 1
    out = ["--out", str(tmp_path / "out.safetensors")]
    for verb in (
        ["merge", *map(str, files)],
        ["export", "--lora", str(files[0])],
        ["resize", str(files[0]), "--rank", "1"],
    ):
        assert exit_status([*verb, *out]) == 1
        assert "not finite in 1 layers" in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()


def test_a_folder_is_taken_for_the_file_in_it(files: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    files[0].rename(tmp_path / "f" / "a.safetensors")
    assert exit_status(["inspect", str(tmp_path / "f")]) == 0
    out = ["--out", str(tmp_path / "out.safetensors")]
    assert exit_status(["export", "--lora", str(tmp_path / "f"), "--layout", "kohya", *out, "-q"]) == 0
    assert exit_status(["resize", str(tmp_path / "f"), "--rank", "1", *out]) == 0
