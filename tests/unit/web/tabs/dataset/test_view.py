"""What is made before anybody looks."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from PIL import Image

from veneer.records.dataset import Dataset, Item
from veneer.web.jobs.queue import JobBook
from veneer.web.studio import Studio
from veneer.web.tabs.dataset import gallery
from veneer.web.tabs.dataset.view import look_ahead
from veneer.web.workspace import Workspace


def test_the_first_pages_thumbnails_are_made_before_anybody_looks(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.create()
    for name, count in (("a", gallery.PAGE + 3), ("b", 2)):
        (workspace.dataset(name) / "images").mkdir(parents=True)
        items = [Item(f"images/{number:06d}.png", "") for number in range(count)]
        for number, item in enumerate(items):
            Image.new("RGB", (30, 20), (number, 0, 0)).save(workspace.dataset(name) / item.file_name)
        Dataset(workspace.dataset(name)).write_metadata(items)
    look_ahead(Studio(workspace, JobBook(workspace)))
    wait_for_thumbnails()
    assert len(list(workspace.thumbnails.rglob("*.webp"))) == gallery.PAGE


def test_looking_ahead_at_a_broken_data_set_is_silent(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    workspace = Workspace(tmp_path)
    workspace.create()
    workspace.dataset("a").mkdir()
    Dataset(workspace.dataset("a")).metadata_csv.write_text("nonsense")
    look_ahead(Studio(workspace, JobBook(workspace)))
    wait_for_thumbnails()
    assert not recwarn.list  # pytest warns of an exception in a thread
    assert not workspace.thumbnails.exists()


def wait_for_thumbnails() -> None:
    for thread in threading.enumerate():
        if thread.name == "veneer-thumbnails":
            thread.join(10)
