"""The export stage: from the chosen checkpoint to files that draw the same picture anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from helpers import tiny
from helpers.loras import random_lora
from veneer.config import Recipe
from veneer.errors import AdapterError, RunError, VeneerError
from veneer.events import Event, Notice
from veneer.lora.adapter import inject, load_adapter_state
from veneer.lora.convert import export_file, merge_files, resize_file
from veneer.lora.merge import delta
from veneer.lora.reader import read_lora
from veneer.lora.weights import LoraFile
from veneer.models.base import assemble, load_base
from veneer.recipe import load_recipe
from veneer.records.run import RunDir
from veneer.stages.export import export


def make_run(folder: Path, base_folder: Path, **lora: Any) -> tuple[RunDir, Recipe, LoraFile]:
    run = RunDir(folder / "city")
    recipe = Recipe.model_validate({"base": {"model": str(base_folder)}, "lora": lora, "train": {"seed": 3}})
    run.root.mkdir()
    run.write_recipe(recipe)
    adapter = random_lora(base_folder, **lora)
    path = run.train / "candidates" / "ema-000500" / "adapter.safetensors"
    path.parent.mkdir(parents=True)
    save_file(dict(adapter.state), path)
    chosen = {"step": 500, "kind": "ema", "loss": 0.1, "path": str(path.relative_to(run.root))}
    run.candidates_json.write_text(json.dumps({"chosen": chosen, "candidates": [chosen]}))
    return run, recipe, adapter


def picture(pipeline: Any) -> np.ndarray:
    generator = torch.Generator().manual_seed(5)
    options = {
        "height": 32,
        "width": 32,
        "num_inference_steps": 4,
        "guidance_scale": 4.0,
        "output_type": "np",
    }
    return pipeline("a red city", generator=generator, **options).images[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"lora_alpha": 9},
        {"lora_alpha": 2, "target_modules": "attention+ff+conv", "text_encoder": True},
        {"target_modules": "attention+ff", "use_dora": True},
    ],
)
def test_plain_diffusers_draws_the_trained_picture(
    base_folder: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    from diffusers import StableDiffusionPipeline

    run, recipe, adapter = make_run(tmp_path, base_folder, **settings)
    result = export(run, recipe)
    assert max(result.differences.values()) < 1e-5

    ours = assemble(load_base(str(base_folder)), "own")
    before = picture(ours)
    for network, prefix in ((ours.unet, ""), (ours.text_encoder, "text_encoder.")):
        own = {
            n.removeprefix(prefix): w
            for n, w in adapter.state.items()
            if n.startswith("text_encoder.") == bool(prefix)
        }
        modules = [m for m in adapter.modules if m.startswith("text_encoder.") == bool(prefix)]
        if modules:
            names = {m.removeprefix(prefix): m for m in modules}
            ranks = {name: adapter.ranks[module] for name, module in names.items()}
            alphas = {name: adapter.alphas[module] for name, module in names.items()}
            inject(network, ranks, alphas, use_dora=adapter.use_dora)
            load_adapter_state(network, own)
    wanted = picture(ours)
    assert np.abs(wanted - before).max() > 0.01

    plain = StableDiffusionPipeline.from_pretrained(base_folder)
    plain.set_progress_bar_config(disable=True)
    plain.load_lora_weights(run.lora_file)
    assert np.abs(picture(plain) - wanted).max() < 1e-5
    if not adapter.use_dora:
        plain.unload_lora_weights()
        plain.load_lora_weights(run.kohya_file)
        assert np.abs(picture(plain) - wanted).max() < 1e-5


@pytest.mark.parametrize("layout", ["lora_file", "kohya_file"])
def test_second_generation(tmp_path: Path, layout: str) -> None:
    base = tiny.tiny_base(tmp_path / "base", prediction_type="v_prediction", is_second=True)
    settings = {"target_modules": "attention+ff+conv", "lora_alpha": 2, "text_encoder": True}
    run, recipe, adapter = make_run(tmp_path, base, **settings)
    assert export(run, recipe).differences[getattr(run, layout).name] < 1e-5
    lora = read_lora(getattr(run, layout))
    assert lora.modules == adapter.modules
    assert (lora.metadata["veneer.family"], lora.metadata["veneer.prediction_type"]) == (
        "sd2",
        "v_prediction",
    )
    if layout == "kohya_file":
        assert lora.metadata["ss_base_model_version"] == "sd_v2_v"
        assert lora.metadata["modelspec.architecture"] == "stable-diffusion-v2-768-v/lora"
        assert lora.metadata["modelspec.prediction_type"] == "v"


def test_files_carry_alpha_and_recipe(base_folder: Path, tmp_path: Path) -> None:
    run, recipe, _ = make_run(tmp_path, base_folder, lora_alpha=2)
    result = export(run, recipe)
    assert result.paths == (run.lora_file, run.kohya_file)
    assert "ema of step 500" in result.summary
    for path in result.paths:
        lora = read_lora(path)
        assert (lora.rank, lora.alpha, lora.metadata["veneer.step"]) == (4, 2, "500")
        # Keys of files that are out in the world: a name that changes is a file that no longer says its base.
        keys = {"version", "recipe", "base", "base_fingerprint", "family", "prediction_type", "step", "kind"}
        assert {f"veneer.{key}" for key in keys} <= lora.metadata.keys()
        saved = tmp_path / "again.toml"
        saved.write_text(lora.metadata["veneer.recipe"])
        assert load_recipe(str(saved)) == recipe
    assert read_lora(run.kohya_file).metadata["modelspec.title"] == "city"
    assert not list(run.root.glob("*partial"))


def test_again_gives_the_same_bytes(base_folder: Path, tmp_path: Path) -> None:
    run, recipe, _ = make_run(tmp_path, base_folder)
    first = [path.read_bytes() for path in export(run, recipe).paths]
    assert [path.read_bytes() for path in export(run, recipe).paths] == first


def test_what_else_lies_beside_the_files_stays(base_folder: Path, tmp_path: Path) -> None:
    run, recipe, _ = make_run(tmp_path, base_folder)
    for name in ("notes.txt", "kohya/other.safetensors", "best.safetensors"):
        (run.lora / name).parent.mkdir(parents=True, exist_ok=True)
        (run.lora / name).write_text(f"my {name}")
    run.embedding_file.write_text("a word of another recipe")
    result = export(run, recipe)
    assert (run.lora / "notes.txt").read_text() == "my notes.txt"
    assert (run.lora / "kohya" / "other.safetensors").read_text() == "my kohya/other.safetensors"
    assert (run.lora / "best.safetensors").is_file()
    assert not run.embedding_file.exists()
    assert all(path.is_file() for path in result.paths)
    assert not list(run.root.glob("*partial"))


def test_a_file_that_fails_its_check_never_becomes_the_result(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, recipe, _ = make_run(tmp_path, base_folder, lora_alpha=2)
    export(run, recipe)
    before = run.lora_file.read_bytes()
    monkeypatch.setattr("veneer.lora.file.adapter_metadata", lambda *_: {"unet.r": 4, "unet.lora_alpha": 4})
    with pytest.raises(AdapterError):
        export(run, recipe)
    assert run.lora_file.read_bytes() == before


def test_timestep_rank_is_said(base_folder: Path, tmp_path: Path) -> None:
    run, recipe, _ = make_run(tmp_path, base_folder, timestep_rank=True)
    events: list[Event] = []
    export(run, recipe, events.append)
    assert [event.code for event in events if isinstance(event, Notice)] == ["timestep-rank"]
    assert read_lora(run.lora_file).metadata["veneer.timestep_rank"] == "true"


def test_nothing_trained(base_folder: Path, tmp_path: Path) -> None:
    run, recipe, _ = make_run(tmp_path, base_folder)
    run.candidates_json.write_text(json.dumps({"chosen": None}))
    with pytest.raises(RunError, match="no checkpoint was chosen"):
        export(run, recipe)
    run.candidates_json.unlink()
    with pytest.raises(RunError, match="nothing was trained yet"):
        export(run, recipe)


class TestAnyFile:
    def test_from_a_checkpoint_with_its_recipe(self, base_folder: Path, tmp_path: Path) -> None:
        run, _, adapter = make_run(tmp_path, base_folder, lora_alpha=9)
        checkpoint = run.train / "candidates" / "ema-000500" / "adapter.safetensors"
        out = tmp_path / "out.safetensors"
        result = export_file(checkpoint, out, layout="kohya", scale=0.5, base=str(base_folder))
        assert result.difference is not None and result.difference < 1e-5
        for module in adapter.modules:
            assert (delta(read_lora(out), module) - delta(adapter, module) / 2).abs().max() < 1e-6

    def test_precision(self, base_folder: Path, tmp_path: Path) -> None:
        run, recipe, _ = make_run(tmp_path, base_folder)
        export(run, recipe)
        out = tmp_path / "half.safetensors"
        assert (
            export_file(
                run.lora_file, out, layout="diffusers", dtype="float16", base=str(base_folder)
            ).difference
            == 0
        )
        assert {weight.dtype for weight in read_lora(out).state.values()} == {torch.float16}

    @pytest.mark.parametrize("use_dora", [False, True])
    def test_merged_pipeline_draws_the_same(self, base_folder: Path, tmp_path: Path, use_dora: bool) -> None:
        from diffusers import StableDiffusionPipeline

        run, recipe, _ = make_run(tmp_path, base_folder, lora_alpha=8, text_encoder=True, use_dora=use_dora)
        export(run, recipe)
        result = export_file(run.lora_file, tmp_path / "merged", layout="merged")
        assert result.difference is not None and result.difference < 1e-3
        merged = StableDiffusionPipeline.from_pretrained(tmp_path / "merged")
        loaded = StableDiffusionPipeline.from_pretrained(base_folder)
        loaded.load_lora_weights(run.lora_file)
        for pipeline in (merged, loaded):
            pipeline.set_progress_bar_config(disable=True)
        assert type(merged.scheduler) is type(loaded.scheduler)
        assert np.abs(picture(merged) - picture(loaded)).max() < 1e-4

    def test_merge_and_resize(self, base_folder: Path, tmp_path: Path) -> None:
        run, recipe, adapter = make_run(tmp_path, base_folder)
        export(run, recipe)
        files, out = [run.lora_file, run.kohya_file], tmp_path / "both.safetensors"
        merge_files(files, [0.5, 0.5], out, base=str(base_folder))
        small = resize_file(out, 4, tmp_path / "small.safetensors", layout="kohya", base=str(base_folder))
        assert small.kept == pytest.approx(1)
        for module in adapter.modules:
            found = read_lora(tmp_path / "small.safetensors")
            assert (delta(found, module) - delta(adapter, module)).abs().max() < 1e-6

    def test_refusals(self, base_folder: Path, tmp_path: Path) -> None:
        run, recipe, _ = make_run(tmp_path, base_folder)
        export(run, recipe)
        cases = [
            (tmp_path / "x.pt", "diffusers", ".safetensors file"),
            (run.root, "merged", "is in use"),
        ]
        for out, layout, message in cases:
            with pytest.raises(VeneerError, match=message):
                export_file(run.lora_file, out, layout=layout)  # type: ignore[arg-type]
