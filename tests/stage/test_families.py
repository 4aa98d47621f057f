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
from veneer.lora.file import write_diffusers, write_kohya
from veneer.lora.loading import load_lora
from veneer.lora.reader import read_lora
from veneer.models.base import load_base
from veneer.models.families import FAMILIES
from veneer.models.sampling import load_sampler, sample
from veneer.recipe import resolve
from veneer.records.run import RunDir


@dataclass(frozen=True)
class Case:
    """A family's tiny base.

    Attributes:
        build: Writes it.
        pipeline: Class of diffusers that draws with it.
        family: The family's name.
    """

    build: Callable[[Path], Path]
    pipeline: str
    family: str


CASES = {
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
    loaded.scheduler = diffusers.DDIMScheduler.from_config(loaded.scheduler.config)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def draw(pipeline: Any) -> np.ndarray[Any, Any]:
    """One picture of 32 px by three steps."""
    result = pipeline(
        "a red city", num_inference_steps=3, guidance_scale=3.0, height=32, width=32, output_type="np",
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
            "lora": {"text_encoder": True},
            "train": {"max_train_steps": 2, "caption_dropout": 0.3},
            "generate": {"prompts": ["a red dot"], "seeds": [0], "num_inference_steps": 2},
            "compare": {"embedder": str(clip_folder), "held_out_prompts": 1, "general_prompts": ["a dog"]},
        }
    )
    run_recipe(recipe, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    assert run.report_md.is_file()
    for file in (run.lora_file, run.kohya_file):
        found = read_lora(file)
        assert found.metadata["veneer.family"] == case.family
        assert any(module.startswith("text_encoder.") for module in found.modules)


@pytest.mark.parametrize("write", [write_diffusers, write_kohya])
def test_the_familys_own_pipeline_draws_what_veneer_draws(
    case: Case, base: Path, tmp_path: Path, write: Callable[..., None]
) -> None:
    lora = random_lora(base, rank=2, text_encoder=True, target_modules="attention+ff+conv")
    file = tmp_path / "pytorch_lora_weights.safetensors"
    write(file, lora)
    table = GenerateTable(num_inference_steps=3, guidance_scale=3.0, scheduler="ddim", resolution=32)
    sampler = load_sampler(str(base), table)
    load_lora(sampler, file)
    ours = np.asarray(next(iter(sample(sampler, [("a red city", 5)]))).image, dtype=float)
    pipeline = plain_pipeline(case, base)
    without = draw(pipeline)
    pipeline.load_lora_weights(str(tmp_path), weight_name=file.name)
    theirs = draw(pipeline)
    assert float(np.abs(theirs - without).max()) > 0.02
    assert float(np.abs(theirs * 255 - ours).max()) <= 1


def test_every_layout_gives_every_layer_back(base: Path, tmp_path: Path) -> None:
    lora = random_lora(base, rank=2, lora_alpha=3.0, text_encoder=True, target_modules="attention+ff+conv")
    loaded = load_base(str(base), parts=("tokenizer", "text_encoder", "unet", "scheduler"))
    for write in (write_diffusers, write_kohya):
        path = tmp_path / f"{write.__name__}.safetensors"
        write(path, lora)
        found = read_lora(path)
        assert found.modules == lora.modules and dict(found.alphas) == pytest.approx(dict(lora.alphas))
        for name, weight in lora.state.items():
            torch.testing.assert_close(found.state[name], weight, rtol=0, atol=1e-5)
        assert verify(path, lora, loaded) < 1e-3


def test_killed_and_resumed_to_the_same_bytes(base: Path, tmp_path: Path) -> None:
    recipe = recipe_for(
        base,
        lora={"text_encoder": True},
        train={"max_train_steps": 4, "checkpointing_steps": 1, "validation_steps": 2, "caption_dropout": 0.3},
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
    sampler = load_sampler(str(base), GenerateTable(resolution=32))
    with pytest.raises(AdapterError, match="of another family: it is made for"):
        load_lora(sampler, tmp_path / "lora.safetensors")


def test_a_word_is_learnt_or_refused_by_name(base: Path, tmp_path: Path) -> None:
    recipe = recipe_for(base, lora={"embedding_token": "<x>", "target_modules": "none"})
    if load_base(str(base), parts=()).family.learns_words:
        pytest.skip("tests/stage/test_embedding.py learns one")
    with pytest.raises(RecipeError, match="words are not learnt"):
        encoded_run(tmp_path, recipe)
