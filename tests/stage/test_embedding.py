"""A word learnt as new vectors of the text encoder, from the recipe to a file that plain diffusers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from helpers.training import copy_run, encoded_run, log_lines, recipe_for, train_quietly, weights_hashes
from veneer.config import LoraTable, Recipe
from veneer.errors import AdapterError, RecipeError
from veneer.events import Notice
from veneer.lora.embedding_file import Embedding, load_textual_inversion, read_embedding
from veneer.lora.textual_inversion import (
    attach_embedding,
    initial_embedding,
    verify_embedding,
    write_embedding,
)
from veneer.models.base import assemble, load_base
from veneer.records.dataset import Dataset, Item
from veneer.records.run import RunDir
from veneer.stages.encode import encode
from veneer.stages.export import export
from veneer.stages.generate import generate
from veneer.training import checkpoints
from veneer.training.network import WORD, build_network

TOKEN = "<my-city>"
WORD_ALONE = {"target_modules": "none", "embedding_token": TOKEN, "embedding_init": "city"}
WITH_LORA = WORD_ALONE | {"target_modules": "attention", "embedding_vectors": 3}


def word_recipe(base: Path, lora: dict[str, Any], **tables: dict[str, Any]) -> Recipe:
    generate_table = {
        "prompts": (f"a {TOKEN} dog",),
        "seeds": (0,),
        "num_inference_steps": 2,
        "resolution": 32,
    }
    tables = {"generate": generate_table, "compare": {"held_out_prompts": 1, "general_prompts": ()}} | tables
    return recipe_for(base, lora=lora, **tables)


@pytest.fixture(scope="module")
def ready(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    recipe = word_recipe(base_folder, WORD_ALONE)
    run = encoded_run(tmp_path_factory.mktemp("word") / "run", recipe)
    dataset = Dataset(run.dataset)
    dataset.write_metadata([Item(i.file_name, f"{TOKEN}, {i.caption}") for i in dataset.captioned_items()])
    encode(run, recipe)
    return run


def one_encoder(vectors: torch.Tensor) -> Embedding:
    return Embedding(TOKEN, {"text_encoder": vectors}, {"veneer.step": "6"})


def frozen_rows(base: Path) -> torch.Tensor:
    return load_base(str(base), parts=("text_encoder",)).text_encoder.get_input_embeddings().weight


@pytest.mark.parametrize(
    ("lora", "precision"),
    [
        pytest.param(WORD_ALONE, "no", id="alone"),
        pytest.param(WITH_LORA, "bf16", id="with-lora-bf16"),
        pytest.param(WORD_ALONE, "bf16", id="alone-bf16", marks=pytest.mark.heavy),
        pytest.param(WITH_LORA, "no", id="with-lora", marks=pytest.mark.heavy),
    ],
)
def test_the_word_is_trained_in_float32_and_nothing_else_of_the_vocabulary(
    ready: RunDir, base_folder: Path, tmp_path: Path, lora: dict[str, Any], precision: str
) -> None:
    run = copy_run(ready, tmp_path / "run")
    recipe = word_recipe(base_folder, lora, train={"mixed_precision": precision, "learning_rate": 1e-2})
    result, _ = train_quietly(run, recipe)
    found = checkpoints.load(run.checkpoint(6)).tensors
    vectors = found["embedding"][TOKEN]
    base = load_base(str(base_folder), parts=("tokenizer", "text_encoder"))
    first = initial_embedding(base.parts, base.family, recipe.lora).vectors["text_encoder"]
    assert vectors.dtype == torch.float32
    assert vectors.shape == first.shape == (lora.get("embedding_vectors", 1), 16)
    assert (vectors - first).abs().amin(dim=1).max() > 0
    assert bool(found["adapter"]) == (lora is WITH_LORA)
    assert result.base_loss is not None
    assert result.chosen.loss is not None
    assert result.chosen.loss < result.base_loss


def test_small_updates_are_not_rounded_away_in_bfloat16(
    ready: RunDir, base_folder: Path, tmp_path: Path
) -> None:
    run = copy_run(ready, tmp_path / "run")
    train = {"mixed_precision": "bf16", "learning_rate": 1e-6, "max_train_steps": 1}
    recipe = word_recipe(base_folder, WORD_ALONE, train=train)
    train_quietly(run, recipe)
    vectors = checkpoints.load(run.checkpoint(1)).tensors["embedding"][TOKEN]
    network = build_network(recipe, torch.device("cpu"))
    start = network.parameters[f"text_encoder.{WORD}"].detach()
    moved = (vectors - start).abs()
    assert 0 < float(moved.max()) < 1e-5
    assert int((vectors.bfloat16() == start.bfloat16()).sum()) > 8
    assert int((vectors == start).sum()) < 8


def test_at_its_start_the_word_says_its_initial_word(ready: RunDir, base_folder: Path) -> None:
    recipe = word_recipe(base_folder, WORD_ALONE)
    network = build_network(recipe, torch.device("cpu"))
    plain = load_base(str(base_folder), parts=("tokenizer", "text_encoder"))
    from veneer.models.families.sd import encode_tokens
    from veneer.models.families.unets import tokenize_prompt

    assert network.text is not None
    with torch.no_grad():
        ours = network.text.encode([f"a {TOKEN} picture"])["encoder_hidden_states"]
        theirs = encode_tokens(plain.text_encoder, tokenize_prompt(plain.tokenizer, ["a city picture"]))
    assert torch.equal(ours, theirs)


def test_resumed_is_uninterrupted_to_the_byte(ready: RunDir, base_folder: Path, tmp_path: Path) -> None:
    train = {"ema_decay": 0.9, "average_last": 2, "gradient_accumulation_steps": 2}
    recipe = word_recipe(base_folder, WITH_LORA, train=train)
    whole, cut = copy_run(ready, tmp_path / "whole"), copy_run(ready, tmp_path / "cut")
    train_quietly(whole, recipe)
    train_quietly(cut, recipe)
    newest = cut.checkpoint(6) / "embedding.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    _, events = train_quietly(cut, recipe)
    assert "checkpoint-damaged" in [e.code for e in events if isinstance(e, Notice)]
    assert weights_hashes(cut) == weights_hashes(whole)
    assert [line["loss"] for line in log_lines(cut)] == [line["loss"] for line in log_lines(whole)]


@pytest.mark.parametrize("lora", [WORD_ALONE, WITH_LORA], ids=["alone", "with-lora"])
def test_plain_diffusers_draws_the_tuned_picture(
    ready: RunDir, base_folder: Path, tmp_path: Path, lora: dict[str, Any]
) -> None:
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
    from PIL import Image

    run = copy_run(ready, tmp_path / "run")
    recipe = word_recipe(base_folder, lora, train={"learning_rate": 0.3, "choose": "last"})
    train_quietly(run, recipe)
    result = export(run, recipe)
    assert max(result.differences.values()) < 1e-5
    assert run.embedding_file in result.paths
    assert (run.lora / "embeddings" / "my-city.safetensors").read_bytes() == run.embedding_file.read_bytes()
    assert run.lora_file.is_file() == (lora is WITH_LORA)
    generate(run, recipe)
    assert generate(run, recipe).num_drawn == 0

    pipe = StableDiffusionPipeline.from_pretrained(base_folder)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.load_textual_inversion(str(run.lora))
    if lora is WITH_LORA:
        pipe.load_lora_weights(str(run.lora), weight_name=run.lora_file.name)
    options = {"num_inference_steps": 2, "guidance_scale": 7.5, "height": 32, "width": 32}
    theirs = pipe(f"a {TOKEN} dog", generator=torch.Generator().manual_seed(0), **options).images[0]
    ours, base = (np.asarray(Image.open(run.samples / side / "000-0.png"), int) for side in ("tuned", "base"))
    assert np.abs(ours - base).max() > 2
    assert np.abs(ours - np.asarray(theirs, int)).max() <= 1

    # The base reads the word as it was before training, so that step 0 and base are the same picture.
    plain = assemble(load_base(str(base_folder)), "dpmsolver")
    prompt = "a " + " ".join(["city"] * lora.get("embedding_vectors", 1)) + " dog"
    first = plain(prompt, generator=torch.Generator().manual_seed(0), **options).images[0]
    assert np.abs(base - np.asarray(first, int)).max() <= 1


def test_the_file_is_what_other_tools_look_for(base_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "my-city.safetensors"
    word = one_encoder(torch.randn(2, 16))
    write_embedding(path, word)
    # One tensor alone: A1111 and ComfyUI take the first of the file, diffusers takes its key for the word.
    assert list(safetensors.torch.load_file(path)) == [TOKEN]
    base = load_base(str(base_folder), parts=("tokenizer", "text_encoder"))
    before = len(base.tokenizer)
    assert verify_embedding(path, word, base) < 1e-5
    assert len(base.tokenizer) == before
    with pytest.raises(AdapterError, match="does not load as trained"):
        verify_embedding(path, one_encoder(-word.vectors["text_encoder"]), base)
    safetensors.torch.save_file({"emb_params": word.vectors["text_encoder"]}, tmp_path / "theirs.safetensors")
    assert read_embedding(tmp_path / "theirs.safetensors").token == "theirs"


def test_a_word_of_another_size_is_refused_and_the_same_word_is_replaced(base_folder: Path) -> None:
    pipeline = assemble(load_base(str(base_folder)), "dpmsolver")
    load_textual_inversion(pipeline, one_encoder(torch.ones(3, 16)))
    load_textual_inversion(pipeline, one_encoder(torch.zeros(1, 16)))
    table = pipeline.text_encoder.get_input_embeddings().weight
    assert len(table) == len(frozen_rows(base_folder)) + 1
    assert not table[-1].any()
    with pytest.raises(AdapterError, match="does not fit"):
        load_textual_inversion(pipeline, one_encoder(torch.zeros(1, 8)))


@pytest.mark.parametrize("sign", ["<|endoftext|>", "<|startoftext|>"])
def test_a_word_that_every_prompt_has_is_refused(base_folder: Path, sign: str) -> None:
    """It ended the command as an unexpected fault."""
    pipeline = assemble(load_base(str(base_folder)), "dpmsolver")
    before = len(pipeline.tokenizer)
    for count in (1, 3):
        with pytest.raises(AdapterError, match="a sign of the base's own"):
            load_textual_inversion(
                pipeline, Embedding(sign, {"text_encoder": torch.zeros(count, 16)}), "word.safetensors"
            )
    assert len(pipeline.tokenizer) == before


def test_the_base_stays_as_it_is(base_folder: Path) -> None:
    base = load_base(str(base_folder), parts=("tokenizer", "text_encoder"))
    table = LoraTable(embedding_token=TOKEN, embedding_init="city")
    first = initial_embedding(base.parts, base.family, table)
    vectors = attach_embedding(base.parts, base.family, first)["text_encoder"]
    assert [n for n, p in base.text_encoder.named_parameters() if p.requires_grad] == [
        "embeddings.token_embedding.vectors"
    ]
    with torch.no_grad():
        vectors.zero_()
    assert torch.equal(base.text_encoder.get_input_embeddings().weight, frozen_rows(base_folder))


def test_what_cannot_be_learnt_is_refused(ready: RunDir, base_folder: Path, tmp_path: Path) -> None:
    run = copy_run(ready, tmp_path / "run")
    cases = [
        (WORD_ALONE | {"embedding_token": "city"}, "knows the word"),
        (WORD_ALONE | {"embedding_init": "housing"}, "tokens for this base"),
        (WORD_ALONE | {"embedding_token": "<other>"}, "no caption calls"),
        ({"target_modules": "none"}, "nothing is trained"),
    ]
    for lora, message in cases:
        with pytest.raises(RecipeError, match=message):
            train_quietly(run, word_recipe(base_folder, lora))
    with pytest.raises(RecipeError, match="embedding_token"):
        word_recipe(base_folder, {"embedding_token": "two words"})
