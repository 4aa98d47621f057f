"""Recordings on a CPU, as CUDA graphs are on a GPU: the same operations on the same memory again.

What a body asks of torch is written down, operation by operation, and played again without the body. Whoever
looks at a value is refused, as a capture refuses it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LOOKS = {"aten::_local_scalar_dense", "aten::is_nonzero", "aten::nonzero", "aten::equal", "aten::item"}


class LookedError(RuntimeError):
    """A body read a number from the device."""


class Tape(TorchDispatchMode):
    """Runs a body and writes down its operations."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.name().split(".")[0]
        by_truth = name == "aten::index" and any(t.dtype == torch.bool for t in _tensors(args[1]))
        if name in LOOKS or by_truth:
            raise LookedError(f"{name} inside a recording")
        out = func(*args, **kwargs)
        self.done.append((func, args, kwargs, out))
        return out

    def play(self) -> None:
        """Do all operations again, into the memory of the first time."""
        with torch.no_grad():
            for func, args, kwargs, out in self.done:
                again = func(*args, **kwargs)
                own = _places([args, kwargs])
                for old, new in zip(_tensors(out), _tensors(again), strict=True):
                    if old.untyped_storage().data_ptr() not in own:
                        old.copy_(new)


class Recorder:
    """What the tests use in the place of `CudaRecorder`; counts recordings and plays."""

    def __init__(self) -> None:
        self.recordings = 0
        self.plays = 0

    def __call__(self, body: Callable[[], None]) -> Callable[..., Any]:
        body()
        tape = Tape()
        with tape:
            body()
        self.recordings += 1

        def play() -> None:
            self.plays += 1
            tape.play()

        return play


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _places(tree: Any) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in _tensors(tree)}
