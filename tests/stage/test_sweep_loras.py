from pathlib import Path

import pytest

from helpers.proofrun import write_lora
from veneer.config import GenerateTable
from veneer.errors import RunError
from veneer.proof.evidence import References
from veneer.proof.sweep import sweep_loras


def test_two_adapters_at_two_strengths(
    tmp_path: Path, base_folder: Path, clip_folder: Path, picture_folder: Path
) -> None:
    loras = [
        write_lora(tmp_path / f"{name}.safetensors", base_folder, s) for name, s in (("a", 0.5), ("b", 1.0))
    ]
    found = sweep_loras(
        str(base_folder), loras, [0.0, 1.0],
        prompts=["a dog", "the city"], seeds=[0, 1, 2], out=tmp_path / "out",
        references=References(held_out=tuple(sorted(picture_folder.iterdir()))),
        general_prompts=["a cup"],
        generate=GenerateTable(num_inference_steps=1, guidance_scale=1.0),
        embedder=str(clip_folder),
    )  # fmt: skip
    assert [(one.lora.stem, one.scale) for one in found] == [("a", 0.0), ("a", 1.0), ("b", 0.0), ("b", 1.0)]
    assert [one.comparison.facts.num_identical for one in found] == [7, 0, 7, 0]
    assert found[0].comparison.verdict.reasons[0].code == "adapter-changes-nothing"
    style = found[1].comparison.measures["style"], found[3].comparison.measures["style"]
    assert style[0].base == style[1].base


def test_nothing_to_compare(tmp_path: Path, base_folder: Path) -> None:
    with pytest.raises(RunError, match="nothing to compare"):
        sweep_loras(str(base_folder), [], [1.0], prompts=["a"], seeds=[0], out=tmp_path)
