"""The command line: one file for each verb, and the one place that turns errors into exit statuses.

Commands print results on stdout and progress on stderr; ``--json`` prints one object. No file here imports
torch or a stage at its top, so that ``veneer --help`` answers at once.
"""

from __future__ import annotations

import errno
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import typer

from veneer.cli.surroundings import Signals, hush_libraries, is_unread, lead_nowhere, mend_streams
from veneer.cli.verbs import GroupedVerbs, add_verbs
from veneer.errors import (
    DISK_FULL,
    EXIT_BUG,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    EXIT_USER,
    NO_PATH,
    VeneerError,
    is_disk_full,
)
from veneer.text import shown

INTERRUPTED = "veneer: interrupted; the same command goes on from here"


def build_app() -> typer.Typer:
    """Put the verbs together.

    Returns:
        The application.
    """
    app = typer.Typer(
        name="veneer",
        help="Customise Stable Diffusion with LoRA, and measure whether the result beats the base model.",
        no_args_is_help=True,
        cls=GroupedVerbs,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    add_verbs(app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit status.

    Args:
        arguments: Words after ``veneer``; those of the process by default.

    Raises:
        SystemExit: Always, with the exit status.
    """
    signals = Signals()
    signals.watch()
    mend_streams()
    hush_libraries()
    status = exit_status(list(sys.argv[1:] if arguments is None else arguments), signals)
    raise SystemExit(_flushed(status))


def exit_status(arguments: list[str], signals: Signals | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after ``veneer``.
        signals: Remembers whether the process was asked to end.

    Returns:
        The exit status: 0 done, 1 the user's problem, 2 usage, 3 our bug, 4 worse, 130 interrupted.
    """
    try:
        status = build_app()(arguments, prog_name="veneer", standalone_mode=False)
    except typer.exceptions.TyperException as error:
        return _say(f"{error.format_message()}\nSee `veneer --help`.", EXIT_USAGE)
    except typer.Exit as error:
        status = error.exit_code
    except VeneerError as error:
        return _say(f"veneer: {error}", error.exit_status)
    except (KeyboardInterrupt, typer.Abort):
        return _say(INTERRUPTED, EXIT_INTERRUPTED)
    except SystemExit as end:  # typer's answer to a closed pipe
        return _closed_pipe(end)
    except Exception as error:
        if signals is not None and signals.is_interrupted:
            return _say(INTERRUPTED, EXIT_INTERRUPTED)
        return _system_error(error) if isinstance(error, OSError) else _bug(error)
    if status == EXIT_INTERRUPTED:  # typer turns Ctrl-C into this
        return _say(INTERRUPTED, status)
    return status if isinstance(status, int) else EXIT_DONE


def _flushed(status: int) -> int:
    """Write out what was printed, now that it can still be told if that fails."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        lead_nowhere(sys.stdout)
    except OSError as error:  # a full disk
        lead_nowhere(sys.stdout)
        return _system_error(error)
    return status


def _print_version(asked: bool) -> None:
    if asked:
        from veneer.versions import VERSION

        typer.echo(f"veneer {VERSION}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_print_version, help="Print the version and end."
    ),
) -> None:
    """Customise Stable Diffusion with LoRA, and measure whether the result beats the base model."""


def _closed_pipe(end: SystemExit) -> int:
    """A reader who has read enough (``| head -1``) is no failure: results are printed when all is done."""
    if end.code == EXIT_DONE or is_unread(sys.__stdout__):  # the shell's completion ends so
        return EXIT_DONE
    cause = end.__context__
    return _bug(cause if isinstance(cause, Exception) else RuntimeError(f"ended with {end.code}"))


def _system_error(error: OSError) -> int:
    where = f" ({error.filename})" if error.filename else ""
    match error.errno:
        case _ if is_disk_full(error):
            todo = f"{DISK_FULL}. Free some space; the same command goes on from here"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            todo = "no permission. Choose a place that you may write to"
        case number if number in NO_PATH:
            todo, where = "no usable path. Name another file", f" ({str(error.filename)[:80]})"
        case _:
            return _bug(error)
    return _say(f"veneer: {todo}{where}", EXIT_USER)


def _bug(error: Exception) -> int:
    from veneer.versions import versions

    name = time.strftime("veneer-error-%Y%m%d-%H%M%S.log")
    path = Path(tempfile.gettempdir()) / name
    lines = [f"{package}: {version}\n" for package, version in versions().items()]
    path.write_text("".join(lines) + "".join(traceback.format_exception(error)), "utf-8")
    return _say(f"veneer: a bug of ours: {type(error).__name__}: {error}. The log is {path}", EXIT_BUG)


def _say(line: str, status: int) -> int:
    print(shown(line), file=sys.stderr)
    return status
