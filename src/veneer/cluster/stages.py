"""Stages that a cluster does in place of the one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from veneer import processes
from veneer.attempt import Perform, StageResult
from veneer.cluster.captioning import caption_over
from veneer.cluster.checking import check_over
from veneer.cluster.collecting import collect_over
from veneer.cluster.encoding import encode_over
from veneer.cluster.session import Session, connected, import_ray, refuse_silence
from veneer.cluster.training import train_over
from veneer.config import Recipe
from veneer.errors import RunError
from veneer.events import OnEvent
from veneer.records.run import RunDir

OVER: Mapping[str, Callable[..., StageResult]] = {
    "collect": collect_over,
    "check": check_over,
    "caption": caption_over,
    "encode": encode_over,
    "train": train_over,
}
"""What does a stage over a cluster, by its name."""


@contextmanager
def over_cluster(
    address: str, *, workers: int = 0, gpu_share: float = 1.0
) -> Iterator[Mapping[str, Perform]]:
    """Have stages done by a cluster, which is connected to when the first has something to do.

    Args:
        address: ``HOST:PORT``, ``ray://HOST:PORT``, ``auto``, or ``local`` for a cluster on this machine.
        workers: Processes that work at once; 0 for as many as there are GPUs or, without, processors.
        gpu_share: Share of a GPU that each process with a model gets.

    Yields:
        What `veneer.pipeline.run` takes as ``instead``.

    Raises:
        RunError: If ray is not installed, nothing answers at the address, or torchrun started this command.
    """
    import_ray()
    refuse_silence(address)
    if processes.num_processes() > 1:
        todo = "Leave out one of them: the cluster starts processes itself"
        raise RunError("several processes and a cluster exclude each other", where="--cluster", todo=todo)
    sessions: list[Session] = []
    with ExitStack() as stack:

        def perform(
            work: Callable[..., StageResult],
            run: RunDir,
            recipe: Recipe,
            on_event: OnEvent,
            **options: Any,
        ) -> StageResult:
            if not sessions:
                found = connected(address, run.root, workers=workers, gpu_share=gpu_share)
                sessions.append(stack.enter_context(found))
            return work(sessions[0], run, recipe, on_event, **options)

        yield {stage: partial(perform, work) for stage, work in OVER.items()}
