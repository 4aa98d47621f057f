import dataclasses
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from helpers.proofrun import make_run, proof_recipe, write_lora
from veneer.config import GenerateTable, Recipe
from veneer.errors import AdapterError, RunError
from veneer.lora.drawing import draw
from veneer.lora.loading import load_lora, unload_lora
from veneer.models import sampling
from veneer.models.families.sd import SD1
from veneer.records.prompts import read_prompts
from veneer.records.run import RunDir
from veneer.stages.generate import GenerateResult, generate, generate_files

TABLE = GenerateTable(num_inference_steps=2, guidance_scale=2.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, base_folder: Path, picture_folder: Path) -> RunDir:
    return make_run(tmp_path_factory.mktemp("generate") / "run", base_folder, picture_folder)


@pytest.fixture(scope="module")
def recipe(base_folder: Path, clip_folder: Path) -> Recipe:
    return proof_recipe(base_folder, clip_folder)


@pytest.fixture(scope="module")
def result(run: RunDir, recipe: Recipe) -> GenerateResult:
    return generate(run, recipe)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"), int)


def test_prompt_set_and_seeds(run: RunDir, result: GenerateResult) -> None:
    prompts = read_prompts(run.drawn.prompts_json)
    assert [prompt.kind for prompt in prompts] == ["recipe"] * 3 + ["held_out"] * 3 + ["general"] * 2
    names = sorted(path.name for path in (run.samples / "tuned").iterdir())
    assert names == sorted(path.name for path in (run.samples / "base").iterdir())
    assert len(names) == 3 * 3 + 3 * 2 + 2 * 1
    assert result.num_pictures == result.num_drawn == 2 * len(names)
    assert "34 pictures" in result.summary


def test_tuned_differs_from_base(run: RunDir, result: GenerateResult) -> None:
    assert np.abs(pixels(run.samples / "base/000-0.png") - pixels(run.samples / "tuned/000-0.png")).max() > 0


def test_again_draws_nothing_and_after_a_kill_only_what_is_missing(
    run: RunDir, recipe: Recipe, result: GenerateResult
) -> None:
    assert generate(run, recipe).num_drawn == 0
    before = pixels(run.samples / "tuned/001-2.png")
    (run.samples / "tuned/001-2.png").unlink()
    (run.samples / "base/000-1.png").write_bytes(b"cut short")
    assert generate(run, recipe).num_drawn == 16 + 16  # the first batch of each
    assert np.abs(pixels(run.samples / "tuned/001-2.png") - before).max() == 0


@pytest.fixture
def told_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures whose every level tells which batch they were drawn in."""

    def first_pass(sampler: object, batch: list[tuple[str, int]], side_px: int) -> Any:
        level = zlib.crc32(repr(batch).encode()) % 256 / 255
        return np.full((len(batch), side_px, side_px, 3), level)

    monkeypatch.setattr(sampling, "_first_pass", first_pass)
    monkeypatch.setattr(sampling, "BATCH_PIXELS", 4 * 32 * 32)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.png")}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.usefixtures("told_batches")
def test_whichever_pictures_are_lost_the_same_bytes_come_back(
    tmp_path: Path, base_folder: Path, seed: int
) -> None:
    chance = random.Random(seed)
    ask = ([f"thing {number}" for number in range(5)], [3, 5, 9])
    generate_files(str(base_folder), *ask, tmp_path / "a", generate=TABLE)
    whole = files_of(tmp_path / "a")
    assert len(whole) == 15
    for name in chance.sample(sorted(whole), chance.randrange(1, 15)):
        path = tmp_path / "a" / name
        if chance.random() < 0.5:
            path.write_bytes(whole[name][: chance.randrange(len(whole[name]))])
        else:
            path.unlink()
    again = generate_files(str(base_folder), *ask, tmp_path / "a", generate=TABLE)
    assert files_of(tmp_path / "a") == whole
    assert again.num_drawn <= 15
    assert generate_files(str(base_folder), *ask, tmp_path / "a", generate=TABLE).num_drawn == 0


@pytest.mark.usefixtures("told_batches")
def test_more_prompts_later_are_the_same_bytes_as_all_at_once(tmp_path: Path, base_folder: Path) -> None:
    few, all_of_them = ["a", "b", "c"], ["a", "b", "c", "d", "e"]
    generate_files(str(base_folder), few, [1, 2], tmp_path / "a", generate=TABLE)
    assert (
        generate_files(str(base_folder), all_of_them, [1, 2], tmp_path / "a", generate=TABLE).num_drawn == 6
    )
    generate_files(str(base_folder), all_of_them, [1, 2], tmp_path / "b", generate=TABLE)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_memory_that_gave_out_moves_no_batch(base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = sampling.load_sampler(str(base_folder), TABLE)
    sizes: list[list[int]] = []

    def small_memory(sampler: object, batch: list[tuple[str, int]], side_px: int) -> Any:
        sizes.append([seed for _, seed in batch])
        if len(batch) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return np.zeros((len(batch), side_px, side_px, 3))

    monkeypatch.setattr(sampling, "_first_pass", small_memory)
    jobs = [("a dog", seed) for seed in range(8)]
    batches = sampling.batched(jobs, 5)
    assert len(list(sampling.sample_batches(sampler, batches))) == 8
    assert sizes == [[0, 1, 2, 3, 4], [0, 1], [2, 3], [4], [5, 6], [7]]


def test_plain_diffusers_draws_the_same(
    run: RunDir, recipe: Recipe, result: GenerateResult, base_folder: Path
) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(base_folder)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.load_lora_weights(str(run.lora), weight_name=run.lora_file.name)
    table = recipe.generate
    picture = pipe(
        "picture of the city",
        num_inference_steps=table.num_inference_steps,
        guidance_scale=table.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(1),
    ).images[0]
    assert np.abs(np.asarray(picture, int) - pixels(run.samples / "tuned/001-1.png")).max() <= 1


def test_batch_composition_makes_no_difference(base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, seeds = ["a dog", "the city"], [3, 4]
    together = draw(str(base_folder), prompts, seeds, generate=TABLE)
    monkeypatch.setattr(sampling, "BATCH_PIXELS", 1)
    alone = draw(str(base_folder), ["the city"], [4], generate=TABLE)[0]
    assert np.abs(np.asarray(together[3], int) - np.asarray(alone, int)).max() <= 1


def test_a_folder_is_drawn_with_as_the_file_in_it(run: RunDir, base_folder: Path, tmp_path: Path) -> None:
    for lora, out in ((run.lora_file, "a"), (run.lora, "b")):
        generate_files(str(base_folder), ["a dog"], [0], tmp_path / out, lora=lora, generate=TABLE)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")


def test_scale_zero_is_the_base(run: RunDir, base_folder: Path) -> None:
    base = draw(str(base_folder), ["a dog"], [0], generate=TABLE)[0]
    zero = draw(str(base_folder), ["a dog"], [0], generate=TABLE, lora=run.lora_file, scale=0.0)[0]
    one = draw(str(base_folder), ["a dog"], [0], generate=TABLE, lora=run.lora_file)[0]
    assert np.array_equal(np.asarray(base), np.asarray(zero))
    assert not np.array_equal(np.asarray(base), np.asarray(one))


def test_taking_the_adapter_off_gives_the_base_back(run: RunDir, base_folder: Path) -> None:
    sampler = sampling.load_sampler(str(base_folder), TABLE)
    before = next(sampling.sample(sampler, [("a dog", 0)])).image
    load_lora(sampler, run.lora_file)
    unload_lora(sampler)
    assert np.array_equal(
        np.asarray(before), np.asarray(next(sampling.sample(sampler, [("a dog", 0)])).image)
    )


def test_two_passes_give_the_size_asked_for(base_folder: Path) -> None:
    table = TABLE.model_copy(update={"resolution": 64})
    once = draw(str(base_folder), ["a dog"], [0], generate=table)[0]
    twice = draw(str(base_folder), ["a dog"], [0], generate=table.model_copy(update={"two_pass": True}))[0]
    assert once.size == twice.size == (64, 64)
    assert not np.array_equal(np.asarray(once), np.asarray(twice))


def test_adapter_for_another_base_is_refused(
    tmp_path: Path, base_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_lora(tmp_path / "lora.safetensors", base_folder, 0.5)
    state = load_file(path)
    wider = {name: torch.zeros(*(2 * n for n in weight.shape)) for name, weight in state.items()}
    save_file(wider, tmp_path / "wider.safetensors")
    strange = {name.replace("down_blocks", "other_blocks"): weight for name, weight in state.items()}
    save_file(strange, tmp_path / "strange.safetensors")
    known = {"veneer.base": str(base_folder), "veneer.base_fingerprint": "older"}
    save_file(load_file(tmp_path / "wider.safetensors"), tmp_path / "older.safetensors", known)
    misfits = {
        "wider": "does not fit this base",
        "strange": "a weight that is not known",
        "older": "other weights of",
    }
    for name, words in misfits.items():
        with pytest.raises(AdapterError, match=words):
            draw(str(base_folder), ["a dog"], [0], generate=TABLE, lora=tmp_path / f"{name}.safetensors")
    assert "size mismatch" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("base", "fingerprint", "is_told"),
    [("own", "own", False), ("own", "own+vae", False), ("own", "older", True), ("other", "older", False)],
)
def test_an_adapter_of_the_bases_older_weights_is_told_of(
    tmp_path: Path, base_folder: Path, base: str, fingerprint: str, is_told: bool
) -> None:
    sampler = sampling.load_sampler(str(base_folder), TABLE)
    trained_on = fingerprint.replace("own", sampler.fingerprint)
    own = {"veneer.base": str(base_folder), "veneer.base_fingerprint": trained_on}
    if base == "other":
        own["veneer.base"] = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    path = write_lora(tmp_path / "lora.safetensors", base_folder, 0.5)
    save_file(load_file(path), path, own)
    seen: list[Any] = []
    load_lora(sampler, path, on_event=seen.append)
    assert [event.code for event in seen if event.code != "lora-alpha-missing"] == (
        ["other-weights"] if is_told else []
    )


@pytest.mark.parametrize("content", [None, b"junk"])
def test_missing_and_damaged_adapters_are_named(
    tmp_path: Path, base_folder: Path, content: bytes | None
) -> None:
    path = tmp_path / "lora.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AdapterError, match=r"no such LoRA file|damaged"):
        draw(str(base_folder), ["a dog"], [0], generate=TABLE, lora=path)


def test_diverged_adapter_gives_black_pictures_and_a_notice(tmp_path: Path, base_folder: Path) -> None:
    path = write_lora(tmp_path / "lora.safetensors", base_folder, 1e37)
    events: list[Any] = []
    out = tmp_path / "out"
    result = generate_files(
        str(base_folder), ["a dog"], [0], out, lora=path, generate=TABLE, on_event=events.append
    )
    assert result.num_broken == 1
    assert pixels(out / "000-0.png").max() == 0
    assert "picture-broken" in [getattr(event, "code", "") for event in events]
    again = generate_files(str(base_folder), ["a dog"], [0], out, lora=path, generate=TABLE)
    assert (again.num_drawn, again.num_broken) == (0, 1), "what another command drew is as broken"


def test_no_prompt_no_seed_no_adapter(tmp_path: Path, run: RunDir, base_folder: Path, recipe: Recipe) -> None:
    with pytest.raises(RunError, match="no prompt"):
        generate_files(str(base_folder), [], [0], tmp_path)
    with pytest.raises(RunError, match="no seed"):
        generate_files(str(base_folder), ["a"], [], tmp_path)
    with pytest.raises(RunError, match="no adapter yet"):
        generate(type(run)(tmp_path / "empty"), recipe)


def test_a_gpu_draws_by_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = SimpleNamespace(device=torch.device("cuda"))
    sizes = {
        side: sampling.Sampler(SD1, pipeline, 512, "x", "y", TABLE, side).batch_size
        for side in (64, 512, 1024, 2048)
    }
    assert sizes == {64: 256, 512: 4, 1024: 1, 2048: 1}


def test_a_gpu_draws_in_a_precision_that_does_not_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_bf16, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has_bf16: has)
        assert sampling.drawing_dtype(torch.device("cuda")) == dtype
    assert sampling.drawing_dtype(torch.device("cpu")) == torch.float32
    assert sampling.drawing_dtype(torch.device("mps")) == torch.float16


def test_too_little_memory_draws_fewer_at_once_and_says_so(
    base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = sampling.load_sampler(str(base_folder), TABLE)
    jobs = [("a dog", seed) for seed in range(7)]
    wanted = [np.asarray(one.image, int) for one in sampling.sample(sampler, jobs)]
    original, sizes = sampling._first_pass, []
    events: list[Any] = []

    def small_memory(sampler: Any, batch: Any, side_px: int) -> Any:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return original(sampler, batch, side_px)

    monkeypatch.setattr(sampling, "_first_pass", small_memory)
    drawn = list(sampling.sample(sampler, jobs, events.append))
    assert sizes == [7, 3, 3, 1]
    assert [(one.prompt, one.seed) for one in drawn] == jobs
    assert max(np.abs(np.asarray(a.image, int) - b).max() for a, b in zip(drawn, wanted, strict=True)) <= 1
    assert [event.code for event in events] == ["smaller-batches"]
    assert "7 pictures at once: 3 are drawn together" in events[0].message


def test_too_little_memory_for_one_picture_is_an_error(
    base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(sampler: Any, batch: Any, side_px: int) -> None:
        raise torch.OutOfMemoryError("out of memory")

    sampler = sampling.load_sampler(str(base_folder), TABLE)
    monkeypatch.setattr(sampling, "_first_pass", no_memory)
    with pytest.raises(torch.OutOfMemoryError):
        list(sampling.sample(sampler, [("a dog", 0), ("a dog", 1)]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_noise_is_that_of_float32_in_any_precision(
    base_folder: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(sampling, "drawing_dtype", lambda device: dtype)
    sampler = sampling.load_sampler(str(base_folder), TABLE)
    seen: list[Any] = []

    def look(**keys: Any) -> Any:
        seen.append(keys["latents"])
        return original(**keys)

    original = sampler.pipeline
    list(
        sampling.sample(
            dataclasses.replace(sampler, pipeline=Looked(original, look)), [("a dog", 3), ("a dog", 7)]
        )
    )
    wanted = [torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(seed)) for seed in (3, 7)]
    assert torch.equal(seen[0], torch.cat(wanted).to(dtype))


class Looked:
    """A pipeline whose calls are looked at."""

    def __init__(self, pipeline: Any, look: Callable[..., Any]) -> None:
        self._pipeline, self._look = pipeline, look

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def __call__(self, **keys: Any) -> Any:
        return self._look(**keys)
