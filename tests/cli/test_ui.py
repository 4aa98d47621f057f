"""``veneer ui`` opens the page where a person sits at this machine, and nowhere else."""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from veneer.cli import exit_status

HERE = {"DISPLAY": ":0"}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, with_gradio: None) -> Callable[..., list[str]]:
    """What a browser is told to open, by what the environment is like."""
    from veneer.web import app

    def studio(*args: Any, on_ready: Callable[[str], None], **kwargs: Any) -> None:
        on_ready("http://127.0.0.1:7860/")

    def told(variables: dict[str, str], *options: str, is_terminal: bool = True) -> list[str]:
        addresses: list[str] = []
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SSH_TTY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal, raising=False)
        monkeypatch.setattr(app, "open_studio", studio)
        monkeypatch.setattr(webbrowser, "open", addresses.append)
        assert exit_status(["ui", "--workspace", str(tmp_path / "studio"), *options]) == 0
        return addresses

    return told


def test_the_page_opens_where_somebody_sits(opened: Callable[..., list[str]]) -> None:
    assert opened(HERE) == ["http://127.0.0.1:7860/"]
    assert opened({"WAYLAND_DISPLAY": "wayland-0"}) == ["http://127.0.0.1:7860/"]


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({}, []),
        ({**HERE, "SSH_CONNECTION": "10.0.0.2 1 10.0.0.1 22"}, []),
        (HERE, ["--no-browser"]),
        (HERE, ["--host", "0.0.0.0"]),
    ],
    ids=["no screen", "over SSH", "not wanted", "for others"],
)
def test_it_stays_closed_elsewhere(
    opened: Callable[..., list[str]], variables: dict[str, str], options: list[str]
) -> None:
    assert opened(variables, *options) == []


def test_a_pipe_opens_nothing(opened: Callable[..., list[str]]) -> None:
    assert opened(HERE, is_terminal=False) == []
