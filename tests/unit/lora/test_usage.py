from pathlib import Path

import pytest
import torch

from veneer.errors import AdapterError
from veneer.lora.file import write_weights
from veneer.lora.tensorfile import read_tensors
from veneer.lora.usage import LoraUsage, write_usage

USAGE = LoraUsage("mine", 0.8, "sks 8-bit illustration of")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    tensors = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(2, dtype=torch.bfloat16)}
    write_weights(path, tensors, {"ss_steps": "170", "modelspec.trigger_phrase": "sks"}, hashed=True)
    return path


def test_the_file_says_its_strength_and_words_and_its_weights_stay(file: Path) -> None:
    tensors, text = read_tensors(file, "LoRA")
    assert write_usage(file, USAGE)
    after, said = read_tensors(file, "LoRA")
    assert all(torch.equal(after[name], tensors[name]) for name in tensors)
    assert said == text | {
        "modelspec.usage_hint": "strength 0.8",
        "modelspec.trigger_phrase": "sks 8-bit illustration of",
    }


def test_a_file_that_says_so_already_is_left_alone(file: Path) -> None:
    write_usage(file, USAGE)
    before = file.read_bytes(), file.stat().st_mtime_ns
    assert not write_usage(file, USAGE)
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before


def test_another_strength_takes_the_place_of_the_first(file: Path) -> None:
    write_usage(file, USAGE)
    assert write_usage(file, LoraUsage("mine", 0.6))
    assert read_tensors(file, "LoRA")[1]["modelspec.usage_hint"] == "strength 0.6"


def test_a_damaged_file_is_named(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(AdapterError, match="damaged"):
        write_usage(file, USAGE)
