"""What every tab is given: the workspace and the jobs in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from veneer.config import Recipe
from veneer.errors import VeneerError
from veneer.recipe import load_recipe
from veneer.web.jobs.queue import JobBook, JobState, QueuedRun
from veneer.web.workspace import Workspace

DEMO = "pocket-8bit"
AT_WORK = frozenset({"running", "waiting"})
"""States of the runs in the queue."""


@dataclass(frozen=True)
class Studio:
    """A studio at work.

    Attributes:
        workspace: Its folder.
        jobs: The runs that it started.
        hands: Held while a data set is changed.
    """

    workspace: Workspace
    jobs: JobBook
    hands: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def at_work(self, *, patient: bool = False) -> Iterator[None]:
        """Change data sets one at a time.

        Args:
            patient: Whether to wait until the studio is done with what it does.

        Raises:
            VeneerError: If the studio is changing one already.
        """
        if not self.hands.acquire(timeout=-1 if patient else 1.0):
            raise VeneerError("the studio is still at work on a data set", todo="Wait until that is done")
        try:
            yield
        finally:
            self.hands.release()

    def start(self, recipe: str, name: str) -> QueuedRun:
        """Put a recipe's run into the queue; a run of this name goes on where it stopped.

        Raises:
            VeneerError: If a name cannot be used, or the run is in the queue already.
        """
        name, spelled = self.workspace.run(name).name, self.workspace.recipe(recipe)
        self.recipe(spelled)
        return self.jobs.ask(name, spelled, f"runs/{name}")

    def resume(self, name: str) -> QueuedRun:
        """Go on with a run, by the recipe in its folder.

        Raises:
            VeneerError: If there is no such run, or it is in the queue already.
        """
        if self.workspace.run(name).recipe_toml.is_file():
            self.run_recipe(name)
            return self.jobs.ask(name, f"runs/{name}/recipe.toml", f"runs/{name}")
        job = self.jobs.job(name)
        return self.jobs.ask(name, job.recipe if job else self.workspace.recipe(name), f"runs/{name}")

    def recipe(self, spelled: str) -> Recipe:
        """Read a recipe to do something by it.

        Args:
            spelled: A path relative to the workspace, or a bundled name.

        Raises:
            RecipeError: If it cannot be read, or leads out of the workspace.
        """
        path = self.workspace.root / spelled if spelled.endswith(".toml") else spelled
        return self.workspace.usable(load_recipe(str(path)))

    def run_recipe(self, name: str) -> Recipe:
        """Read the recipe of a run to do something by it.

        Raises:
            VeneerError: If there is none, it cannot be read, or leads out of the workspace.
        """
        return self.workspace.usable(self.workspace.run(name).read_recipe())

    def queue(self) -> list[tuple[QueuedRun, JobState]]:
        """Runs at work or waiting, the one that was asked for first in front."""
        known = [(job, self.jobs.state(job.name)) for job in self.jobs.jobs()]
        return [(job, state) for job, state in known if state is not None and state in AT_WORK]

    def run_names(self) -> list[str]:
        """Names of all runs, those in the queue first."""
        queued = [job.name for job, _ in self.queue()]
        known = [job.name for job in reversed(self.jobs.jobs())]
        return list(dict.fromkeys([*queued, *self.workspace.run_names(), *known]))
