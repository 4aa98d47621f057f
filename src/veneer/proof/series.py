"""Pictures of one model, each kept until something that it depends on changes.

A picture carries what it was drawn with. Drawn again with the same settings, it is left as it is, so that an
interrupted command goes on where it stopped and a new adapter leaves the base's pictures alone. Batches are
fixed by the list of all pictures, and each is drawn whole or not at all: which pictures were there before
changes no byte of the others.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from veneer.events import Notice, OnEvent, Progress
from veneer.models.sampling import STAGE, Sample, Sampler, batched, sample_batches
from veneer.processes import shard
from veneer.proof.promptset import Job
from veneer.recipe import fingerprint
from veneer.records.files import write_bytes

IDENTITY = "veneer"
_BROKEN = "broken"


@dataclass(frozen=True)
class Series:
    """Pictures of one model, into one folder.

    Attributes:
        settings: What each of them depends on beside its prompt and seed; kept in JSON.
        offset: Pictures of the whole stage that come before, for its progress.
        batch_size: Pictures drawn at once; those of a batch depend on each other.
    """

    folder: Path
    jobs: Sequence[Job]
    settings: Mapping[str, Any]
    offset: int
    batch_size: int

    def identities(self, batch: Sequence[Job]) -> list[str]:
        """What each picture of a batch depends on: settings, prompt, seed, and those drawn beside it."""
        beside = [[job.prompt.prompt, job.seed] for job in batch]
        return [
            fingerprint([dict(self.settings), job.prompt.prompt, job.seed, beside if len(batch) > 1 else []])
            for job in batch
        ]

    def missing(self) -> list[Sequence[Job]]:
        """This process's share of the batches, less those whose every picture is drawn.

        The share is cut before the disk is looked at: the other processes draw meanwhile, and lists made at
        different moments would be cut in different places.
        """
        batches = shard(batched(self.jobs, self.batch_size))
        return [batch for batch in batches if self._found(batch) != self.identities(batch)]

    @property
    def num_broken(self) -> int:
        """Pictures that came out as no finite numbers, as far as they are there."""
        return sum(_is_broken(self.folder / job.file_name) for job in self.jobs)

    def _found(self, batch: Sequence[Job]) -> list[str | None]:
        return [_identity_of(self.folder / job.file_name) for job in batch]


def draw_series(sampler: Sampler, series: Series, on_event: OnEvent) -> int:
    """Draw what is missing; how many were drawn."""
    batches = series.missing()
    missing = [
        (job, name) for batch in batches for job, name in zip(batch, series.identities(batch), strict=True)
    ]
    done = series.offset + len(series.jobs) - len(missing)
    on_event(Progress(STAGE, done))
    wanted = [[(job.prompt.prompt, job.seed) for job in batch] for batch in batches]
    drawn = sample_batches(sampler, wanted, on_event)
    for (job, identity), one in zip(missing, drawn, strict=True):
        _save(series, job, identity, one)
        done += 1
        on_event(Progress(STAGE, done, series.folder.name))
    return len(missing)


def notify_broken(series: Series, on_event: OnEvent) -> int:
    """Say how many pictures of a series are broken, whichever command drew them."""
    if num_broken := series.num_broken:
        message = (
            f"{num_broken} of {len(series.jobs)} pictures in {series.folder} are no finite numbers, kept as "
            "black: the adapter may have diverged"
        )
        on_event(Notice(STAGE, "picture-broken", message))
    return num_broken


def _save(series: Series, job: Job, identity: str, drawn: Sample) -> None:
    about = PngInfo()
    about.add_text(IDENTITY, identity)
    about.add_text("parameters", _parameters(series.settings, job))
    if drawn.is_broken:
        about.add_text(_BROKEN, "no finite numbers")
    out = io.BytesIO()
    drawn.image.save(out, "PNG", pnginfo=about)
    write_bytes(series.folder / job.file_name, out.getvalue())


def _parameters(settings: Mapping[str, Any], job: Job) -> str:
    """What A1111 and its relatives write into a picture, in their words."""
    side = settings["side_px"]
    return (
        f"{job.prompt.prompt}\nNegative prompt: {settings['negative_prompt']}\n"
        f"Steps: {settings['num_inference_steps']}, Sampler: {settings['scheduler']}, "
        f"CFG scale: {settings['guidance_scale']}, Seed: {job.seed}, Size: {side}x{side}"
    )


def _identity_of(path: Path) -> str | None:
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.info.get(IDENTITY)
    except (OSError, SyntaxError, UnidentifiedImageError):
        return None


def _is_broken(path: Path) -> bool:
    """What `_save` wrote of it, without decoding it."""
    try:
        with Image.open(path) as picture:
            return _BROKEN in picture.info
    except (OSError, SyntaxError, UnidentifiedImageError):
        return False
