from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from veneer.cli import exit_status, main
from veneer.cli.verbs import GROUPS
from veneer.errors import VeneerError
from veneer.recipe import bundled_names


def test_help_imports_neither_torch_nor_pydantic() -> None:
    code = (
        "import sys\nfrom veneer.cli import exit_status\nexit_status(['--help'])\n"
        "sys.exit([m for m in ('torch', 'pydantic', 'diffusers', 'rich.progress') if m in sys.modules] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "collect" in done.stdout


@pytest.mark.parametrize("verb", [verb.__name__ for verbs in GROUPS.values() for verb, _ in verbs])
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status([verb, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(["--version"]) == 0
    assert capsys.readouterr().out.startswith("veneer ")


@pytest.mark.parametrize("arguments", [["nonsense"], ["run"], ["run", "pocket-8bit", "--nonsense"]])
def test_wrong_usage_ends_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(arguments) == 2
    assert capsys.readouterr().err


def test_an_unknown_stage_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(["run", "pocket-8bit", "--redo", "trian"]) == 2
    assert "trian" in capsys.readouterr().err


def test_an_unknown_key_ends_with_one_and_a_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert exit_status(["run", "pocket-8bit", "--out", str(tmp_path), "--set", "train.sed=1"]) == 1
    error = capsys.readouterr().err
    assert "did you mean `train.seed`" in error
    assert error.count("\n") == 1


def test_a_dry_run_prints_the_recipe_and_touches_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert exit_status(["run", "pocket-8bit", "--out", str(out), "--dry-run", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["recipe"]["base"]["model"] == "pocket"
    assert set(printed["stages"].values()) == {"to do"}
    assert printed["unused"] == {}
    assert not out.exists()


def test_doctor_ends_in_what_this_machine_can_train(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(["doctor"]) == 0
    told = capsys.readouterr().out.split("advice\n")[1]
    assert "pocket-8bit: 170 steps of 8 at 128 px take about" in told
    assert "sd15-style: 2000 steps of 4 at 512 px take about" in told


def test_a_dry_run_tells_of_settings_that_do_not_act(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = [
        "run",
        "pocket-8bit",
        "--out",
        str(tmp_path / "run"),
        "--dry-run",
        "--set",
        "train.snr_gamma=2",
    ]
    assert exit_status(command) == 0
    assert "train.snr_gamma does not act: train.loss_weighting is none\n" in capsys.readouterr().out
    assert exit_status([*command, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["unused"]) == ["train.snr_gamma"]


def test_a_recipe_that_contradicts_itself_is_refused_before_anything_is_done(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    status = exit_status(
        [
            "run",
            "pocket-8bit",
            "--out",
            str(out),
            "--set",
            "lora.target_modules=none",
            "--set",
            "lora.text_encoder=false",
        ]
    )
    assert status == 1
    assert "`lora.target_modules`: nothing is trained" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (VeneerError("no"), 1),
        (OSError(28, "No space left on device", "x"), 1),
        (PermissionError(13, "denied", "x"), 1),
        (RuntimeError("boom"), 3),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_exit_statuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, status: int
) -> None:
    import veneer.recipe

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(veneer.recipe, "load_recipe", fail)
    assert exit_status(["run", "x"]) == status
    printed = capsys.readouterr().err
    assert printed.startswith("veneer: ")
    if status == 3:
        log = printed.rstrip().rpartition(" ")[2]
        assert "Traceback" in Path(log).read_text()


def test_recipes_are_listed_shown_and_copied(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert exit_status(["recipes"]) == 0
    assert "pocket-8bit" in capsys.readouterr().out
    assert exit_status(["recipes", "show", "sd15-8bit"]) == 0
    assert capsys.readouterr().out.startswith("# ")
    target = tmp_path / "my.toml"
    assert exit_status(["recipes", "copy", "sd15-style", str(target)]) == 0
    assert exit_status(["recipes", "copy", "sd15-style", str(target)]) == 1


def test_help_says_what_each_verb_is_for_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(["-h"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for title, verbs in GROUPS.items():
        assert f"{title}:" in lines
        for verb, what in verbs:
            assert any(line.split() == [verb.__name__, *what.split()] for line in lines), verb.__name__


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("veneer run po", {"pocket-8bit"}),
        ("veneer run x --redo ex", {"export"}),
        ("veneer train runs/fi", {"runs/first"}),
        ("veneer report ru", {"runs/"}),
        ("veneer export --layout ", {"diffusers", "kohya", "merged"}),
    ],
)
def test_the_shell_completes_recipes_stages_runs_and_choices(
    words: str,
    offered: set[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "run.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["veneer"])
    monkeypatch.setenv("_VENEER_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    assert exit_status([]) == 0
    assert set(capsys.readouterr().out.split()) == offered


def test_recipes_say_what_they_need(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(["recipes"]) == 0
    out = capsys.readouterr().out
    for name in bundled_names():
        part = out.partition(f"{name}\n")[2].split("\n\n")[0]
        assert all(f"  {word:<9} " in part for word in ("purpose", "hardware", "minutes", "command"))


@pytest.mark.parametrize(("source", "status"), [("/etc", 1), ("../secret", 1), ("hf: /etc", 1), ("some", 0)])
def test_a_strangers_recipe_is_kept_within_a_folder(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    source: Any,
    status: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some").mkdir()
    recipe, out = tmp_path / "strange.toml", tmp_path / "run"
    recipe.write_text(f'[collect]\nsources = ["{source}"]\n')
    words = ["run", str(recipe), "--out", str(out), "--within", str(tmp_path), "--dry-run"]
    assert exit_status(words[:-1] if status else words) == status
    assert ("`collect.sources` leads out of" in capsys.readouterr().err) is bool(status)
    assert not out.exists()


STEERING = "x\x1b[2J\x1b]0;title\x07\x9b31m\u202egnp.exe"


@pytest.mark.parametrize(
    "words", [("{}",), ("--{}",), ("--out", "{}"), ("{}", "--set", "{}"), ("{}", "--json")]
)
@pytest.mark.parametrize("verb", [verb.__name__ for verbs in GROUPS.values() for verb, _ in verbs])
def test_no_verb_lets_names_steer_the_terminal(
    verb: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    told = [io.StringIO(), io.StringIO()]
    monkeypatch.setattr(sys, "stdout", told[0])
    monkeypatch.setattr(sys, "stderr", told[1])
    monkeypatch.setattr("veneer.cli.Signals.watch", lambda _: None)
    with pytest.raises(SystemExit):
        main([verb, *(word.format(STEERING) for word in words)])
    said = told[0].getvalue() + told[1].getvalue()
    assert not set(said) & set("\x1b\x07\x9b\u202e"), said


def test_results_are_shown_harmless_and_json_stays_json() -> None:
    from veneer.cli.surroundings import Harmless

    out = io.StringIO()
    print(json.dumps({"name": STEERING, "plain": "Städte\t✓"}, ensure_ascii=False), file=Harmless(out))
    assert json.loads(out.getvalue()) == {"name": STEERING, "plain": "Städte\t✓"}
    assert not set(out.getvalue()) & set("\x1b\x07\x9b\u202e")


LONG = "a" * 5_000


@pytest.mark.parametrize(
    "arguments",
    [
        *([verb, LONG] for verb in ("run", "inspect", "check", "caption", "train", "report", "compare")),
        *(["import", kind, LONG] for kind in ("kohya", "onetrainer", "ai-toolkit")),
        ["run", "pocket-8bit", "--dry-run", "--set", f"base.model={LONG}"],
        ["sweep", LONG, "--over", "lora.rank=2,4"],
    ],
    ids=lambda arguments: " ".join(one[:20] for one in arguments),
)
def test_no_name_is_too_long_for_a_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_status(arguments) == 1
    assert "no usable path" in capsys.readouterr().err


def test_the_page_says_it_too() -> None:
    from veneer.web.messages import describe

    assert "no usable path" in describe(OSError(errno.ENAMETOOLONG, "too long", LONG))
