"""Encoding on the tiny base."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from helpers.training import encoded_run, recipe_for, write_dataset
from veneer import machine
from veneer.config import Recipe
from veneer.encoding.jobs import EncodeJob, closing_writes, load_batches
from veneer.errors import BaseModelError, DatasetError, RunError
from veneer.events import Event, Notice
from veneer.models.base import encode_pixels, encode_prompts, load_base
from veneer.models.families.flow import Flow
from veneer.models.families.sd import SD1
from veneer.records.cache import CacheReader, read_index
from veneer.records.dataset import Dataset, Item
from veneer.records.run import RunDir
from veneer.stages import encode as stage
from veneer.stages.encode import encode
from veneer.training.batches import batch_source


def test_the_cache_holds_what_the_parts_give(base_folder: Path, tmp_path: Path) -> None:
    recipe = recipe_for(base_folder)
    run = encoded_run(tmp_path, recipe)
    index, reader = read_index(run), CacheReader(run.cache)
    base = load_base(str(base_folder))
    item = next(item for item in index.items if item.split == "train" and item.bucket == (32, 32))
    with Image.open(run.dataset / item.file_name) as picture:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        scale = 32 / side
        size = round(picture.width * scale), round(picture.height * scale)
        resized = picture.resize(size, Image.Resampling.LANCZOS)
        x, y = (size[0] - 32) // 2, (size[1] - 32) // 2
        cut = resized.crop((x, y, x + 32, y + 32))
    values = torch.from_numpy(np.asarray(cut, dtype=np.float32)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        for view, pixels in enumerate((values, values.flip(-1))):
            mean, std = encode_pixels(base.vae, pixels)
            tensors = reader.tensors(item.latents)
            torch.testing.assert_close(tensors["mean"][view], mean[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(tensors["std"][view], std[0], rtol=1e-4, atol=1e-5)
        for name, caption in ((item.text, item.caption), (index.empty_caption, "")):
            hidden = encode_prompts(base, [caption])["encoder_hidden_states"]
            torch.testing.assert_close(
                reader.text(name)["encoder_hidden_states"], hidden[0], rtol=1e-4, atol=1e-5
            )
    assert left >= 0 <= top


def test_the_second_run_encodes_nothing(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(base_folder)
    run = encoded_run(tmp_path, recipe)
    before = (run.cache / "index.json").read_bytes()
    monkeypatch.setattr(stage, "encode_pixels", None)
    monkeypatch.setattr(stage, "encode_prompts", None)
    again = encode(run, recipe)
    assert (again.encoded, again.reused) == (0, 12)
    assert (run.cache / "index.json").read_bytes() == before


def test_a_changed_picture_alone_is_encoded_again_and_the_old_file_goes(
    base_folder: Path, tmp_path: Path
) -> None:
    recipe = recipe_for(base_folder)
    run = encoded_run(tmp_path, recipe)
    path = run.dataset / read_index(run).items[0].file_name
    with Image.open(path) as picture:
        changed = picture.rotate(90)
    changed.save(path)
    assert encode(run, recipe).encoded == 1
    assert len(list(run.cache.glob("latents/*"))) == 12


def test_a_cut_cache_file_is_made_again(base_folder: Path, tmp_path: Path) -> None:
    recipe = recipe_for(base_folder)
    run = encoded_run(tmp_path, recipe)
    file = next(run.cache.glob("latents/*"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    assert encode(run, recipe).encoded == 1
    assert file.read_bytes() == whole


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["latents", "text"])
def test_a_cached_number_that_is_none_is_refused_and_made_again(
    base_folder: Path, tmp_path: Path, kind: str, value: float
) -> None:
    recipe = recipe_for(base_folder)
    run = encoded_run(tmp_path, recipe)
    file = sorted((run.cache / kind).iterdir())[0]
    whole = file.read_bytes()
    tensors = load_file(file)
    name = "mean" if kind == "latents" else "encoder_hidden_states"
    tensors[name].view(-1)[5] = value
    save_file(tensors, file)
    with pytest.raises(RunError, match=f"numbers that are not finite: {name}.*{file.name}"):
        CacheReader(run.cache).tensors(f"{kind}/{file.name}")
    encode(run, recipe)
    assert file.read_bytes() == whole


def test_a_picture_that_the_vae_makes_no_numbers_of_is_named(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[torch.Tensor] = []

    def poisoned(vae: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(pixels)
        mean, std = encode_pixels(vae, pixels)
        return (mean * float("nan") if len(calls) == 3 else mean), std

    monkeypatch.setattr(stage, "encode_pixels", poisoned)
    with pytest.raises(BaseModelError, match=r"no finite numbers for a picture.*picture-\d+\.png"):
        encoded_run(tmp_path, recipe_for(base_folder))
    assert len(list((tmp_path / "cache" / "latents").glob("*.safetensors"))) == 2


def test_buckets_keep_aspects_and_variants_give_crops(base_folder: Path, tmp_path: Path) -> None:
    run = encoded_run(
        tmp_path, recipe_for(base_folder, encode={"buckets": True, "variants": 3, "resolution": 64})
    )
    index, reader = read_index(run), CacheReader(run.cache)
    assert len({item.bucket for item in index.items}) == 2
    for item in index.items:
        views = 1 if item.split == "held_out" else 6
        assert reader.tensors(item.latents)["mean"].shape == (
            views,
            4,
            item.bucket[1] // 2,
            item.bucket[0] // 2,
        )
        assert item.bucket[0] % 4 == item.bucket[1] % 4 == 0


def notices(run: RunDir, recipe: Recipe) -> dict[str, str]:
    events: list[Event] = []
    encode(run, recipe, events.append)
    return {event.code: event.message for event in events if isinstance(event, Notice)}


def test_more_than_the_base_was_trained_at_is_said(base_folder: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_dataset(run)
    assert (
        "trained at 32 px"
        in notices(run, recipe_for(base_folder, encode={"resolution": 64}))["above-native-resolution"]
    )
    assert "above-native-resolution" not in notices(run, recipe_for(base_folder))


def test_cut_captions_are_counted(base_folder: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_dataset(run)
    text = run.dataset / "metadata.csv"
    text.write_text(text.read_text().replace("a picture 3 of the city", "a very long story " * 40))
    events: list[Event] = []
    result = encode(run, recipe_for(base_folder), events.append)
    assert result.truncated == 1
    message = next(e.message for e in events if isinstance(e, Notice) and e.code == "caption-truncated")
    assert "picture-003.png" in message
    assert "after 77" in message


def test_masks_are_cached_at_the_size_of_the_latents(base_folder: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_dataset(run)
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))
    mask.save(run.dataset / "images" / "picture-000.mask.png")
    encode(run, recipe_for(base_folder, train={"masked_loss": True}))
    index = read_index(run)
    item = next(item for item in index.items if item.file_name.endswith("picture-000.png"))
    masks = CacheReader(run.cache).tensors(item.latents)["masks"]
    assert masks.shape[1:] == (1, 16, 16)
    assert masks[0, 0, :, :7].min() == 1
    assert masks[0, 0, :, 10:].max() == 0
    assert len(index.items) == 12


def test_pictures_without_captions_end_it(base_folder: Path, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_dataset(run)
    (run.dataset / "metadata.csv").unlink()
    with pytest.raises(DatasetError, match="12 of 12 pictures have no caption"):
        encode(run, recipe_for(base_folder))


def test_a_missing_cache_file_says_what_to_run(base_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="veneer encode"):
        CacheReader(tmp_path).tensors("latents/none.safetensors")


def test_too_little_memory_goes_on_in_tiles_and_says_so(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = encode_pixels

    def small_memory(vae: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not vae.use_tiling:
            raise torch.OutOfMemoryError("out of memory")
        return original(vae, pixels)

    monkeypatch.setattr(stage, "encode_pixels", small_memory)
    run = RunDir(tmp_path)
    write_dataset(run)
    assert "tiles" in notices(run, recipe_for(base_folder))["vae-tiled"]
    assert len(list(run.cache.glob("latents/*"))) == 12


def test_small_pictures_are_not_enlarged_unasked_and_what_is_cut_is_told(
    base_folder: Path, tmp_path: Path
) -> None:
    run = RunDir(tmp_path)
    write_dataset(run)  # six of 64 x 64 and six of 64 x 40 pixels
    recipe = recipe_for(base_folder, encode={"resolution": 64})
    events: list[Event] = []
    result = encode(run, recipe, events.append)
    assert dict(result.buckets) == {(40, 40): 6, (64, 64): 6}
    share = 6 * (64 - 40) * 40 / (6 * 64 * 64 + 6 * 64 * 40)
    assert result.reshaping.cut_percent == pytest.approx(100 * share, abs=0.01)
    assert "14.4 % of their pixels cropped away" in result.summary
    told = {e.code: e.message for e in events if isinstance(e, Notice)}
    assert "6 of 12 pictures are smaller than 64 px" in told["below-resolution"]
    assert "enlarged" not in told
    larger = recipe_for(base_folder, encode={"resolution": 64, "upscale": True})
    assert dict(encode(run, larger).buckets) == {(64, 64): 12}
    assert "6 of 12 pictures are enlarged" in notices(run, larger)["enlarged"]


def test_a_gpu_encodes_in_bf16_unless_the_vae_asks_for_more(
    base_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(str(base_folder), parts=())
    settings = base.settings["vae"]
    monkeypatch.setitem(settings, "force_upcast", False)
    for has_bf16, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has_bf16: has)
        assert stage.vae_dtype(base, torch.device("cuda")) == dtype
        assert stage.vae_dtype(base, torch.device("cpu")) == torch.float32
    monkeypatch.setitem(settings, "force_upcast", True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert stage.vae_dtype(base, torch.device("cuda")) == torch.float32


def test_numbers_that_bf16_cannot_hold_are_made_in_float32_and_that_is_said(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(base_folder)
    wanted = encoded_run(tmp_path / "float32", recipe)
    original, run = encode_pixels, RunDir(tmp_path / "bf16")

    def overflowing(vae: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, std = original(vae, pixels)
        return (mean * float("inf"), std) if vae.dtype == torch.bfloat16 else (mean, std)

    monkeypatch.setattr(stage, "vae_dtype", lambda base, device: torch.bfloat16)
    monkeypatch.setattr(stage, "encode_pixels", overflowing)
    write_dataset(run)
    told: list[Event] = []
    encode(run, recipe, told.append)
    assert [event.code for event in told if isinstance(event, Notice)].count("vae-float32") == 1
    for item in read_index(run).items:
        mine, theirs = (CacheReader(one.cache).tensors(item.latents) for one in (run, wanted))
        torch.testing.assert_close(mine["mean"], theirs["mean"], rtol=0.02, atol=0.02)  # weights were rounded


def test_beside_an_accelerator_batches_come_in_order_and_every_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Job(EncodeJob):
        def load(self) -> tuple[torch.Tensor, dict[str, Any]]:
            time.sleep(0.002 * (int(self.path.name) % 3))
            return torch.full((1, 3, *self.bucket[::-1]), int(self.path.name)), {}

    jobs = [
        Job(Path(str(n)), (512, 512), (None,), False, False, 8, tmp_path / str(n), SD1) for n in range(37)
    ]
    device = torch.device("cuda")
    with closing_writes(device) as write:
        batches = list(load_batches(jobs, device))
        for batch, loaded in batches:
            assert [int(pixels.max()) for pixels, _ in loaded] == [int(job.path.name) for job in batch]
            for job in batch:
                write(job.file, {"mean": torch.zeros(1)})
    assert [len(batch) for batch, _ in batches] == [8, 8, 8, 8, 5]
    assert all(job.file.stat().st_size > 4 for job in jobs)
    with pytest.raises(OSError), closing_writes(device) as write:
        (tmp_path / "file").touch()
        write(tmp_path / "file" / "x", {})


def test_memory_goes_back_before_the_texts(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr(machine, "hand_back_memory", lambda: order.append("back"))
    texts = stage.encode_texts
    monkeypatch.setattr(stage, "encode_texts", lambda *a: (order.append("texts"), texts(*a)))
    encoded_run(tmp_path, recipe_for(base_folder))
    assert order == ["back", "texts"]


def test_orders_of_tags_are_cached_and_trained(base_folder: Path, tmp_path: Path) -> None:
    recipe = recipe_for(
        base_folder,
        encode={"tag_variants": 3, "tag_keep": 1, "tag_underscores": "spaces", "tag_ratings": "drop"},
    )
    run = RunDir(tmp_path)
    write_dataset(run)
    dataset = Dataset(run.dataset)
    tags = "my_word, red_dot, rating:safe, city, one, two, three"
    dataset.write_metadata([Item(name, tags) for name in dataset.picture_names()])
    encode(run, recipe)
    index = read_index(run)
    trained, held_out = index.split("train"), index.split("held_out")
    assert {len(item.orders) for item in trained} == {3} and not any(item.orders for item in held_out)
    assert {item.caption for item in held_out} == {"my_word, red dot, city, one, two, three"}
    assert all((run.cache / file).is_file() for item in trained for _, file in item.orders)
    source = batch_source(CacheReader(run.cache), index, recipe, Flow())
    reader, seen = CacheReader(run.cache), set()
    for step in range(1, 9):
        for batch in source.at(step):
            for number, caption in enumerate(batch.captions):
                assert caption.startswith("my_word, ")
                file = next(file for item in trained for text, file in item.orders if text == caption)
                own = reader.text(file)["encoder_hidden_states"]
                assert torch.equal(batch.conditioning["encoder_hidden_states"][number], own)
                seen.add(caption)
    assert len(seen) > 6


def test_an_index_without_orders_is_written_as_before(base_folder: Path, tmp_path: Path) -> None:
    run = encoded_run(tmp_path, recipe_for(base_folder))
    assert "orders" not in run.cache_index.read_text()


def test_of_several_captions_each_is_trained_at_some_steps(base_folder: Path, tmp_path: Path) -> None:
    """The first one was trained at every step, and the others lay in a column."""
    recipe, run = recipe_for(base_folder), RunDir(tmp_path)
    write_dataset(run)
    dataset = Dataset(run.dataset)
    others = {"other_captions": ["a town", "some houses"]}
    dataset.write_metadata([Item(name, "a city", others) for name in dataset.picture_names()])
    encode(run, recipe)
    index = read_index(run)
    source = batch_source(CacheReader(run.cache), index, recipe, Flow())
    drawn = [[batch.captions for batch in source.at(step)] for step in range(1, 13)]
    assert drawn == [[batch.captions for batch in source.at(step)] for step in range(1, 13)]
    assert {one for step in drawn for captions in step for one in captions} - {""} == {
        "a city",
        "a town",
        "some houses",
    }
