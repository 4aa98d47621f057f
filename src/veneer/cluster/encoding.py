"""``encode`` over a cluster: latents and text states that the stage then finds in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from veneer.cluster.pool import Answer, Pool, answering, pieces
from veneer.cluster.session import Session
from veneer.config import Recipe
from veneer.encoding import STAGE
from veneer.encoding.jobs import EncodeJob
from veneer.encoding.planning import EncodePlan, load_parts, plan_encoding, text_file
from veneer.errors import BaseModelError
from veneer.events import Event, Notice, OnEvent, Progress, StageStarted, ignore
from veneer.models.base import Base
from veneer.records.cache import is_whole
from veneer.records.run import RunDir
from veneer.stages.encode import (
    EncodeResult,
    encode_pictures,
    encode_texts,
    finish_encoding,
    load_texts,
    load_vae,
)
from veneer.training.checkpoints import as_run_error

ENCODED_AT_ONCE, CAPTIONS_AT_ONCE = 16, 64
"""Pictures and captions of a piece: seconds of work, so that little is lost with a process."""


def encode_over(session: Session, run: RunDir, recipe: Recipe, on_event: OnEvent = ignore) -> EncodeResult:
    """The stage over a cluster; planned once.

    Raises:
        DatasetError: If captions or pictures cannot be used.
        BaseModelError: If a machine has another base under this name, or cannot load it.
        RunError: If the disk is full.
    """
    plan = plan_encoding(run, recipe, on_event)
    with as_run_error(run.cache):
        fill_cache(session, plan, recipe, on_event)
    return finish_encoding(run, plan, on_event)


def fill_cache(session: Session, plan: EncodePlan, recipe: Recipe, on_event: OnEvent = ignore) -> None:
    """Encode what a run's cache lacks.

    Raises:
        DatasetError: If a picture cannot be used.
        BaseModelError: If a machine has another base under this name, or cannot load it.
    """
    arguments = (recipe.model_dump_json(), str(plan.cache.resolve()), plan.base.fingerprint)
    on_event(StageStarted(STAGE, len(plan.todo), "pictures"))
    done = 0
    with Pool(session, Encoder, arguments, is_model=True) as pool:
        jobs = [replace(job, path=job.path.resolve(), file=job.file.resolve()) for job in plan.todo]
        for answer in pool.as_they_end("pictures", pieces(jobs, ENCODED_AT_ONCE)):
            done += answer.value
            for event in answer.told:
                on_event(event)
            on_event(Progress(STAGE, done, "over the cluster"))
        texts = plan.texts_to_do(plan.texts)
        for _ in pool.as_they_end("texts", pieces(texts, CAPTIONS_AT_ONCE)):
            pass


class Encoder:
    """A process of the cluster that encodes; models are loaded when the first piece asks for them.

    Args:
        recipe: The recipe as JSON.
        cache: The cache's folder.
        fingerprint: Name of exactly the base weights that are meant.
    """

    def __init__(self, recipe: str, cache: str, fingerprint: str) -> None:
        self._recipe = Recipe.model_validate_json(recipe)
        self._cache = Path(cache)
        self._fingerprint = fingerprint
        self._vae: Any = None
        self._texts: Base | None = None

    def pictures(self, jobs: Sequence[EncodeJob]) -> Answer:
        """Write the latents of some pictures, but for those that are there."""
        told: list[Event] = []

        def work() -> int:
            left = [job for job in jobs if not is_whole(job.file)]
            if left:
                self._vae = self._vae or load_vae(self._recipe, self._base())
                encode_pictures(left, self._vae, lambda event: _keep(told, event))
            return len(jobs)

        answer = answering(work)
        return Answer(answer.value, answer.error, tuple(told))

    def texts(self, captions: Sequence[str]) -> Answer:
        """Write the states of some captions, but for those that are there."""

        def work() -> int:
            self._texts = self._texts or load_texts(self._recipe, self._base())
            base = self._texts
            left = [one for one in captions if not is_whole(self._cache / text_file(one, base))]
            encode_texts(left, self._cache, base)
            return len(captions)

        return answering(work)

    def _base(self) -> Base:
        base = load_parts(self._recipe, "tokenizer")
        if base.fingerprint != self._fingerprint:
            raise BaseModelError(
                "a machine of the cluster has another base under this name",
                where=self._recipe.base.model,
                todo="Put the same files there, or name a folder that all machines share with base.model",
            )
        return base


def _keep(told: list[Event], event: Event) -> None:
    if isinstance(event, Notice):
        told.append(event)
