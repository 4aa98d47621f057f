"""Every family on its tiny base: the whole path, killed and resumed, and files that plain diffusers loads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.killing import bytes_of, kill_often
from helpers import tiny
from helpers.loras import random_lora
from helpers.training import copy_run, encoded_run, recipe_for, train_quietly
from veneer import run as run_recipe
from veneer.config import GenerateTable
from veneer.errors import AdapterError, RecipeError
from veneer.lora.check import verify
from veneer.lora.convert import export_file
from veneer.lora.drawing import draw as draw_pictures
from veneer.lora.file import write_diffusers, write_kohya
from veneer.lora.loading import load_lora
from veneer.lora.reader import read_lora
from veneer.lora.weights import LoraFile
from veneer.models.base import load_base
from veneer.models.families import FAMILIES
from veneer.models.sampling import load_sampler, sample
from veneer.recipe import resolve
from veneer.records.run import RunDir
from veneer.stages.generate import generate_files


@dataclass(frozen=True)
class Case:
    """A family's tiny base.

    Attributes:
        build: Writes it.
        pipeline: Class of diffusers that draws with it.
        family: The family's name.
        sampler: Which draws, in the recipe.
        scheduler: Its class in diffusers.
        text_encoder: Whether text encoders get an adapter too.
        lora_alpha: Of a LoRA that plainly changes its pictures.
    """

    build: Callable[[Path], Path]
    pipeline: str
    family: str
    sampler: str = "ddim"
    scheduler: str = "DDIMScheduler"
    text_encoder: bool = True
    lora_alpha: float = 4.0


CASES = {
    "flux2-klein": Case(
        tiny.tiny_klein,
        "Flux2KleinPipeline",
        "flux2-klein",
        "euler",
        "FlowMatchEulerDiscreteScheduler",
        text_encoder=False,
        lora_alpha=16.0,
    ),
    "z-image": Case(
        tiny.tiny_zimage,
        "ZImagePipeline",
        "z-image",
        "euler",
        "FlowMatchEulerDiscreteScheduler",
        text_encoder=False,
        lora_alpha=16.0,
    ),
    "sd1": Case(tiny.tiny_base, "StableDiffusionPipeline", "sd1"),
    "sdxl": Case(tiny.tiny_sdxl, "StableDiffusionXLPipeline", "sdxl"),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def base(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return case.build(tmp_path_factory.mktemp(case.family))


def plain_pipeline(case: Case, base: Path) -> Any:
    """The family's own pipeline, with nothing of Veneer's."""
    import diffusers

    loaded = getattr(diffusers, case.pipeline).from_pretrained(str(base), local_files_only=True)
    loaded.scheduler = getattr(diffusers, case.scheduler).from_config(loaded.scheduler.config)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def draw(pipeline: Any) -> np.ndarray[Any, Any]:
    """One picture of 32 px by three steps."""
    result = pipeline(
        prompt="a red city", num_inference_steps=3, guidance_scale=3.0, height=32, width=32, output_type="np",
        generator=[torch.Generator("cpu").manual_seed(5)],
    )  # fmt: skip
    return np.asarray(result.images[0])


def test_every_family_has_a_case() -> None:
    assert {family.name for family in FAMILIES} - {"sd2"} == {case.family for case in CASES.values()}


def test_the_whole_path(
    case: Case, base: Path, picture_folder: Path, clip_folder: Path, tmp_path: Path
) -> None:
    recipe = resolve(
        {
            "base": {"model": str(base)},
            "collect": {"sources": [str(picture_folder)]},
            "caption": {"model": "none", "prefix": "a drawing of"},
            "encode": {"resolution": 32},
            "lora": {"text_encoder": case.text_encoder},
            "train": {"max_train_steps": 2, "caption_dropout": 0.3, "cuda_graph": False},
            "generate": {
                "prompts": ["a red dot"],
                "seeds": [0],
                "num_inference_steps": 2,
                "scheduler": case.sampler,
            },
            "compare": {"embedder": str(clip_folder), "held_out_prompts": 1, "general_prompts": ["a dog"]},
        }
    )
    run_recipe(recipe, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    assert run.report_md.is_file()
    for file in (run.lora_file, run.kohya_file):
        found = read_lora(file)
        assert found.metadata["veneer.family"] == case.family
        assert any(module.startswith("text_encoder.") for module in found.modules) == case.text_encoder


@pytest.mark.parametrize("write", [write_diffusers, write_kohya])
def test_the_familys_own_pipeline_draws_what_veneer_draws(
    case: Case, base: Path, tmp_path: Path, write: Callable[..., None]
) -> None:
    lora = random_lora(
        base,
        rank=2,
        text_encoder=case.text_encoder,
        lora_alpha=case.lora_alpha,
        target_modules="attention+ff+conv",
    )
    file = tmp_path / "pytorch_lora_weights.safetensors"
    write(file, lora)
    table = GenerateTable(num_inference_steps=3, guidance_scale=3.0, scheduler=case.sampler, resolution=32)
    sampler = load_sampler(str(base), table)
    load_lora(sampler, file)
    ours = np.asarray(next(iter(sample(sampler, [("a red city", 5)]))).image, dtype=float)
    pipeline = plain_pipeline(case, base)
    without = draw(pipeline)
    pipeline.load_lora_weights(str(tmp_path), weight_name=file.name)
    theirs = draw(pipeline)
    assert float(np.abs(theirs - without).max()) > 0.02
    assert float(np.abs(theirs * 255 - ours).max()) <= 1


def test_every_layout_gives_every_layer_back(case: Case, base: Path, tmp_path: Path) -> None:
    lora = random_lora(
        base, rank=2, lora_alpha=3.0, text_encoder=case.text_encoder, target_modules="attention+ff+conv"
    )
    loaded = load_base(str(base), parts=("tokenizer", "text_encoder", "unet", "scheduler"))
    for write in (write_diffusers, write_kohya):
        path = tmp_path / f"{write.__name__}.safetensors"
        write(path, lora)
        found = read_lora(path)
        assert found.modules == lora.modules and found.ranks == lora.ranks
        for module in lora.modules:
            torch.testing.assert_close(update(found, module), update(lora, module), rtol=0, atol=1e-5)
        assert verify(path, lora, loaded) < 1e-3


def update(lora: LoraFile, module: str) -> torch.Tensor:
    """What an adapter adds to a layer's weight."""
    down, up = lora.state[f"{module}.lora_A.weight"], lora.state[f"{module}.lora_B.weight"]
    return lora.alphas[module] / len(down) * (up.flatten(1) @ down.flatten(1))


@pytest.mark.heavy  # the longest of them; sd1's is in test_train_kill.py too
def test_killed_and_resumed_to_the_same_bytes(case: Case, base: Path, tmp_path: Path) -> None:
    recipe = recipe_for(
        base,
        lora={"text_encoder": case.text_encoder},
        generate={"scheduler": case.sampler},
        train={
            "max_train_steps": 4,
            "checkpointing_steps": 1,
            "validation_steps": 2,
            "caption_dropout": 0.3,
            "cuda_graph": False,
        },
    )
    whole = encoded_run(tmp_path / "whole", recipe)
    killed = copy_run(whole, tmp_path / "killed")
    train_quietly(whole, recipe)
    kill_often(killed, recipe, 1, seed=1)
    train_quietly(killed, recipe)
    assert bytes_of(killed) == bytes_of(whole)


def test_a_lora_of_another_family_is_refused(case: Case, base: Path, tmp_path: Path) -> None:
    other = next(one for one in CASES.values() if one.family != case.family)
    lora = random_lora(other.build(tmp_path / "other"), rank=2)
    write_diffusers(tmp_path / "lora.safetensors", lora)
    sampler = load_sampler(str(base), GenerateTable(resolution=32, scheduler=case.sampler))
    with pytest.raises(AdapterError, match="of another family: it is made for"):
        load_lora(sampler, tmp_path / "lora.safetensors")


def test_a_lora_of_another_family_is_refused_before_weights_are_read(
    case: Case, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = next(one for one in CASES.values() if one.family != case.family)
    file = tmp_path / "lora.safetensors"
    write_diffusers(file, random_lora(other.build(tmp_path / "other"), rank=2))
    monkeypatch.setattr("veneer.models.base.load_module", None)
    drawing: dict[str, Callable[[], object]] = {
        "draw": lambda: draw_pictures(str(base), ["a"], [0], lora=file),
        "generate": lambda: generate_files(str(base), ["a"], [0], tmp_path / "out", lora=file),
        "export": lambda: export_file(file, tmp_path / "x.safetensors", layout="kohya", base=str(base)),
        "merge": lambda: export_file(file, tmp_path / "merged", layout="merged", base=str(base)),
    }
    for command in drawing.values():
        with pytest.raises(AdapterError, match="of another family: it is made for"):
            command()


def test_a_word_is_learnt_or_refused_by_name(case: Case, base: Path, tmp_path: Path) -> None:
    lora = {"embedding_token": "<x>", "target_modules": "none"}
    recipe = recipe_for(base, lora=lora, generate={"scheduler": case.sampler})
    if load_base(str(base), parts=()).family.learns_words:
        pytest.skip("tests/stage/test_embedding.py and test_embedding_sdxl.py learn one")
    with pytest.raises(RecipeError, match="words are not learnt"):
        encoded_run(tmp_path, recipe)
