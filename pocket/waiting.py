"""How stages that run side by side wait for each other: one that is done leaves a mark in the work folder."""

import multiprocessing
import shutil
import time
from pathlib import Path

from .config import Size, work_folder
from .sources import RecipeError

LOOK_EVERY_SECONDS = 0.1


def wait_for(size: Size, *stages: str) -> None:
    """Wait until these stages are done; not at all where stages run one by one.

    Raises:
        RecipeError: If the process that started all stages is gone, so that nobody may ever do them.
    """
    while size.waits and not all((marks_folder(size) / stage).exists() for stage in stages):
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            raise RecipeError(f"waited for {', '.join(stages)}, but who started them is gone; run it again")
        time.sleep(LOOK_EVERY_SECONDS)


def mark_done(size: Size, stage: str) -> None:
    """Tell those who wait for a stage that its files are there."""
    (marks_folder(size) / stage).touch()


def forget_marks(size: Size) -> None:
    """Begin anew: nothing is done."""
    shutil.rmtree(marks_folder(size), ignore_errors=True)
    marks_folder(size).mkdir(parents=True)


def marks_folder(size: Size) -> Path:
    """One empty file for each stage that is done."""
    return work_folder() / size.name / "done"
