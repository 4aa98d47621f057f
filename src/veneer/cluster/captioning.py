"""``caption`` over a cluster: captioners on many machines, looked over in the one that leads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from veneer.captions.captioner import Decoding
from veneer.captions.describing import Described, Describer
from veneer.cluster.pool import Answer, Pool, answering
from veneer.cluster.session import Session
from veneer.config import CaptionTable, Recipe
from veneer.events import OnEvent, ignore
from veneer.records.run import RunDir
from veneer.stages import caption
from veneer.stages.caption import CaptionResult


def caption_over(session: Session, run: RunDir, recipe: Recipe, on_event: OnEvent = ignore) -> CaptionResult:
    """The stage over a cluster; what was described is kept as it comes, so that nothing is asked twice.

    Raises:
        DatasetError: If the folder or its metadata cannot be used.
        CaptionerError: If a machine cannot load the captioner.
    """
    arguments = (str(run.dataset.resolve()), recipe.caption.model_dump_json())
    with Pool(session, Writer, arguments, is_model=True) as pool:

        def describe(batches: Sequence[Sequence[str]], decoding: Decoding) -> Iterator[Described]:
            for answer in pool.in_order("describe", ((batch, decoding) for batch in batches)):
                yield answer.value

        return caption.run(run, recipe, on_event, by=describe)


class Writer:
    """A process of the cluster that describes pictures; its captioner is loaded when the first piece asks.

    Args:
        root: The data set's folder.
        table: The recipe's table as JSON.
    """

    def __init__(self, root: str, table: str) -> None:
        self._root = Path(root)
        self._table = CaptionTable.model_validate_json(table)
        self._describer: Describer | None = None

    def describe(self, piece: tuple[Sequence[str], Decoding]) -> Answer:
        """Describe one batch."""
        batch, decoding = piece

        def work() -> Described:
            self._describer = self._describer or Describer(self._root, self._table, processes=1)
            return next(self._describer([batch], decoding))

        return answering(work)
