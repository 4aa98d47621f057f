"""``check`` over a cluster: measures of every picture, which the stage then finds kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from veneer.cluster.pool import Answer, Pool, answering, pieces
from veneer.cluster.session import Session
from veneer.config import Recipe
from veneer.data.inspection import inspect_picture
from veneer.data.measured import fresh_names, measure_line, read_measures, stamp_of
from veneer.data.rejection import STAGE
from veneer.data.worker import Workers
from veneer.events import OnEvent, Progress, StageStarted, ignore
from veneer.records.dataset import Dataset
from veneer.records.files import open_to_append
from veneer.records.locks import locked
from veneer.records.run import RunDir
from veneer.stages import check
from veneer.stages.check import CheckResult

MEASURED_AT_ONCE = 64
"""Pictures of a piece."""


def check_over(session: Session, run: RunDir, recipe: Recipe, on_event: OnEvent = ignore) -> CheckResult:
    """The stage over a cluster."""
    fill_measures(session, run, on_event)
    return check.run(run, recipe, on_event)


def fill_measures(session: Session, run: RunDir, on_event: OnEvent = ignore) -> int:
    """Measure the pictures of a run that were not measured as they are.

    Returns:
        Pictures that were measured.

    Raises:
        DatasetError: If the folder or its metadata cannot be used.
    """
    dataset = Dataset(run.dataset)
    with locked(dataset.root, "data set"):
        names = dataset.picture_names()
        fresh = fresh_names(dataset, names, read_measures(dataset))
        on_event(StageStarted(STAGE, len(fresh), "pictures"))
        done = 0
        pool = Pool(session, Inspector, (str(dataset.root.resolve()),))
        with open_to_append(dataset.measures_jsonl) as file, pool:
            for answer in pool.as_they_end("measure", pieces(fresh, MEASURED_AT_ONCE)):
                file.writelines(answer.value)
                file.flush()  # what a kill leaves is not measured again
                done += len(answer.value)
                on_event(Progress(STAGE, done, "over the cluster"))
    return len(fresh)


class Inspector:
    """A process of the cluster that measures pictures, each decoded in a process that may be killed.

    Args:
        root: The data set's folder.
    """

    def __init__(self, root: str) -> None:
        self._root = Path(root)
        self._guarded = Workers(inspect_picture, count=1)

    def measure(self, names: Sequence[str]) -> Answer:
        """The lines that keep the measures of some pictures."""
        return answering(lambda: [self._line(name) for name in names])

    def _line(self, name: str) -> str:
        path = self._root / name
        seen = self._guarded.call(path)
        return measure_line(name, stamp_of(path), seen)
