"""The trained network has the kernels of its precision, and what runs beside it leaves it its cores."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import tiny
from helpers.training import copy_run, encoded_run, recipe_for, train_quietly
from veneer import machine
from veneer.encoding.jobs import load_batches
from veneer.kernels import convolution
from veneer.kernels.attention import BlockAttnProcessor
from veneer.kernels.convolution import ProductConv2d
from veneer.kernels.lora_linear import FusedLinear
from veneer.training.network import KEPT_SHARE, build_network
from veneer.training.step.prefetch import Prefetcher

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_base(tmp_path_factory.mktemp("base"))


def kernels(network: Any) -> dict[str, Any]:
    parts = list(network.unet.modules())
    blocks = [p for p in parts if isinstance(getattr(p, "processor", None), BlockAttnProcessor)]
    return {
        "linear": sum(isinstance(p, FusedLinear) for p in parts),
        "convolution": sum(isinstance(p, ProductConv2d) for p in parts),
        "attention": len(blocks),
    }


def test_each_precision_has_its_kernels(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "GAINS", {dtype: {1: 256} for dtype in convolution.GAINS})
    single = kernels(build_network(recipe_for(base), CPU))
    assert single["linear"] > 0
    assert single["convolution"] > 0
    assert single["attention"] == 0
    half = kernels(build_network(recipe_for(base, train={"mixed_precision": "bf16"}), CPU))
    assert all(count > 0 for count in half.values())


@pytest.mark.parametrize(("is_saving", "room"), [(False, 1000), (True, 0)])
def test_attention_weights_wait_where_memory_is_not_to_be_saved(
    base: Path, monkeypatch: pytest.MonkeyPatch, is_saving: bool, room: int
) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: 1000 * KEPT_SHARE)
    settings = {"mixed_precision": "bf16", "gradient_checkpointing": is_saving}
    network = build_network(recipe_for(base, train=settings), CPU)
    assert {one.shelf.left for one in network.unet.attn_processors.values()} == {room}


def test_masked_ranks_are_not_fused_away(base: Path) -> None:
    recipe = recipe_for(base, lora={"timestep_rank": True})
    assert kernels(build_network(recipe, CPU))["linear"] == 0


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_batches_are_prepared_by_one_thread(three_threads: None) -> None:
    class Source:
        def at(self, step: int) -> list[Any]:
            seen.append(torch.get_num_threads())
            return []

    seen: list[Any] = []
    source: Any = Source()
    batches = Prefetcher(source, CPU)
    batches.at(1)
    batches.close()
    assert set(seen) == {1}
    assert torch.get_num_threads() == 3


def test_pictures_are_decoded_by_one_thread_each(three_threads: None) -> None:
    class Job:
        bucket, num_views, masked = (8, 8), 1, False

        def load(self) -> Any:
            return torch.get_num_threads()

    jobs: list[Any] = [Job(), Job()]
    loaded: list[Any] = [pictures for _, pictures in load_batches(jobs, CPU)]
    assert loaded == [[1], [1]]
    assert torch.get_num_threads() == 3


def test_a_training_keeps_its_memory_while_it_steps(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step is taken inside the block, and the block is left at the end."""
    inside, steps = [], []

    @contextlib.contextmanager
    def watched() -> Iterator[None]:
        inside.append(True)
        yield
        inside.pop()

    monkeypatch.setattr(machine, "keeping_freed_memory", watched)
    recipe = recipe_for(base, train={"max_train_steps": 2})
    run = copy_run(encoded_run(tmp_path / "first", recipe), tmp_path / "run")
    monkeypatch.setattr(Prefetcher, "at", noting(Prefetcher.at, lambda: steps.append(bool(inside))))
    train_quietly(run, recipe)
    assert steps == [True, True]
    assert not inside


def noting(call: Callable[..., Any], note: Callable[[], None]) -> Callable[..., Any]:
    def noted(*given: Any) -> Any:
        note()
        return call(*given)

    return noted
