"""The parser's own commands, for the tests that go through every one."""

from __future__ import annotations

from typing import Any

import typer

from veneer.cli import build_app


def commands() -> dict[tuple[str, ...], Any]:
    """Every command by its words after ``veneer``: the program itself under none, those of groups too."""
    found: dict[tuple[str, ...], Any] = {}
    waiting: list[tuple[tuple[str, ...], Any]] = [((), typer.main.get_command(build_app()))]
    while waiting:
        words, command = waiting.pop()
        found[words] = command
        waiting += [((*words, name), part) for name, part in getattr(command, "commands", {}).items()]
    return found
