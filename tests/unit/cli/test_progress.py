"""What a person sees of a command's progress, at every width, and what is said of the time left."""

import io
import itertools
import re
import time
from collections.abc import Sequence
from typing import Any, cast

import pytest
from rich.cells import cell_len
from rich.console import Console

from helpers.terminals import Screen, frames
from veneer.cli import progress
from veneer.cli.progress import ProgressPrinter
from veneer.cli.statusline import Status, StatusLine
from veneer.cli.timeleft import TRAINED_PASSES, Course, Pace, TimeLeft, clock
from veneer.events import Notice, OnEvent, Progress, StageFinished, StageStarted, StepEvent
from veneer.stage import STAGE_NAMES

WIDTHS = (1, 20, 40, 80, 200)
LONG = "a picture of 東京 at night, drawn with \x1b[31mred\x1b[0m ink :cat: [bold]and\nmore " * 3


def a_console(width: int, **options: Any) -> Console:
    usual: dict[str, Any] = {"force_terminal": True, "color_system": "truecolor"}
    return Console(file=io.StringIO(), width=width, height=24, highlight=False, **(usual | options))


def shown_by(console: Console) -> str:
    return cast(io.StringIO, console.file).getvalue()


def written_by(console: Console) -> str:
    return shown_by(console).replace("\n", "\r\n")


def a_step(number: int, seconds: float = 0.5) -> StepEvent:
    return StepEvent(number, 0.1234, 1e-4, 1.0, 1.0, 8 / seconds, seconds)


def tell_a_run(show: OnEvent, total: int | None) -> None:
    """The events of a run in which nothing is simple."""
    for stage in STAGE_NAMES:
        if stage == "check":
            show(StageFinished(stage, "done by an earlier command", skipped=True))
            continue
        show(StageStarted(stage, total, "pictures"))
        for done in (0, 1, 40):
            show(Progress(stage, done, LONG))
            show(Notice(stage, "odd", f"{LONG} is odd"))
        if stage == "train":
            show(a_step(1))
        show(StageFinished(stage, f"{stage} is done with {LONG}", 12.0))


@pytest.mark.parametrize(
    ("width", "total", "options"),
    itertools.product(
        WIDTHS,
        (None, 0, 40),
        ({}, {"no_color": True}, {"color_system": None}, {"color_system": "standard"}),
    ),
)
def test_no_line_is_torn(width: int, total: int | None, options: dict[str, Any]) -> None:
    console = a_console(width, **options)
    show = ProgressPrinter(stages=STAGE_NAMES, console=console)
    with show:
        show._live.refresh()
        tell_a_run(show, total)
        show._live.refresh()
    written = written_by(console)
    assert all(cell_len(frame) < max(width, 2) for frame in frames(written))
    screen = Screen(max(width, 2)).feed(written)
    assert screen.is_cursor_shown
    seen = screen.text()
    assert not any(re.search(r"━|so far|/40", row) for row in seen)
    if width < 80:
        return
    assert [row.split()[0] for row in seen if re.match(r"\d/9 ", row)] == [f"{n}/9" for n in range(1, 10)]
    assert "\x1b[31m" not in written
    assert ":cat: [bold]and more" in " ".join(" ".join(seen).split())


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (8, "5/9"),
        (12, "5/9"),
        (16, "5/9  123/240"),
        (20, "5/9 train  123/240"),
        (30, "5/9 train  123/240  3:20 left"),
        (40, "5/9 train  123/240 steps  3:20 left"),
        (60, "5/9 train  ━━━━━       123/240 steps  3:20 left"),
        (80, "5/9 train  ━━━━━       123/240 steps  21.5 pictures/s  3:20 left  loss 0.1234"),
        (
            200,
            "5/9 train  " + "━" * 12 + " " * 12 + "  123/240 steps  21.5 pictures/s  3:20 left  loss 0.1234",
        ),
    ],
)
def test_what_is_least_important_goes_first(width: int, line: str) -> None:
    status = Status("5/9", "train", 123, 240, "steps", "21.5 pictures/s", "3:20 left", "loss 0.1234")
    console = a_console(width, no_color=True, color_system=None)
    console.print(StatusLine(status), end="")
    assert shown_by(console) == line


def test_a_long_detail_ends_with_an_ellipsis_and_only_where_there_is_room() -> None:
    status = Status("3/9", "caption", 4, 8, "captions", "5.1/s", "0:15 left", "a fox in the snow " * 9)
    console = a_console(80, no_color=True, color_system=None)
    console.print(StatusLine(status), end="")
    assert shown_by(console).endswith("…")
    assert len(shown_by(console)) <= 79


def test_an_unknown_total_shows_a_count_and_a_bar_that_moves() -> None:
    console = a_console(80)
    show = ProgressPrinter(stages=STAGE_NAMES, console=console)
    with show:
        show(StageStarted("collect", None, "pictures"))
        show(Progress("collect", 34))
        show._live.refresh()
    assert re.fullmatch(r"1/9 collect  ━{10}  34 pictures  0:01 so far", frames(shown_by(console))[-2])


def test_a_single_stage_has_no_number() -> None:
    console = a_console(80)
    with ProgressPrinter(stages=("collect",), console=console) as show:
        show(StageStarted("collect", None, "pictures"))
        show(StageFinished("collect", "34 pictures", 1.0))
    assert Screen(80).feed(written_by(console)).text() == ["collect   34 pictures (1.0 s)"]


def test_the_time_so_far_counts_the_loading_too(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    show = ProgressPrinter(stages=STAGE_NAMES, console=a_console(80))
    now = 5.0
    show.follow(Course(STAGE_NAMES))
    now = 7.0
    show(StageStarted("collect", None, "pictures"))
    assert show._status().time == "0:07 so far"


def test_a_narrower_terminal_gets_a_shorter_line_at_once() -> None:
    console = a_console(200)
    show = ProgressPrinter(stages=STAGE_NAMES, console=console)
    with show:
        show(StageStarted("train", 100, "steps"))
        show(a_step(1))
        show._live.refresh()
        console.width = 40
        show._live.refresh()
        before, after = frames(shown_by(console))[-2:]
    assert len(before) > 40 > len(after)


def test_quiet_shows_notices_only() -> None:
    console = a_console(80)
    with ProgressPrinter(quiet=True, stages=STAGE_NAMES, console=console) as show:
        tell_a_run(show, 40)
    assert "\x1b" not in shown_by(console)
    assert all(line.startswith(("  note: ", "    ")) for line in shown_by(console).splitlines())


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}])
def test_a_pipe_gets_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environment: dict[str, Any]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(progress, "PLAIN_SECONDS", -1.0)
    with ProgressPrinter(stages=STAGE_NAMES) as show:
        show(StageStarted("collect", None, "pictures"))
        show(Progress("collect", 3, "1 left out"))
        show(StageFinished("collect", f"{'p' * 300} pictures", 2.0))
        show(StageStarted("check", 40, "pictures"))
        show(Progress("check", 7))
    assert capsys.readouterr().err.splitlines() == [
        "  1/9 collect  3 pictures  0:01 so far  1 left out",
        f"1/9 collect   {'p' * 300} pictures (2.0 s)",
        "  2/9 check  7/40 pictures  0:01 so far",
    ]


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console = a_console(80)
    with ProgressPrinter(stages=STAGE_NAMES, console=console) as show:
        tell_a_run(show, None)
    assert "\x1b" not in shown_by(console)


def test_ascii_terminals_get_ascii() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    console = Console(file=file, width=80, height=24, force_terminal=True)
    show = ProgressPrinter(stages=STAGE_NAMES, console=console)
    with show:
        show(StageStarted("train", 100, "steps"))
        show(Progress("train", 50, "a very long detail " * 9))
        show._live.refresh()
    file.flush()
    assert b"..." in file.buffer.getvalue()


def test_units_that_come_in_bursts_do_not_promise_too_early_an_end() -> None:
    pace = Pace(44, 0.0)
    pace.note(0, 0.0)
    for burst, now in enumerate((10.0, 20.0, 30.0), start=1):
        for done in range(8 * burst - 7, 8 * burst + 1):
            pace.note(done, now)
        assert pace.left(now) == pytest.approx((44 - 8 * burst) * 10 / 8)
    assert pace.left(39.0) == pytest.approx(25.0 - 9.0)
    assert pace.left(300.0) == pytest.approx(25.0 - 10.0)  # it stands still: no less than that is left


@pytest.mark.parametrize("done", [(0,), (0, 0), (5, 5)])
def test_nothing_is_known_before_anything_is_done(done: tuple[int, ...]) -> None:
    pace = Pace(10, 0.0)
    for now, units in enumerate(done):
        pace.note(units, float(now * 10))
    assert pace.left(60.0) is None


def test_nothing_is_said_when_the_time_has_run_out() -> None:
    pace = Pace(10, 0.0)
    for now in range(10):
        pace.note(now, float(now))
    assert pace.left(9.5) == pytest.approx(0.5)
    assert pace.left(60.0) is None
    pace.note(10, 61.0)
    assert pace.is_through
    assert pace.left(61.0) is None


def simulated(
    course: Course, stages: Sequence[tuple[str, int, float]], *, skipped: Sequence[str] = ()
) -> list[Any]:
    """Go through a run on a clock of its own: (seconds truly left, seconds said to be left) at every unit."""
    time_left, now, told = TimeLeft(course), 0.0, []
    whole = sum(units * each for name, units, each in stages if name not in skipped)
    for name, units, each in stages:
        if name in skipped:
            continue
        pace, begun = Pace(units, now), now
        pace.note(0, now)
        for done in range(1, units + 1):
            now += each
            if name == "train":
                time_left.step(a_step(done, each))
            pace.note(done, now)
            told.append((name, whole - now, time_left.all_stages(name, pace, now), pace.left(now)))
        time_left.finish(name, now - begun)
    return told


PASS_SECONDS = 8.0 / (50 * TRAINED_PASSES * 8)
"""Seconds of a pass where a step of 8 pictures takes 8 / 50 s."""

DEMO = [
    ("collect", 60, 0.03), ("check", 60, 0.15), ("caption", 60, 0.05), ("encode", 60, 0.05),
    ("train", 240, 8 / 50), ("export", 2, 1.0), ("generate", 88, 50 * PASS_SECONDS), ("compare", 1, 3.0),
    ("report", 3, 1.0),
]  # fmt: skip


def test_the_time_left_of_a_run_is_known_from_training_on_and_near_the_truth() -> None:
    told = simulated(Course(STAGE_NAMES, 88 * 50.0), DEMO)
    known = [(name, truth, said) for name, truth, said, _ in told if said is not None]
    assert {name for name, _, _ in known} >= {"train", "generate", "compare"}
    assert not {name for name, _, _ in known} & {"collect", "check", "caption", "encode"}
    assert all(abs(said - truth) < 0.15 * truth + 6 for _, truth, said in known)
    assert min(said for _, truth, said in known if truth > 60) > 45


def test_before_training_only_the_stage_at_work_is_spoken_of() -> None:
    told = simulated(Course(STAGE_NAMES, 88 * 50.0), DEMO)
    before = [(said, own) for name, _, said, own in told if name == "check"]
    assert all(said is None for said, _ in before)
    assert before[30][1] == pytest.approx(29 * 0.15)


def test_skipped_stages_count_nothing() -> None:
    """A run that goes on at `generate` knows from `run.json` what `check` took."""
    skipped = STAGE_NAMES[: STAGE_NAMES.index("generate")]
    told = simulated(Course(STAGE_NAMES, 88 * 50.0, {"check": 9.0}), DEMO, skipped=skipped)
    _, truth, said, _ = told[40]
    assert said == pytest.approx(truth, abs=4)


def test_training_that_goes_on_counts_its_own_steps_only() -> None:
    pace = Pace(240, 0.0)
    pace.note(200, 0.0)
    for done in range(201, 211):
        pace.note(done, (done - 200) * 0.5)
    assert pace.left(5.0) == pytest.approx(30 * 0.5)


def test_one_stage_alone_has_no_time_over_all() -> None:
    told = simulated(Course(("train",)), [("train", 100, 0.5)])
    assert all(said is None for _, _, said, _ in told)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "0:01"), (7, "0:07"), (60, "1:00"), (200.4, "3:20"), (1440, "24 min"), (7500, "2 h 05 min")],
)
def test_times_are_written_for_people(seconds: float, words: str) -> None:
    assert clock(seconds) == words


def test_an_interruption_while_the_line_begins_leaves_the_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    console = a_console(80)
    show = ProgressPrinter(stages=STAGE_NAMES, console=console)
    start = show._live._drawing.start

    def interrupted() -> None:
        start()
        show._live.refresh()
        raise KeyboardInterrupt

    monkeypatch.setattr(show._live._drawing, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), show:
        pass
    screen = Screen(80).feed(written_by(console))
    assert screen.is_cursor_shown
    assert screen.text() == []
    assert not console._render_hooks
