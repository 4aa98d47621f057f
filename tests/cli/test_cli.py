import json
import subprocess
import sys
from pathlib import Path

import pytest

from veneer.cli import VERBS, exit_status
from veneer.errors import VeneerError


def test_help_imports_neither_torch_nor_pydantic() -> None:
    code = (
        "import sys\nfrom veneer.cli import exit_status\nexit_status(['--help'])\n"
        "sys.exit([m for m in ('torch', 'pydantic', 'diffusers', 'rich.progress') if m in sys.modules] or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "collect" in done.stdout


@pytest.mark.parametrize("verb", [verb.__name__ for verb in VERBS])
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
