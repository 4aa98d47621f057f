"""torch.compile of the UNet where the recipe asks for it: tried before the first step, and never fatal.

A failure of the compiler leaves the UNet as it was, says so, and is counted among the run's notices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from veneer.events import Notice, OnEvent
from veneer.training import STAGE
from veneer.training.batches import MicroBatch
from veneer.training.losses import Loss

MAX_GRAPHS = 64
"""Graphs kept: one for each bucket and size of micro-batch."""


def compile_unet(
    unet: Any, loss: Loss, batch: MicroBatch, autocast: Callable[[], Any], on_event: OnEvent
) -> bool:
    """Compile the UNet in place, and try it forward and backward on a batch.

    Args:
        unet: A UNet with its adapter.
        loss: The loss of the loop.
        batch: Pictures on the UNet's device, of the size that is trained.
        autocast: Makes the context of mixed precision.
    """
    torch._dynamo.config.recompile_limit = MAX_GRAPHS
    try:
        unet.compile(dynamic=False)
        unet._compiled_call_impl = _in_training(unet, unet._compiled_call_impl)
        with autocast():
            value: Tensor = loss(batch)
        value.backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # a compiler fails in many ways, none of which is the user's
        unet._compiled_call_impl = None
        torch._dynamo.reset()
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        on_event(Notice(STAGE, "not-compiled", f"the UNet trains without torch.compile: {reason}"))
        return False
    finally:
        unet.zero_grad(set_to_none=True)
    return True


def _in_training(unet: Any, compiled: Callable[..., Any]) -> Callable[..., Any]:
    """The compiled call where gradients are wanted, and the plain one for judging and drawing.

    Those come in many more sizes, each of which would be compiled, and seldom.
    """

    def call(*inputs: Any, **named: Any) -> Any:
        is_training = unet.training and torch.is_grad_enabled()
        return (compiled if is_training else unet._call_impl)(*inputs, **named)

    return call
