"""The data stages over one local Ray cluster: the bytes of one machine, and nothing lost with a worker."""

import contextlib
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from helpers.clusterruns import contents, odd_recipe, odd_sources
from helpers.training import copy_run, encoded_run, recipe_for, train_child, weights_hashes
from helpers.twoprocesses import in_two_processes
from helpers.webserver import web_server
from veneer import pipeline
from veneer.captions import captioning
from veneer.captions.records import append_journal
from veneer.cluster import checking, encoding
from veneer.cluster.pool import Pool
from veneer.cluster.stages import OVER
from veneer.config import Recipe
from veneer.data.measured import read_measures
from veneer.errors import DatasetError, RunError
from veneer.events import CheckpointEvent, Event, Notice, ignore
from veneer.records.dataset import Dataset
from veneer.records.run import RunDir

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The one cluster of these tests; two processes work at once."""
    pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[cluster]'")
    from veneer.cluster.session import connected

    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - else they starve on a busy machine
    with connected("local", tmp_path_factory.getbasetemp(), workers=2) as found:
        yield found


@pytest.fixture(scope="module")
def recipe(
    base_folder: Path, blip_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Recipe]:
    with web_server() as web:
        sources = odd_sources(tmp_path_factory.mktemp("sources"), web, 40)
        yield odd_recipe(base_folder, blip_folder, sources)


@pytest.fixture(scope="module", autouse=True)
def small_pieces() -> Iterator[None]:
    """So that there are some to be done when a worker is killed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "ENCODED_AT_ONCE", 4)
        patch.setattr(checking, "MEASURED_AT_ONCE", 4)
        patch.setattr(captioning, "CAPTION_BATCH_SIZE", 2)
        yield


def to_encode(recipe: Recipe, root: Path, **more: Any) -> None:
    pipeline.run(recipe, root, until="encode", on_event=ignore, allow_private_addresses=True, **more)


@pytest.fixture(scope="module")
def plain(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """The run of one machine."""
    run = RunDir(tmp_path_factory.mktemp("plain") / "run")
    to_encode(recipe, run.root)
    return run


VICTIMS = {
    "Client": lambda run: any((run.dataset / ".downloads").glob("*")),
    "Standards": lambda run: _lines(run.dataset / "provenance.jsonl") > 3,
    "Inspector": lambda run: _lines(run.dataset / ".measures.jsonl") > 3,
    "Writer": lambda run: _lines(run.dataset / ".captions-0.jsonl") > 3,
    "Encoder": lambda run: any((run.cache / "latents").glob("*.safetensors")),
}
"""Workers, and when one of them is killed: as soon as there is something of its kind."""


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def kill_one_of_each(run: RunDir, killed: list[str], is_done: threading.Event) -> None:
    """End a worker of each kind with SIGKILL in the middle of its work."""
    while len(killed) < len(VICTIMS) and not is_done.wait(0.01):
        for kind in VICTIMS.keys() - set(killed):
            if not VICTIMS[kind](run):
                continue
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if f"ray::{kind}" in " ".join(process.cmdline()):
                        process.kill()
                        killed.append(kind)
                        break


def test_the_run_is_that_of_one_machine_though_a_worker_is_killed_in_every_stage(
    session: Any, plain: RunDir, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described: Counter[tuple[str, int]] = Counter()

    def counting(dataset: Dataset, rank: int, new: Any) -> None:
        described.update((record.file_name, record.attempts) for record in new)
        append_journal(dataset, rank, new)

    monkeypatch.setattr(captioning, "append_journal", counting)
    run, killed, is_done = RunDir(tmp_path / "run"), list[str](), threading.Event()
    watcher = threading.Thread(target=kill_one_of_each, args=(run, killed, is_done), daemon=True)
    watcher.start()
    try:
        to_encode(recipe, run.root, instead={name: partial(one, session) for name, one in OVER.items()})
    finally:
        is_done.set()
        watcher.join()
    assert {"Standards", "Inspector", "Writer", "Encoder"} <= set(killed)
    assert contents(run.dataset) == contents(plain.dataset)
    assert contents(run.cache) == contents(plain.cache)
    assert set(described.values()) == {1}  # no caption was asked for twice


class Unable:
    """A worker that cannot start, as one without a library."""

    def __init__(self) -> None:
        raise ImportError("no library of this name")

    def work(self, _: object) -> None:
        """Nothing."""


def test_workers_that_cannot_start_are_told_of(session: Any) -> None:
    with (
        pytest.raises(RunError, match=r"cannot go on: .*no library of this name"),
        Pool(session, Unable) as one,
    ):
        list(one.as_they_end("work", [1, 2, 3]))


def test_a_picture_that_cannot_be_used_ends_the_work_with_its_name(
    session: Any, plain: RunDir, recipe: Recipe, tmp_path: Path
) -> None:
    shutil.copytree(plain.dataset, tmp_path / "run" / "dataset")
    run = RunDir(tmp_path / "run")
    first = run.dataset / Dataset(run.dataset).picture_names()[0]
    first.write_bytes(first.read_bytes()[:60])
    run.dataset.joinpath(".measures.jsonl").unlink()
    checking.fill_measures(session, run)
    known = read_measures(Dataset(run.dataset))
    broken = [name for name, (_, seen) in known.items() if isinstance(seen, str)]
    assert broken == [first.relative_to(run.dataset).as_posix()]
    with pytest.raises(DatasetError, match=first.name):
        encoding.encode_over(session, run, recipe)


def test_training_is_that_of_two_processes_though_one_of_them_is_killed(
    session: Any, base_folder: Path, tmp_path: Path
) -> None:
    train = {"train_batch_size": 2, "max_train_steps": 8, "checkpointing_steps": 2}
    recipe = recipe_for(base_folder, train=train)
    torchrun = encoded_run(tmp_path / "torchrun", recipe)
    ours = copy_run(torchrun, tmp_path / "ours")
    in_two_processes(train_child, torchrun, recipe)
    told: list[Event] = []
    killed: list[int] = []

    def listen(event: Event) -> None:
        told.append(event)
        if isinstance(event, CheckpointEvent) and not killed:
            victim = next(
                one
                for one in psutil.Process().children(recursive=True)
                if "ray::Trainee" in " ".join(one.cmdline())
            )
            victim.kill()
            killed.append(victim.pid)

    OVER["train"](session, ours, recipe, listen)
    assert killed
    assert [one.code for one in told if isinstance(one, Notice)].count("worker-lost") == 1
    assert weights_hashes(ours) == weights_hashes(torchrun)
    assert len(weights_hashes(ours)) > 2
