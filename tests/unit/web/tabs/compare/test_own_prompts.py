"""What is asked for on the tab Compare, and the command that draws the same."""

from pathlib import Path

import pytest

from veneer.config import Recipe
from veneer.errors import VeneerError
from veneer.records.run import RunDir
from veneer.web.tabs.compare import own_prompts


@pytest.fixture
def folder(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "runs" / "first")
    run.lora.mkdir(parents=True)
    run.write_recipe(Recipe())
    return run


def test_what_is_asked_for_is_read() -> None:
    asked = own_prompts.read_own_prompts(Recipe(), " a cat \n\na dog", "0, 7;8", 0.5, "")
    assert (asked.prompts, asked.seeds, asked.scale) == (("a cat", "a dog"), (0, 7, 8), 0.5)
    assert asked.table.num_inference_steps == Recipe().generate.num_inference_steps
    assert own_prompts.read_own_prompts(Recipe(), "a cat", "0", 1, "3").table.num_inference_steps == 3


@pytest.mark.parametrize(
    ("prompts", "seeds", "steps"),
    [("", "0", ""), ("a cat", "", ""), ("a cat", "-1", ""), ("a cat", "x", ""), ("a\n" * 33, "0 1", ""),
     ("a cat", "0", "many")],
)  # fmt: skip
def test_what_cannot_be_drawn_is_refused(prompts: str, seeds: str, steps: str) -> None:
    with pytest.raises(VeneerError):
        own_prompts.read_own_prompts(Recipe(), prompts, seeds, 1, steps)


def test_the_command_names_what_the_run_has_made(folder: RunDir) -> None:
    asked = own_prompts.read_own_prompts(Recipe(), "a cat", "7", 0.5, "")
    with pytest.raises(VeneerError, match="no LoRA yet"):
        own_prompts.shell_words(folder, asked, "drawn")
    folder.lora_file.write_bytes(b"")
    line = " ".join(own_prompts.shell_words(folder, asked, "drawn"))
    assert (
        "--lora runs/first/lora/pytorch_lora_weights.safetensors --scale 0.5 --prompt a cat --seed 7" in line
    )
    folder.embedding_file.write_bytes(b"")
    assert f"--embedding runs/first/lora/{folder.embedding_file.name}" in " ".join(
        own_prompts.shell_words(folder, asked, "drawn")
    )
    folder.lora_file.unlink()
    assert "--lora" not in own_prompts.shell_words(folder, asked, "drawn")
