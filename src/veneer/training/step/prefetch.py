"""Batches made ahead, in a thread beside the loop."""

from __future__ import annotations

from concurrent.futures import Future, wait

import torch

from veneer import machine
from veneer.training.batches import BatchSource, MicroBatch

_Made = tuple[list[MicroBatch], torch.cuda.Event | None]


class Prefetcher:
    """Hands out batches on the device, and prepares the next step's in a thread meanwhile.

    On a GPU copies have a stream of their own, so that they run beside the computation.

    Args:
        source: Makes the batches.
    """

    def __init__(self, source: BatchSource, device: torch.device) -> None:
        self._source = source
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._pool = machine.side_threads(1, "batches")
        self._ready: dict[int, Future[_Made]] = {}

    def at(self, step: int) -> list[MicroBatch]:
        """This process's micro-batches of a step.

        Args:
            step: Optimizer step, from 1; any order is right, counting up is fast.

        Returns:
            Micro-batches on the device.
        """
        ready = self._ready.pop(step, None) or self._pool.submit(self._make, step)
        self._ready = {step + 1: self._pool.submit(self._make, step + 1)}
        batches, copied = ready.result()
        if copied is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(copied)
            for batch in batches:
                batch.record_stream(current)
        return batches

    def settle(self) -> None:
        """Wait until the thread is idle."""
        wait(self._ready.values())

    def close(self) -> None:
        """Stop the thread."""
        self._pool.shutdown(cancel_futures=True)

    def _make(self, step: int) -> _Made:
        if self._stream is None:
            return [batch.to(self._device) for batch in self._source.at(step)], None
        with torch.cuda.stream(self._stream):
            return [batch.to(self._device) for batch in self._source.at(step)], self._stream.record_event()
