"""The data stages over one local Ray cluster: the bytes of one machine, and nothing lost with a worker."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from helpers.tiny import tiny_pictures
from veneer import pipeline
from veneer.config import Recipe
from veneer.errors import DatasetError, RunError
from veneer.events import OnEvent
from veneer.recipe import resolve
from veneer.records.dataset import Dataset
from veneer.records.run import RunDir

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The one cluster of these tests; two processes work at once."""
    pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[cluster]'")
    from veneer.cluster.session import connected

    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - else they starve on a busy machine
    with connected("local", tmp_path_factory.getbasetemp(), workers=2) as found:
        yield found


@pytest.fixture(scope="module")
def recipe(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    pictures = tiny_pictures(tmp_path_factory.mktemp("sources") / "pictures", 40)
    for number, path in enumerate(sorted(pictures.iterdir())):
        path.rename(path.with_stem(f"picture of number {number}"))
    return resolve(
        {
            "base": {"model": str(base_folder)},
            "collect": {"sources": [str(pictures)]},
            "caption": {"model": "none"},
            "encode": {"resolution": 32},
            "compare": {"embedder": "pocket"},
        }
    )


@pytest.fixture(scope="module")
def plain(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """The run of one machine."""
    run = RunDir(tmp_path_factory.mktemp("plain") / "run")
    pipeline.run(recipe, run.root, until="encode")
    return run


def fresh(root: Path, recipe: Recipe) -> RunDir:
    """The same pictures, neither measured nor encoded."""
    run = RunDir(root / "run")
    pipeline.run(recipe, run.root, until="collect")
    return run


def contents(folder: Path) -> dict[str, bytes]:
    """All files but those that name times and places."""
    told = {"provenance.jsonl", "check.html"}
    files = [
        path for path in folder.rglob("*") if path.is_file() and path.name[0] != "." and path.name not in told
    ]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_run_is_that_of_one_machine_to_the_byte(
    session: Any, plain: RunDir, recipe: Recipe, tmp_path: Path
) -> None:
    from veneer.cluster.filling import FILLED

    filled, written = {}, {}

    def fill(stage: str, run: RunDir, recipe: Recipe, on_event: OnEvent) -> None:
        filled[stage] = FILLED[stage](session, run, recipe, on_event)
        written.update({path: path.stat().st_mtime_ns for path in run.cache.glob("*/*")})

    run = RunDir(tmp_path / "run")
    ahead = {stage: partial(fill, stage) for stage in FILLED}
    pipeline.run(recipe, run.root, until="encode", ahead=ahead)
    assert filled == {"check": 40, "encode": 40}
    assert written and {path: path.stat().st_mtime_ns for path in written} == written  # the stage found them
    assert contents(run.dataset) == contents(plain.dataset)
    assert contents(run.cache) == contents(plain.cache)
    pipeline.run(recipe, run.root, redo=["check", "encode"], until="encode", ahead=ahead)
    assert filled == {"check": 0, "encode": 0}


def test_a_worker_that_is_killed_loses_nothing_and_nothing_is_done_twice(
    session: Any, plain: RunDir, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from veneer.cluster import encoding

    monkeypatch.setattr(encoding, "ENCODED_AT_ONCE", 4)
    run = fresh(tmp_path, recipe)
    pipeline.run(recipe, run.root, until="caption")
    killed: list[int] = []
    watcher = threading.Thread(target=kill_an_encoder, args=(run, killed), daemon=True)
    watcher.start()
    encoding.fill_cache(session, run, recipe)
    watcher.join(1)
    assert len(killed) == 1
    pipeline.run(recipe, run.root, until="encode")
    assert contents(run.cache) == contents(plain.cache)


def kill_an_encoder(run: RunDir, killed: list[int]) -> None:
    """End one worker as soon as the first latents are there."""
    until = time.monotonic() + 300
    while not killed and time.monotonic() < until:
        time.sleep(0.02)
        if not any((run.cache / "latents").glob("*.safetensors")):
            continue
        for process in psutil.Process().children(recursive=True):
            if "ray::Encoder" in " ".join(process.cmdline()):
                os.kill(process.pid, signal.SIGKILL)
                killed.append(process.pid)
                return


class Unable:
    """A worker that cannot start, as one without a library."""

    def __init__(self) -> None:
        raise ImportError("no library of this name")

    def work(self, _: object) -> None:
        """Nothing."""


def test_workers_that_cannot_start_are_told_of(session: Any) -> None:
    from veneer.cluster.pool import spread

    with pytest.raises(RunError, match=r"cannot go on: .*no library of this name"):
        list(spread(session, Unable, (), "work", [1, 2, 3]))


def test_a_picture_that_cannot_be_used_ends_the_work_with_its_name(
    session: Any, plain: RunDir, recipe: Recipe, tmp_path: Path
) -> None:
    from veneer.cluster.checking import fill_measures
    from veneer.data.measured import read_measures

    shutil.copytree(plain.dataset, tmp_path / "run" / "dataset")
    run = RunDir(tmp_path / "run")
    first = run.dataset / Dataset(run.dataset).picture_names()[0]
    first.write_bytes(first.read_bytes()[:60])
    run.dataset.joinpath(".measures.jsonl").unlink()
    fill_measures(session, run, recipe)
    known = read_measures(Dataset(run.dataset))
    broken = [name for name, (_, seen) in known.items() if isinstance(seen, str)]
    assert broken == [first.relative_to(run.dataset).as_posix()]
    from veneer.cluster.encoding import fill_cache

    with pytest.raises(DatasetError, match=first.name):
        fill_cache(session, run, recipe)
