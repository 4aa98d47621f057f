"""The step as recordings that are played again: on a GPU, CUDA graphs.

A GPU computes faster than Python can ask it to: a step of Stable Diffusion is some thousands of launches.
Here one pass over a micro-batch is recorded for each shape that occurs, and what follows the passes once; a
step then fills the buffers and plays the recordings. What is recorded must find everything where it was:
pictures in buffers, gradients in one piece, the learning rate on the device; and nothing in it may look at a
value. The sum over processes stays between the recordings.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from veneer import machine
from veneer.config import Recipe
from veneer.events import Notice, OnEvent
from veneer.training import STAGE
from veneer.training.batches import MicroBatch
from veneer.training.step.eager import Step, Work

NOTICE = "no-cuda-graph"
MAX_SHAPES = 32
"""Shapes of micro-batches that are recorded; further ones run operation by operation."""
WARM_UP_RUNS = 2

Body = Callable[[], None]
Recorder = Callable[[Body], Body]
"""Records what a body does with tensors, and gives a function that does it again; the body may really run."""


def choose_step(work: Work, recipe: Recipe, settle: Body, on_event: OnEvent) -> Step:
    """Choose how steps are done, once, before the loop.

    Args:
        settle: Waits until nothing else uses the device.

    Returns:
        Recorded steps on a GPU where the recipe allows it; plain ones otherwise.
    """
    recorder = recorder_for(work.weights[0].device) if recipe.train.cuda_graph else None
    if recorder is None:
        return Step(work)
    if reason := reason_against(recipe):
        on_event(Notice(STAGE, NOTICE, f"CUDA graphs: steps run without: {reason}"))
        return Step(work)
    return StaticStep(work, recorder, settle, on_event)


def recorder_for(device: torch.device) -> Recorder | None:
    """How a device records.

    Returns:
        A recorder; None where the device has none.
    """
    return CudaRecorder(device) if device.type == "cuda" else None


def reason_against(recipe: Recipe) -> str | None:
    """Why a recipe's passes are not the same for every batch.

    Returns:
        The reason, or None.
    """
    if recipe.lora.text_encoder or recipe.lora.embedding_token:
        return "captions pass through the text encoder, which is trained along"
    if recipe.lora.dropout:
        return "lora.dropout draws anew in every pass"
    return None


@dataclass(frozen=True)
class _Recorded:
    batch: MicroBatch
    play: Body


class StaticStep(Step):
    """Does a step by filling buffers and playing recordings.

    Args:
        recorder: Records.
        settle: Waits until nothing else uses the device.
    """

    def __init__(self, work: Work, recorder: Recorder, settle: Body, on_event: OnEvent) -> None:
        still = work.optimizer.held_still()
        super().__init__(work if still is None else replace(work, optimizer=still))
        self._recorder: Recorder | None = recorder
        self._settle = settle
        self._on_event = on_event
        self._passes: dict[tuple[object, ...], _Recorded] = {}
        self._play_update: Body | None = None
        self._values = torch.zeros(4, device=work.weights[0].device)
        self._records_update = still is not None
        self._is_full = False
        if still is None:
            self._notify("the optimizer runs outside of them, and waits for the GPU in each step")

    def forget(self) -> None:
        """Let go of all recordings and of their memory."""
        if self._values.is_cuda:
            torch.cuda.synchronize(self._values.device)  # the last one may still be playing
        self._passes.clear()
        self._play_update = None

    def _pass(self, part: MicroBatch) -> None:
        recorded = self._passes.get(part.layout) or self._recorded(part)
        if recorded is None:
            super()._pass(part)
            return
        recorded.batch.fill(part)
        recorded.play()

    def _recorded(self, part: MicroBatch) -> _Recorded | None:
        if len(self._passes) == MAX_SHAPES:
            if not self._is_full:
                self._is_full = True
                self._notify(f"more than {MAX_SHAPES} shapes of micro-batches; further ones run without")
            return None
        batch, plain = part.copy(), super()._pass
        play = self._record(lambda: plain(batch))
        if play is None:
            return None
        self._passes[part.layout] = _Recorded(batch, play)
        return self._passes[part.layout]

    def _update(self) -> Tensor:
        if self._records_update and self._play_update is None:
            self._play_update = self._record(self._update_into_values, is_skipped=True)
        if self._play_update is None:
            return super()._update()
        self._play_update()
        return self._values.clone()  # the next step writes over them

    def _update_into_values(self) -> None:
        self._values.copy_(super()._update())

    def _record(self, body: Body, *, is_skipped: bool = False) -> Body | None:
        """Record, and leave everything as it was; with gradients that an update skips where so asked."""
        if self._recorder is None:
            return None
        self._settle()
        try:
            with _put_back(self._moved()):
                if is_skipped:
                    self._work.gradients.everything.fill_(torch.nan)
                return self._recorder(body)
        except RuntimeError as error:
            if machine.is_out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:200]
        self._recorder = None
        if self._work.scaler.is_enabled():
            self._work.scaler._per_optimizer_states.clear()  # an update may have stopped half-way
        self._notify(f"recording failed, what is not recorded yet runs without: {reason}")
        return None

    def _moved(self) -> list[Tensor]:
        """What a pass or a skipped update moves."""
        names = ("_scale", "_growth_tracker")  # made in the first pass, and only for fp16
        scales = [t for t in (getattr(self._work.scaler, name, None) for name in names) if t is not None]
        return [self._work.gradients.everything, *self._work.ema, *scales]

    def _notify(self, message: str) -> None:
        self._on_event(Notice(STAGE, NOTICE, f"CUDA graphs: {message}"))


class CudaRecorder:
    """Records CUDA graphs, all in one pool of memory: they are never played at the same time.

    Args:
        device: The GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._first: Callable[[], torch.cuda.CUDAGraph | None] = lambda: None

    def __call__(self, body: Body) -> Body:
        """Run a body a few times to warm up, and record it.

        Args:
            body: Asks the device for work, and reads nothing from it.

        Returns:
            A function that has the work done again.

        Raises:
            RuntimeError: If the body does what cannot be recorded, or memory does not suffice.
        """
        self._stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(self._stream):  # left in any case, unlike that of a capture which fails
                for _ in range(WARM_UP_RUNS):
                    body()
                return self._captured(body).replay
        finally:
            torch.cuda.current_stream().wait_stream(self._stream)

    def _captured(self, body: Body) -> torch.cuda.CUDAGraph:
        graph, first = torch.cuda.CUDAGraph(), self._first()
        pool = None if first is None else first.pool()
        try:
            with torch.cuda.graph(graph, pool, self._stream, capture_error_mode="thread_local"):
                body()
        except RuntimeError as error:  # the end of a capture may fail because its body has
            cause = error.__context__
            if isinstance(cause, RuntimeError) and machine.is_out_of_memory(cause):
                raise torch.OutOfMemoryError(str(cause)) from error
            raise
        if first is None:
            self._first = weakref.ref(graph)
        return graph


@contextlib.contextmanager
def _put_back(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Whatever happens in the block, the tensors are afterwards as they were."""
    saved = [tensor.clone() for tensor in tensors]
    try:
        yield
    finally:
        for tensor, own in zip(tensors, saved, strict=True):
            tensor.copy_(own)
