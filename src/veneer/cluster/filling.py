"""What a cluster fills in before a stage of a run, which then finds it done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from veneer.attempt import Fill
from veneer.cluster.checking import fill_measures
from veneer.cluster.encoding import fill_cache
from veneer.cluster.session import connected, import_ray, refuse_silence
from veneer.config import Recipe
from veneer.events import OnEvent
from veneer.records.run import RunDir

FILLED: Mapping[str, Callable[..., object]] = {"check": fill_measures, "encode": fill_cache}
"""Stages whose costly part a cluster does."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that is connected to while it has something to do.

    Attributes:
        address: ``HOST:PORT``, ``ray://HOST:PORT``, ``auto``, or ``local`` for a cluster on this machine.
        workers: Processes that work at once; 0 for as many as there are GPUs or, without, processors.
    """

    address: str
    workers: int = 0

    def fills(self) -> Mapping[str, Fill]:
        """What `veneer.pipeline.run` is to call ahead of a stage, by the stage's name.

        Raises:
            RunError: If ray is not installed, or nothing answers at the address.
        """
        import_ray()
        refuse_silence(self.address)
        return {stage: partial(self._fill, work) for stage, work in FILLED.items()}

    def _fill(self, work: Callable[..., object], run: RunDir, recipe: Recipe, on_event: OnEvent) -> None:
        with connected(self.address, run.root, workers=self.workers) as session:
            work(session, run, recipe, on_event)
