"""What an address asks of the page; the answer may come after the person went elsewhere."""

from pathlib import Path

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
    (place.runs / "one" / "recipe.toml").touch()
    return Studio(place, JobBook(place))


@pytest.mark.parametrize("query", [{}, {"tab": "nowhere"}, {"run": "none"}, {"tab": "", "run": "../one"}])
def test_an_address_that_asks_nothing_changes_nothing(studio: Studio, query: dict[str, str]) -> None:
    from veneer.web.address import asked_for

    assert list(asked_for(studio, query)) == [gr.skip()] * 2


def test_an_address_shows_its_run(studio: Studio) -> None:
    from veneer.web.address import asked_for

    assert [shown["value"] for shown in asked_for(studio, {"tab": "train", "run": "one"})] == ["one"] * 2
