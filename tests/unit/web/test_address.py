"""What an address asks of the page; the answer may come after the person went elsewhere."""

from pathlib import Path
from typing import Any

import pytest

from veneer.web.jobs.queue import JobBook
from veneer.web.studio import Studio
from veneer.web.workspace import Workspace

gr = pytest.importorskip("gradio")


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    place = Workspace(tmp_path / "workspace")
    place.create()
    (place.runs / "one").mkdir(parents=True)
    return Studio(place, JobBook(place))


@pytest.mark.parametrize("query", [{}, {"tab": "nowhere"}, {"run": "none"}, {"tab": "", "run": "../one"}])
def test_an_address_that_asks_nothing_changes_nothing(studio: Studio, query: dict[str, str]) -> None:
    from veneer.web.address import asked_for

    assert list(asked_for(studio, query)) == [gr.skip()] * 4


@pytest.mark.parametrize("tab", ["dataset", "recipe", "compare", "runs"])
def test_no_address_stops_the_clock_of_a_tab_opened_since(studio: Studio, tab: str) -> None:
    assert clock(studio, {"tab": tab, "run": "one"}) == gr.skip()


def test_an_address_of_train_starts_its_clock(studio: Studio) -> None:
    assert clock(studio, {"tab": "train"}).active is True


def clock(studio: Studio, query: dict[str, str]) -> Any:
    from veneer.web.address import asked_for

    return asked_for(studio, query)[3]
