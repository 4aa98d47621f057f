"""Time left: of the stage at work, and of all stages of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from veneer.events import StepEvent

if TYPE_CHECKING:
    from veneer.config import Recipe
    from veneer.records.run import RunDir

TRAINED_PASSES = 2.3
"""What a picture trained on takes, in passes of one that is drawn: forward and backward (measured: 2.5)."""

LOOKING = ("export", "compare", "report")
"""Stages that are short beside the drawing; together they take about as long as `check`."""

LEAST_SECONDS = 1.0
"""A pace is believed once it is measured over this long."""


@dataclass(frozen=True)
class Course:
    """What a command goes through.

    Attributes:
        stages: Names of its stages, in order.
        drawn_passes: Passes through the UNet that `generate` will take; 0 where that is unknown.
        took: Seconds that finished stages took in an earlier command.
    """

    stages: tuple[str, ...] = ()
    drawn_passes: float = 0.0
    took: Mapping[str, float] = field(default_factory=dict)


def course_of(recipe: Recipe, run: RunDir) -> Course:
    """What a run goes through.

    Returns:
        All stages, with what is known of them before they begin.
    """
    from veneer.proof.promptset import build_jobs, build_prompts
    from veneer.stage import STAGE_NAMES

    table = recipe.generate
    held_out = [f"held out {number}" for number in range(recipe.compare.held_out_prompts)]
    jobs = build_jobs(build_prompts(recipe, held_out), table.seeds)
    passes = table.num_inference_steps * (2 if table.guidance_scale > 1 else 1)
    took = {name: entry.seconds for name, entry in run.read_record().stages.items()}
    return Course(STAGE_NAMES, 2.0 * len(jobs) * passes, took)


class Pace:
    """How fast a stage goes.

    The seconds of a unit are those between the first and the last unit told of, pauses such as saving and
    validation included. Between two units the time left runs down, but no longer than the longest wait so
    far; where it has run out and units are still to come, nothing is known, and nothing is said.

    Args:
        total: Units of work, or None where unknown.
        started: When the stage began, in seconds of any clock.
    """

    def __init__(self, total: int | None, started: float) -> None:
        self.total = total
        self.done: int | None = None
        self.started = started
        self._first: tuple[int, float] | None = None
        self._last = started
        self._wait = 0.0

    def begin(self, done: int, now: float) -> None:
        """Count from here.

        Args:
            done: Units done before.
            now: When the next one began.
        """
        self._first, self._last = (done, now), now

    def note(self, done: int, now: float) -> None:
        """Take in how many units are done.

        Args:
            now: When.
        """
        self.done = done
        if self._first is None or done < self._first[0]:
            self.begin(done, now)
        elif now > self._last:
            self._wait = max(self._wait, now - self._last)
            self._last = now

    @property
    def seconds_per_unit(self) -> float | None:
        """Seconds of a unit; None where too little is done to tell."""
        if self._first is None or self.done is None:
            return None
        fresh, seconds = self.done - self._first[0], self._last - self._first[1]
        return seconds / fresh if fresh > 0 and seconds >= LEAST_SECONDS else None

    @property
    def is_through(self) -> bool:
        """Whether all units are done, though the stage may have something left to do."""
        return self.total is not None and self.done is not None and self.done >= self.total

    def left(self, now: float) -> float | None:
        """Seconds until all units are done.

        Args:
            now: The present.

        Returns:
            Seconds above 0; None where nothing honest is known.
        """
        each = self.seconds_per_unit
        if each is None or self.done is None or not self.total or self.is_through:
            return None
        left = (self.total - self.done) * each - min(now - self._last, self._wait)
        return left if left > 0 else None


class TimeLeft:
    """Time left over all stages of a run, as far as it can be known.

    - The stage at work: by its own pace. Before it has one, what is expected of it less what it took so far.
    - `train` has nothing to be expected from. Until it trains, nobody knows the time of a run, and none is
      given; only that of the stage at work, which then bears its name.
    - `generate`: its passes through the UNet, each at the speed of training. A picture trained on takes a
      forward and a backward pass, `TRAINED_PASSES` in all. The base's own size, drawn too where the recipe
      asks for a larger one, is known only once it draws.
    - `export`, `compare` and `report`: together as long as `check` took, for they look at about as many
      pictures.
    - Stages that are skipped: nothing.

    Args:
        course: What the command goes through.
    """

    def __init__(self, course: Course) -> None:
        self._course = course
        self._check = course.took.get("check")
        self._trained, self._seconds = 0.0, 0.0

    def step(self, event: StepEvent) -> None:
        """Take in a step of training."""
        self._trained += event.images_per_second * event.seconds
        self._seconds += event.seconds

    def finish(self, stage: str, seconds: float) -> None:
        """Take in what a stage took.

        Args:
            stage: Its name.
            seconds: Wall-clock seconds.
        """
        if stage == "check":
            self._check = seconds

    def all_stages(self, stage: str, pace: Pace, now: float) -> float | None:
        """Seconds until the last stage is done.

        Args:
            stage: Name of the stage at work.
            now: The present.

        Returns:
            Seconds; None where a part of it is unknown, or the command has a single stage.
        """
        stages = self._course.stages
        if len(stages) < 2 or stage not in stages:
            return None
        later = [self._expected(name) for name in stages[stages.index(stage) + 1 :]]
        parts = [self._present(stage, pace, now), *later]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None

    def _present(self, stage: str, pace: Pace, now: float) -> float | None:
        if pace.seconds_per_unit is not None or pace.is_through:
            return pace.left(now) or 0.0
        expected = self._expected(stage)
        rest = 0.0 if expected is None else expected - (now - pace.started)
        return rest if rest > 0 else None

    def _expected(self, stage: str) -> float | None:
        if stage == "generate" and self._seconds and self._course.drawn_passes:
            return self._course.drawn_passes * self._seconds / self._trained / TRAINED_PASSES
        if stage in LOOKING and self._check is not None:
            return self._check / len(LOOKING)
        return None


def clock(seconds: float) -> str:
    """Write a duration for people.

    Args:
        seconds: Seconds, 0 or more.

    Returns:
        Such as "0:07", "3:20", "24 min" or "2 h 05 min"; never less than a second.
    """
    whole = max(1, round(seconds))
    if whole < 600:
        return f"{whole // 60}:{whole % 60:02}"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
