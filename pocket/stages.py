"""All commands of the recipe, and how several of them run: one by one, or side by side on a GPU.

Side by side every stage is a process that begins at once: it compiles what it trains, and waits
(``waiting.py``) for the files that it reads. The first that fails ends the others.
"""

import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib import import_module
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from .config import TRAININGS, Size
from .processes import start_process
from .sources import RecipeError, StoppedError
from .telling import tell
from .waiting import forget_marks, mark_done

SECONDS_TO_SAVE = 60.0
PRELOADED = ("pocket.train_unet", "pocket.train_captioner", "pocket.export")
"""Imported once, before the processes part; none of it touches the GPU."""
FUNCTIONS = {
    "fetch": "sources:fetch_sources",
    "draw": "draw:draw_everything",
    "adopt": "adopt:adopt_shipped",
    "tokenizer": "tokenizer:make_tokenizer",
    "tokens": "tokens:cache_tokens",
    "clip": "train_clip:train_clip",
    "vision": "train_clip:train_vision",
    "vae": "train_vae:train_vae",
    "latents": "latent_cache:cache_latents",
    "layout": "train_layout:train_layout",
    "unet": "train_unet:train_unet",
    "decoder": "train_vae:train_decoder",
    "captioner": "train_captioner:train_captioner",
    "judge": "train_judge:train_judge",
    "demo": "demo_pictures:make_demo_pictures",
    "export": "export:export_base",
    "sheet": "sheet:draw_sheet",
    "eval": "figures:tell_figures",
}
ALL = tuple(stage for stage in FUNCTIONS if stage != "adopt")


@dataclass(frozen=True)
class Job:
    """A stage, and how much of it.

    Attributes:
        stage: One of ``FUNCTIONS``.
        num_steps: Step at which a training is done, if any.
        num_decay_steps: Steps before that over which the rate falls.
        seconds: Seconds of a training, if limited.
    """

    stage: str
    num_steps: int | None = None
    num_decay_steps: int = 0
    seconds: float | None = None

    def run(self, size: Size) -> None:
        """Do it."""
        module, name = FUNCTIONS[self.stage].split(":")
        function = getattr(import_module(f".{module}", __package__), name)
        if self.stage not in TRAININGS:
            function(size)
            return
        from .training import Budget

        function(size, Budget(self.num_steps, self.seconds, self.num_decay_steps))


def run_in_turn(jobs: Iterable[Job], size: Size) -> None:
    """One stage after the other, in this process; who stops a training goes on to the next stage."""
    for job in jobs:
        try:
            job.run(size)
        except StoppedError as stop:
            tell(job.stage, str(stop))


def run_side_by_side(jobs: Iterable[Job], size: Size) -> None:
    """All stages at once, each in a process of its own.

    Raises:
        RecipeError: If a stage failed; the others were stopped then, and trainings have saved what they had.
    """
    forget_marks(size)
    jobs = {job.stage: job for job in jobs}
    waiting = replace(size, waits=True)
    for stage in FUNCTIONS.keys() - jobs.keys():
        mark_done(waiting, stage)  # whoever leaves a stage out has its files or needs none
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    processes = [start_process(job.stage, run_beside, (job, waiting), PRELOADED) for job in jobs.values()]
    try:
        _watch(processes)
    finally:
        _stop(processes)


def run_beside(job: Job, size: Size) -> None:
    """What one of the processes does.

    Args:
        job: Its stage.
        size: The preset, of which ``waits`` is true.
    """
    try:
        job.run(size)
    except RecipeError as problem:
        print(f"pocket: {job.stage}: {problem}", file=sys.stderr)
        sys.exit(1)
    mark_done(size, job.stage)
    tell(job.stage, "done")


def _watch(processes: list[BaseProcess]) -> None:
    running = {process.sentinel: process for process in processes}
    while running:
        for sentinel in wait(list(running)):
            process = running.pop(sentinel)
            process.join()
            if process.exitcode:
                status = f"{process.name} failed (status {process.exitcode})"
                raise RecipeError(f"{status} and the others were stopped; its own message stands above")


def _stop(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(SECONDS_TO_SAVE)
        if process.is_alive():
            process.kill()
