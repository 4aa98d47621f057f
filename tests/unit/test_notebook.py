"""Progress shows itself in a notebook, without widgets; elsewhere nothing is shown."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from veneer.events import Notice, Progress, StageFinished, StageStarted, StepEvent
from veneer.notebook import NotebookProgress


class Handle:
    def __init__(self, page: str) -> None:
        self.pages = [page]

    def update(self, page: str) -> None:
        self.pages.append(page)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A notebook that knows display ids alone: what every front end has, with widgets or without."""
    shell = SimpleNamespace(kernel=object(), execution_count=1, shown=[])

    def display(page: str, display_id: bool = False) -> Handle:
        assert display_id
        shell.shown.append(Handle(page))
        return shell.shown[-1]

    ipython = SimpleNamespace(get_ipython=lambda: shell, display=SimpleNamespace(HTML=str, display=display))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    return shell


def test_one_display_renews_itself_and_a_new_cell_has_a_new_one(
    notebook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("veneer.notebook.RENEWED_SECONDS", -1.0)
    show = NotebookProgress()
    show(StageStarted("train", 8, "steps"))
    show(StepEvent(2, 0.25, 1e-4, 1.0, 1.0, 3.0, 0.1))
    show(StageFinished("train", "8 steps", 2.0))
    (handle,) = notebook.shown
    assert "train: 2/8 steps" in handle.pages[-2] and "loss 0.2500" in handle.pages[-2]
    assert "train: 8 steps (2.0 s)" in handle.pages[-1]
    notebook.execution_count = 2
    show(StageStarted("check", 3, "pictures"))
    assert len(notebook.shown) == 2
    assert "8 steps" not in notebook.shown[1].pages[-1]


def test_texts_are_escaped_and_many_notices_are_counted(notebook: Any) -> None:
    show = NotebookProgress()
    for number in range(8):
        show(Notice("check", "odd", f"<script>{number}"))
    page = notebook.shown[0].pages[-1]
    assert "&lt;script&gt;4" in page and "<script>" not in page
    assert "&lt;script&gt;5" not in page and "3 more notes" in page


def test_progress_is_not_shown_more_often_than_it_can_be_seen(notebook: Any) -> None:
    show = NotebookProgress()
    show(StageStarted("check", 500, "pictures"))
    for done in range(500):
        show(Progress("check", done))
    assert len(notebook.shown[0].pages) < 20


@pytest.mark.parametrize("module", [None, SimpleNamespace(get_ipython=lambda: None)])
def test_outside_of_a_notebook_nothing_is_shown(
    module: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", module)
    NotebookProgress()(StageStarted("train", 8, "steps"))
    assert capsys.readouterr() == ("", "")
