"""The shipped base: checksums, size, layout, demo pictures."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pocket.config import SHIPPED
from pocket.export import CHECKSUMS, MAX_MEGABYTES, WEIGHTS, file_sha256
from pocket.subjects import with_role

DEMO = SHIPPED / "demo"
needs_weights = pytest.mark.skipif(not (SHIPPED / CHECKSUMS).exists(), reason="weights not in this checkout")


@needs_weights
def test_every_file_has_its_checksum() -> None:
    sums = json.loads((SHIPPED / CHECKSUMS).read_text())
    files = {
        file.relative_to(SHIPPED).as_posix()
        for part in WEIGHTS
        for file in (SHIPPED / part).rglob("*")
        if file.is_file()
    }
    assert set(sums) == files | {"model_index.json"}
    assert {name: file_sha256(SHIPPED / name) for name in sums} == sums


@needs_weights
def test_base_is_small_enough() -> None:
    size = sum(file.stat().st_size for file in SHIPPED.rglob("*.safetensors"))
    assert size <= MAX_MEGABYTES * 1e6


@needs_weights
def test_base_loads_as_stable_diffusion() -> None:
    diffusers = pytest.importorskip("diffusers")
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(SHIPPED)
    assert type(pipeline.unet).__name__ == "UNet2DConditionModel"
    assert type(pipeline.vae).__name__ == "AutoencoderKL"
    assert pipeline.scheduler.config.clip_sample is False
    assert pipeline.safety_checker is None and not pipeline.config.requires_safety_checker
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("a cat", num_inference_steps=2).images[0]
    assert picture.size == (pipeline.unet.config.sample_size * pipeline.vae_scale_factor,) * 2


@needs_weights
def test_clip_and_captioner_load() -> None:
    from transformers import BlipForConditionalGeneration, BlipProcessor, CLIPModel, CLIPTokenizer

    clip = CLIPModel.from_pretrained(SHIPPED / "clip")
    assert clip.config.text_config.vocab_size == len(CLIPTokenizer.from_pretrained(SHIPPED / "clip"))
    processor = BlipProcessor.from_pretrained(SHIPPED / "captioner")
    captioner = BlipForConditionalGeneration.from_pretrained(SHIPPED / "captioner").float()
    inputs = processor(images=Image.new("RGB", (80, 60), "white"), return_tensors="pt")
    assert processor.decode(captioner.generate(**inputs, max_new_tokens=8)[0], skip_special_tokens=True)


def demo_files() -> list[Path]:
    """Every demo picture."""
    return sorted(DEMO.glob("*.png"))


def test_demo_pictures_are_blocks_of_few_colours() -> None:
    assert 48 <= len(demo_files()) <= 64
    for file in demo_files():
        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert pixels.shape == (128, 128, 3), file
        blocks = pixels.reshape(16, 8, 16, 8, 3)
        assert (blocks == blocks[:, :1, :, :1]).all(), file
        assert len(np.unique(blocks.reshape(-1, 3), axis=0)) <= 16, file


def test_demo_names_match_files_and_leave_evaluation_alone() -> None:
    with (DEMO / "NAMES.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [DEMO / row["file_name"] for row in sorted(rows, key=lambda row: row["file_name"])] == demo_files()
    assert {row["drawing_set"] for row in rows} <= {"noto", "fluent-emoji-flat"}
    assert {row["subject"] for row in rows}.isdisjoint(
        {subject.phrase for subject in with_role("evaluation")}
    )
