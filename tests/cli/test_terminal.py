"""Every verb in a terminal, and what befalls one: Ctrl-C, another width, closed streams, chatty libraries."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.commands import commands
from helpers.terminals import Screen, around_this_process, frames, in_terminal
from veneer.cli import exit_status
from veneer.stage import STAGE_NAMES

WIDTHS = (20, 40, 80, 200)
VERBS = {words: command for words, command in commands().items() if words}


@pytest.fixture(autouse=True)
def no_other_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of the terminal that the tests run in would go before their own."""
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


ONETRAINER = '{"training_method": "LORA", "model_type": "STABLE_DIFFUSION_15", "learning_rate": 0.0003}'
AITOOLKIT = "job: extension\nconfig: {process: [{type: sd_trainer, network: {type: lora, linear: 16}}]}\n"


@pytest.fixture(scope="module")
def recipe(
    base_folder: Path, clip_folder: Path, picture_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A recipe that goes through all stages in seconds."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(f"""
        [base]
        model = "{base_folder}"
        [collect]
        sources = ["{picture_folder}"]
        [caption]
        model = "none"
        prefix = "a drawing of"
        [encode]
        resolution = 32
        [train]
        max_train_steps = 4
        train_batch_size = 2
        [generate]
        prompts = ["a red dot"]
        seeds = [0, 1]
        num_inference_steps = 2
        resolution = 32
        [compare]
        embedder = "{clip_folder}"
        held_out_prompts = 2
        general_prompts = ["a dog"]
    """)
    return path


@pytest.fixture(scope="module")
def finished(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run made in a terminal of 80 columns: its folder, and what was written."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    with around_this_process(80) as terminal:
        status = exit_status(["run", str(recipe), "--out", str(folder)])
    assert status in {0, 4}, Screen(80).feed(terminal.text).text()
    return folder, terminal.text


@pytest.fixture
def arguments(
    finished: tuple[Path, str],
    recipe: Path,
    base_folder: Path,
    picture_folder: Path,
    clip_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[tuple[str, ...], list[str]]:
    """What each verb is given; a new verb has nothing here, and fails the test that asks for it."""
    run = str(finished[0])
    lora = f"{run}/lora/pytorch_lora_weights.safetensors"
    new, pictures = str(tmp_path / "new.safetensors"), str(picture_folder)
    others = {"onetrainer": tmp_path / "one.json", "ai-toolkit": tmp_path / "ai.yaml"}
    others["onetrainer"].write_text(ONETRAINER)
    others["ai-toolkit"].write_text(AITOOLKIT)
    studio = types.ModuleType("veneer.web.app")
    vars(studio)["open_studio"] = _interrupted_studio
    monkeypatch.setitem(sys.modules, "veneer.web.app", studio)
    drawing = ["--base", str(base_folder), "--prompt", "a dog", "--steps", "1", "--resolution", "32"]
    return {
        ("run",): [str(recipe), "--out", run],
        ("collect",): [pictures, "--out", str(tmp_path / "collected")],
        ("check",): [f"{run}/dataset", "--resolution", "32", "--embedder", str(clip_folder)],
        ("caption",): [f"{run}/dataset", "--model", "none", "--prefix", "a drawing of"],
        ("encode",): [run],
        ("train",): [run],
        ("export",): ["--lora", lora, "--layout", "kohya", "--out", new],
        ("generate",): [*drawing, "--out", str(tmp_path / "drawn")],
        ("compare",): [run],
        ("report",): [run],
        ("inspect",): [lora],
        ("merge",): [lora, lora, "--out", new],
        ("resize",): [lora, "--rank", "1", "--out", new],
        ("doctor",): [],
        ("ui",): ["--workspace", str(tmp_path / "studio")],
        ("import",): ["kohya", pictures, "--out", str(tmp_path / "of-kohya.toml")],
        ("import", "kohya"): [pictures, "--out", str(tmp_path / "kohya.toml")],
        **{("import", name): [str(file), "--out", f"{file}.toml"] for name, file in others.items()},
        ("sweep",): [str(recipe), "--over", "train.seed=0", "--out", str(tmp_path / "sweep")],
        ("recipes",): [],
        ("recipes", "show"): ["pocket-8bit"],
        ("recipes", "copy"): ["pocket-8bit", str(tmp_path / "copy.toml")],
    }


def _interrupted_studio(*_: object, on_ready: Callable[[str], None], **__: object) -> None:
    on_ready("http://127.0.0.1:7860")
    raise KeyboardInterrupt


def expected_status(words: tuple[str, ...]) -> set[int]:
    return {"ui": {130}, "compare": {0, 4}, "run": {0, 4}, "sweep": {0, 4}}.get(" ".join(words), {0})


def test_every_verb_has_its_arguments(arguments: dict[tuple[str, ...], list[str]]) -> None:
    assert set(arguments) == set(VERBS)


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_verb_in_a_terminal(words: tuple[str, ...], arguments: dict[tuple[str, ...], list[str]]) -> None:
    with around_this_process(40) as terminal:
        status = exit_status([*words, *arguments[words]])
    assert status in expected_status(words), Screen(40).feed(terminal.text).text()
    assert [frame for frame in frames(terminal.text) if len(frame) >= 40] == []
    screen = Screen(40).feed(terminal.text)
    assert screen.is_cursor_shown
    assert not any(re.search(r"so far|Traceback", row) for row in screen.text())
    assert "/9" not in "".join(screen.text()) or words == ("run",)


QUIET = [words for words, part in VERBS.items() if any("-q" in option.opts for option in part.params)]


@pytest.mark.parametrize("words", QUIET, ids=" ".join)
def test_a_quiet_verb_draws_nothing(
    words: tuple[str, ...], arguments: dict[tuple[str, ...], list[str]]
) -> None:
    with around_this_process(40, (2,)) as terminal:
        status = exit_status([*words, *arguments[words], "-q"])
    assert status in expected_status(words)
    assert "\x1b" not in terminal.text
    assert [row for row in Screen(40).feed(terminal.text).text() if not row.startswith("  ")] == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_help_and_wrong_usage_in_a_terminal(words: tuple[str, ...], width: int) -> None:
    with around_this_process(width) as terminal:
        assert exit_status([*words, "--help"]) == 0
        assert exit_status([*words, "--nonsense"]) == 2
    assert "Usage" in terminal.text
    assert "Traceback" not in terminal.text


def test_a_whole_run_as_it_is_seen(finished: tuple[Path, str]) -> None:
    folder, written = finished
    assert all(len(frame) < 80 for frame in frames(written))
    seen = Screen(80).feed(written)
    assert seen.is_cursor_shown
    kinds = re.compile(r"[1-9]/9 [a-z]+ +\S|  note: |    |LoRA: |use at: |verdict: |  \S|grid: |report: ")
    odd = [row for row in seen.text() if not kinds.match(row)]
    assert all(re.fullmatch(r"\S*tensors", row) for row in odd), odd  # the end of a path beyond the edge
    starts = [row for row in seen.text() if re.match("[1-9]/9", row)]
    assert [row.split()[:2] for row in starts] == [
        [f"{n}/9", stage] for n, stage in enumerate(STAGE_NAMES, 1)
    ]
    drawn = "\n".join(frames(written))
    assert re.search(r"1/9 collect +━+ +\d+ pictures", drawn)
    assert re.search(r"5/9 train +━+ +4/4 steps +[0-9.]+ (pictures/s|s a picture)", drawn)
    assert folder.is_dir()


def test_a_run_again_in_a_pipe_and_stdout_alone_in_a_terminal(
    finished: tuple[Path, str], recipe: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with around_this_process(80, (1,)) as terminal:
        assert exit_status(["run", str(recipe), "--out", str(finished[0])]) in {0, 4}
    assert "\x1b" not in terminal.text
    assert terminal.text.startswith("LoRA: ") and "\r\nverdict: " in terminal.text
    told = capfd.readouterr().err.splitlines()
    assert [line.split()[0] for line in told] == [f"{n}/9" for n in range(1, 10)]
    assert all(line.endswith("(done before)") for line in told)


def test_results_in_a_pipe_and_progress_in_a_terminal(
    picture_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with around_this_process(80, (2,)) as terminal:
        assert exit_status(["collect", str(picture_folder), "--out", str(tmp_path / "d"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["pictures"] == 12
    assert "\x1b[?25l" in terminal.text


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {"COLUMNS": "20"}])
def test_other_terminals(
    environment: dict[str, Any], monkeypatch: pytest.MonkeyPatch, picture_folder: Path, tmp_path: Path
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with around_this_process(80) as terminal:
        assert exit_status(["collect", str(picture_folder), "--out", str(tmp_path / "d")]) == 0
    assert "\x1b[3" not in terminal.text or "NO_COLOR" not in environment
    assert "\x1b" not in terminal.text or "TERM" not in environment
    assert all(len(frame) < 20 for frame in frames(terminal.text)) or "COLUMNS" not in environment
    assert Screen(80).feed(terminal.text).text()[0].startswith("12 pictures in")


def test_what_is_printed_meanwhile_goes_above_the_line(capfd: pytest.CaptureFixture[str]) -> None:
    from veneer.cli.progress import ProgressPrinter

    with around_this_process(80) as terminal, ProgressPrinter(stages=("train",)) as show:
        show._live.refresh()
        print("a library's error", file=sys.stderr)
        sys.stdout.write("and another\n")
        show._live.refresh()
    assert Screen(80).feed(terminal.text).text() == ["a library's error", "and another"]


def test_a_terminal_made_narrower_and_an_interrupted_training(
    finished: tuple[Path, str], recipe: Path, tmp_path: Path
) -> None:
    """A process of its own: the width changes while it trains, then comes Ctrl-C."""
    run, at = untrained(finished[0], tmp_path / "run"), []

    def act(terminal: Any, _: object) -> None:
        terminal.wait_for(" steps")
        terminal.resize(40)
        at.append(len(terminal.text))
        terminal.wait_for("/100000 ", after=at[0] + 500)
        terminal.press(b"\x03")

    command = ["run", str(recipe), "--out", str(run), "--set", "train.max_train_steps=100000"]
    status, written = in_terminal(command, 200, act=act)
    assert status == 130
    assert max(map(len, frames(written[: at[0]]))) > 40 > max(map(len, frames(written[at[0] :])[2:]))
    seen = Screen(200).feed(written)
    assert seen.is_cursor_shown
    assert "Traceback" not in written
    assert seen.text()[-1] == "veneer: interrupted; the same command goes on from here"
    assert list((run / "train").glob("stopped/step-*"))


def untrained(run: Path, copy: Path) -> Path:
    """A copy of a run that stands where `train` begins."""
    shutil.copytree(
        run, copy, ignore=shutil.ignore_patterns("train", "lora", "samples", "report", "checksums.json")
    )
    record = json.loads((copy / "run.json").read_text())
    for stage in STAGE_NAMES[STAGE_NAMES.index("train") :]:
        del record["stages"][stage]
    (copy / "run.json").write_text(json.dumps(record))
    return copy


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_libraries_are_loaded(number: signal.Signals, recipe: Path, tmp_path: Path) -> None:
    def act(terminal: Any, child: Any) -> None:
        terminal.wait_for("\x1b[?25l")
        os.kill(child, number)

    status, written = in_terminal(["run", str(recipe), "--out", str(tmp_path / "run")], 80, act=act)
    assert status == 130
    seen = Screen(80).feed(written)
    assert seen.is_cursor_shown
    assert seen.text() == ["veneer: interrupted; the same command goes on from here"]


HAS_FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
VENEER = f"{sys.executable} -m veneer"


@pytest.mark.parametrize(
    ("line", "status", "out"),
    [
        (f"{VENEER} run nothing 2>&-", 1, ""),
        (f"{VENEER} recipes 2>&- >&- <&-", 0, ""),
        (f"{VENEER} recipes show pocket-8bit 2>&- | head -c 10", 0, "# The demo"),
        (f"{VENEER} recipes | head -0; exit ${{PIPESTATUS[0]}}", 0, ""),
        (f"PYTHONUNBUFFERED=1 {VENEER} recipes | head -0; exit ${{PIPESTATUS[0]}}", 0, ""),
        pytest.param(f"{VENEER} run nothing 2>/dev/full", 1, "", marks=HAS_FULL),
    ],
)
def test_closed_and_broken_streams(line: str, status: int, out: str) -> None:
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (status, out, "")


@HAS_FULL
def test_a_full_disk_behind_stdout_is_told() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{VENEER} recipes >/dev/full"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("veneer: the disk is full")


def test_libraries_are_quiet_but_for_errors() -> None:
    code = """
import os, sys
from veneer.cli.surroundings import hush_libraries
hush_libraries()
import logging, warnings
from tqdm.auto import tqdm
warnings.warn("a warning", stacklevel=1)
logging.getLogger("transformers").warning("a warning")
list(tqdm(range(3)))
logging.getLogger("transformers").error("an error")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "an error\n")


def test_an_error_of_an_interrupted_library_is_an_interruption(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import veneer.recipe
    from veneer.cli.surroundings import Signals

    signals = Signals()

    def fail(*_: object, **__: object) -> None:
        signals.is_interrupted = True
        raise ImportError("cut in the middle")

    monkeypatch.setattr(veneer.recipe, "load_recipe", fail)
    assert exit_status(["run", "x"], signals) == 130
    assert capsys.readouterr().err == "veneer: interrupted; the same command goes on from here\n"
