"""A word learnt on Stable Diffusion XL: vectors of both text encoders, in a file that diffusers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from helpers import tiny
from helpers.training import copy_run, encoded_run, recipe_for, train_quietly, weights_hashes
from veneer.config import GenerateTable, Recipe
from veneer.errors import AdapterError
from veneer.lora.drawing import draw
from veneer.lora.embedding_file import Embedding, load_textual_inversion, read_embedding
from veneer.lora.reader import read_lora
from veneer.lora.textual_inversion import write_embedding
from veneer.models.base import assemble, load_base
from veneer.records.dataset import Dataset, Item
from veneer.records.run import RunDir
from veneer.stages.encode import encode
from veneer.stages.export import export
from veneer.stages.generate import generate
from veneer.stages.report import model_card
from veneer.training import checkpoints

TOKEN = "<my-city>"
BOTH = {"clip_l": ("tokenizer", "text_encoder"), "clip_g": ("tokenizer_2", "text_encoder_2")}

JUDGED = {
    "metrics": {"verdict": "not shown", "headline": "", "reasons_named": [], "chosen_step": 2},
    "name": "word",
    "rows": [],
    "training": {"total": 12},
    "usage": None,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def recipe(base: Path) -> Recipe:
    word = {"embedding_token": TOKEN, "embedding_init": "city", "embedding_vectors": 2}
    drawing = {"prompts": (f"a {TOKEN} dog",), "seeds": (0,), "num_inference_steps": 2, "resolution": 32}
    train = {"max_train_steps": 2, "checkpointing_steps": 1, "learning_rate": 0.3, "choose": "last"}
    compare: dict[str, Any] = {"held_out_prompts": 1, "general_prompts": ()}
    lora = {"target_modules": "none"} | word
    return recipe_for(base, lora=lora, train=train, generate=drawing, compare=compare)


@pytest.fixture(scope="module")
def ready(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    run = encoded_run(tmp_path_factory.mktemp("word") / "run", recipe)
    dataset = Dataset(run.dataset)
    dataset.write_metadata([Item(i.file_name, f"{TOKEN}, {i.caption}") for i in dataset.captioned_items()])
    encode(run, recipe)
    return run


@pytest.fixture(scope="module")
def trained(ready: RunDir, recipe: Recipe) -> RunDir:
    train_quietly(ready, recipe)
    export(ready, recipe)
    generate(ready, recipe)
    return ready


def test_both_text_encoders_learn_it_and_a_resume_ends_with_the_same_bytes(
    trained: RunDir, recipe: Recipe, base: Path, tmp_path: Path
) -> None:
    own = load_base(str(base), parts=("tokenizer", "text_encoder")).parts
    found = checkpoints.load(trained.checkpoint(2)).tensors["embedding"]
    for key, (tokenizer, encoder) in BOTH.items():
        city = own[encoder].get_input_embeddings().weight[own[tokenizer].convert_tokens_to_ids("city</w>")]
        assert found[key].shape == (2, 16)
        assert (found[key] - city).abs().amin() > 0
    cut = copy_run(trained, tmp_path / "cut")
    newest = cut.checkpoint(2) / "embedding.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    train_quietly(cut, recipe)
    assert weights_hashes(cut) == weights_hashes(trained)


def test_plain_diffusers_loads_both_and_draws_the_tuned_picture(trained: RunDir, base: Path) -> None:
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionXLPipeline

    tensors = safetensors.torch.load_file(trained.embedding_file)
    assert sorted(tensors) == sorted(BOTH)  # as kohya's trainer, ComfyUI, A1111 and Forge have them
    assert trained.word_file("my-city").read_bytes() == trained.embedding_file.read_bytes()
    pipe = StableDiffusionXLPipeline.from_pretrained(base, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    for key, (tokenizer, encoder) in BOTH.items():
        parts = {"tokenizer": getattr(pipe, tokenizer), "text_encoder": getattr(pipe, encoder)}
        pipe.load_textual_inversion(tensors[key], token=TOKEN, **parts)
    pipe.text_encoder_2.text_model.eos_token_id = (
        pipe.tokenizer_2.eos_token_id
    )  # else its pooled state ends early
    options = {"num_inference_steps": 2, "guidance_scale": 7.5, "height": 32, "width": 32}
    theirs = pipe(f"a {TOKEN} dog", generator=torch.Generator().manual_seed(0), **options).images[0]
    ours, first = (np.asarray(Image.open(trained.samples / s / "000-0.png"), int) for s in ("tuned", "base"))
    assert np.abs(ours - first).max() > 2
    assert np.abs(ours - np.asarray(theirs, int)).max() <= 1


def test_the_pooled_state_is_that_of_the_prompts_end(base: Path) -> None:
    loaded = load_base(str(base), parts=("tokenizer", "text_encoder", "unet", "vae", "scheduler"))
    pipe = assemble(loaded, "ddim")
    plain = pipe.encode_prompt("a city dog", do_classifier_free_guidance=False)[2]
    city = {part: module.get_input_embeddings().weight for part, module in loaded.text_encoders.items()}
    numbers = {part: loaded.parts[name].convert_tokens_to_ids("city</w>") for name, part in BOTH.values()}
    load_textual_inversion(pipe, Embedding(TOKEN, {p: city[p][numbers[p]][None].clone() for p in numbers}))
    said = pipe.encode_prompt(f"a {TOKEN} dog", do_classifier_free_guidance=False)[2]
    torch.testing.assert_close(said, plain, rtol=0, atol=1e-6)


def test_a_word_is_told_by_its_file_and_fits_no_base_of_one_text_encoder(
    trained: RunDir, base_folder: Path, base: Path, tmp_path: Path
) -> None:
    word = read_embedding(trained.embedding_file)
    assert word.token == TOKEN  # the file's name says nothing
    with pytest.raises(AdapterError, match="for 2 text encoders, this base has 1"):
        load_textual_inversion(assemble(load_base(str(base_folder)), "ddim"), word)
    with pytest.raises(AdapterError, match="holds a learnt word"):
        read_lora(trained.embedding_file)
    theirs = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file(dict(safetensors.torch.load_file(trained.embedding_file)), theirs)
    assert read_embedding(theirs).token == "theirs"
    write_embedding(theirs, Embedding(TOKEN, {"text_encoder": torch.ones(1, 16)}))
    with pytest.raises(AdapterError, match="for 1 text encoders, this base has 2"):
        draw(str(base), ["a"], embedding=theirs, generate=GenerateTable(resolution=32))
    safetensors.torch.save_file({"clip_l": torch.ones(1, 16), "clip_g": torch.ones(2, 16)}, theirs)
    with pytest.raises(AdapterError, match="more vectors for one text encoder"):
        read_embedding(theirs)


def test_the_model_card_has_the_lines_that_load_it(
    trained: RunDir, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veneer.stages.report.gather", lambda run: JUDGED)
    code = model_card(trained, recipe).split("```python\n")[1].split("```")[0]
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repo, name: str(trained.lora / name))
    names: dict[str, Any] = {}
    exec(code, names)
    for tokenizer, encoder in BOTH.values():
        known = getattr(names["pipe"], tokenizer).get_vocab()
        assert {TOKEN, f"{TOKEN}_1"} <= known.keys()
        assert len(getattr(names["pipe"], encoder).get_input_embeddings().weight) == len(known)


def test_a_pipeline_that_reads_no_words_says_so(tmp_path: Path) -> None:
    klein, file = tiny.tiny_klein(tmp_path / "klein"), tmp_path / "x.safetensors"
    write_embedding(file, Embedding(TOKEN, {"text_encoder": torch.ones(1, 16)}))
    with pytest.raises(AdapterError, match="learnt words are not drawn with by Flux2KleinPipeline"):
        draw(str(klein), ["a"], embedding=file, generate=GenerateTable(resolution=32, scheduler="euler"))
