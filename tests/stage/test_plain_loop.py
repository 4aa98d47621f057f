"""The style bench's baseline has the faults that it says it has, and writes a LoRA that loads."""

from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from safetensors import safe_open

from bench.plain_loop import Settings, train_plainly
from helpers.proofrun import make_run
from veneer.config import GenerateTable
from veneer.lora.loading import load_lora
from veneer.models.sampling import load_sampler, sample


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, base_folder: Path, picture_folder: Path
) -> tuple[Path, list[Any]]:
    root = tmp_path_factory.mktemp("plain")
    run = make_run(root / "run", base_folder, picture_folder)
    seen = []
    clip = Accelerator.clip_grad_norm_

    def watch(self: Any, parameters: Any, *rest: Any) -> Any:
        parameters = list(parameters)
        seen.append(len(parameters))
        return clip(self, parameters, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Accelerator, "clip_grad_norm_", watch)
        train_plainly(Settings(base_folder, run.dataset, root / "lora.safetensors", steps=2, resolution=32))
    return root / "lora.safetensors", seen


def test_clipping_sees_no_weights(trained: tuple[Path, list[Any]]) -> None:
    assert trained[1] == [0, 0]


def test_file_loads_and_has_no_alpha(trained: tuple[Path, list[Any]], base_folder: Path) -> None:
    sampler = load_sampler(str(base_folder), GenerateTable(num_inference_steps=1))
    load_lora(sampler, trained[0])
    assert len(list(sample(sampler, [("a dog", 0)]))) == 1
    with safe_open(trained[0], "pt") as file:
        assert not any("alpha" in name for name in file.keys())  # noqa: SIM118
        assert "alpha" not in str(file.metadata())
