"""A compiler that fails leaves the UNet as it was, and is told of."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch

from veneer.events import OnEvent
from veneer.training.step.compile import compile_unet


@pytest.fixture
def unet() -> Any:
    return torch.nn.Linear(4, 4)


def run(unet: Any, on_event: OnEvent) -> Any:
    batch: Any = torch.ones(2, 4)
    return compile_unet(unet, lambda x: unet(x).sum(), batch, contextlib.nullcontext, on_event)


def test_a_failing_compiler_is_told_of_and_training_goes_on(
    unet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*args: Any, **options: Any) -> Any:
        def call(*inputs: Any) -> None:
            raise RuntimeError("no working C++ compiler\nwas found")

        return call

    monkeypatch.setattr(torch, "compile", no_compiler)
    events: list[Any] = []
    assert not run(unet, events.append)
    assert [event.code for event in events] == ["not-compiled"]
    assert "no working C++ compiler was found" in events[0].message
    assert torch.equal(
        unet(torch.ones(2, 4)), torch.nn.functional.linear(torch.ones(2, 4), unet.weight, unet.bias)
    )
    assert unet.weight.grad is None


def test_a_working_compiler_compiles_and_leaves_no_gradient(
    unet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def compiler(call: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        assert options == {"dynamic": False}

        def compiled(*inputs: Any) -> Any:
            calls.append(inputs)
            return call(*inputs)

        return compiled

    monkeypatch.setattr(torch, "compile", compiler)
    assert run(unet, lambda event: pytest.fail(str(event)))
    assert unet.weight.grad is None
    unet(torch.ones(2, 4))
    assert len(calls) == 2


def test_judging_and_drawing_are_not_compiled(unet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(torch, "compile", lambda call, **options: lambda *i: (calls.append(i), call(*i))[1])
    assert run(unet, lambda event: pytest.fail(str(event)))
    calls.clear()
    wanted = unet(torch.ones(2, 4))
    assert len(calls) == 1
    with torch.no_grad():
        assert torch.equal(unet(torch.ones(2, 4)), wanted)
    assert torch.equal(unet.eval()(torch.ones(2, 4)), wanted)
    assert len(calls) == 1
    unet.train()(torch.ones(2, 4))
    assert len(calls) == 2
