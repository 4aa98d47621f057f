"""``train`` over a cluster: the processes that torchrun would start, on machines of the cluster.

The training, its sums of gradients, checkpoints and resume are those of `veneer.stages.train`. Ray starts the
processes and tells when one is gone; then all are started anew, and go on from the last checkpoint.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from veneer.cluster.pool import Answer, answering, cannot_go_on
from veneer.cluster.session import ASK_SECONDS, Session, import_ray
from veneer.config import Recipe
from veneer.errors import RunError
from veneer.events import Event, Notice, OnEvent, ignore
from veneer.records.run import RunDir
from veneer.stages import train
from veneer.stages.train import TrainResult
from veneer.training import STAGE
from veneer.training.interrupt import Interruption, watch_signals

MOST_LOST = 5
"""Times that processes may be lost before the command ends."""
LOOK_SECONDS = 0.5
"""How often events are fetched, and a wish to stop is handed on."""
Place = tuple[str, str, int]
"""A machine's id, its address and a free port of it."""


def train_over(session: Session, run: RunDir, recipe: Recipe, on_event: OnEvent = ignore) -> TrainResult:
    """The stage over a cluster.

    Raises:
        VeneerError: What training cannot go on from.
        RunError: If processes do not fit, or are lost again and again.
        KeyboardInterrupt: If the user asked to stop; the step was finished and saved.
    """
    ray = import_ray()
    for lost in range(MOST_LOST + 1):
        try:
            return _Group(session, run, recipe, on_event).train()
        except ray.exceptions.RayError as error:
            ended = cannot_go_on(error)
            if lost == MOST_LOST:
                raise ended from error
        message = f"{ended.what}; training goes on from its last checkpoint"
        on_event(Notice(STAGE, "worker-lost", message, is_passing=True))
    raise AssertionError("unreachable")


class _Group:
    """Processes that train together, once."""

    def __init__(self, session: Session, run: RunDir, recipe: Recipe, on_event: OnEvent) -> None:
        self._ray = import_ray()
        self._run, self._recipe, self._on_event = run, recipe, on_event
        self._size = processes_now(session, self._ray.cluster_resources())
        self._gpus = 1 if session.gpus else 0
        self._listener = self._ray.remote(num_cpus=0)(Listener).remote()
        one = self._ray.remote(num_cpus=1, num_gpus=self._gpus)(Trainee)
        self._members = [one.remote() for _ in range(self._size)]

    def train(self) -> TrainResult:
        try:
            with watch_signals(self._on_event) as asked:
                return self._watched(asked)
        finally:
            for actor in (*self._members, self._listener):
                self._ray.kill(actor)

    def _watched(self, asked: Interruption) -> TrainResult:
        given = (str(self._run.root.resolve()), self._recipe.model_dump_json())
        alike = zip(self._members, group_environments(self._places(), bool(self._gpus)), strict=True)
        waiting = [member.train.remote(*given, one, self._listener) for member, one in alike]
        first, results = waiting[0], {}
        while waiting:
            ended, waiting = self._ray.wait(waiting, num_returns=1, timeout=LOOK_SECONDS)
            self._pass_on(asked)
            for reference in ended:
                results[reference] = _result_of(self._ray.get(reference))
        self._pass_on(asked)
        result: TrainResult = results[first]
        return result

    def _pass_on(self, asked: Interruption) -> None:
        if asked.is_asked:
            self._listener.stop.remote()
        for event in self._ray.get(self._listener.take.remote()):
            self._on_event(event)

    def _places(self) -> list[Place]:
        asked = [member.place.remote() for member in self._members]
        try:
            places: list[Place] = self._ray.get(asked, timeout=ASK_SECONDS)
        except self._ray.exceptions.GetTimeoutError as error:
            todo = "Wait until others are done there, or ask for fewer with --workers"
            raise RunError(
                f"the cluster has no room for {self._size} processes", where="--cluster", todo=todo
            ) from error
        return places


def processes_now(session: Session, resources: Mapping[str, float]) -> int:
    """How many processes train together, by what a cluster has left.

    Args:
        resources: What it has now, in ray's names; machines may have come and gone.
    """
    if session.gpus:
        fit, usual = int(resources.get("GPU", 0)), int(resources.get("GPU", 0))
    else:
        fit, usual = int(resources.get("CPU", 1)), session.machines
    return max(1, min(session.workers or usual, fit))


def group_environments(places: Sequence[Place], has_gpus: bool) -> list[dict[str, str]]:
    """What torchrun would put into the environment of each process.

    Args:
        places: Where each is; the first one leads.
        has_gpus: Whether each sees the one GPU that is its own.
    """
    _, address, port = places[0]
    sizes, before = Counter(node for node, _, _ in places), Counter[str]()
    found = []
    for rank, (node, _, _) in enumerate(places):
        found.append(
            {
                "RANK": str(rank),
                "WORLD_SIZE": str(len(places)),
                "LOCAL_RANK": "0" if has_gpus else str(before[node]),
                "LOCAL_WORLD_SIZE": str(sizes[node]),
                "MASTER_ADDR": address,
                "MASTER_PORT": str(port),
            }
        )
        before[node] += 1
    return found


class Listener:
    """Keeps events until they are fetched, and whether to stop."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._stopped = False

    def tell(self, event: Event) -> None:
        """Keep an event."""
        self._events.append(event)

    def take(self) -> list[Event]:
        """Hand out what was kept."""
        taken, self._events = self._events, []
        return taken

    def stop(self) -> None:
        """Ask the processes to finish their step and save."""
        self._stopped = True

    def is_stopped(self) -> bool:
        """Whether they are asked to."""
        return self._stopped


class Trainee:
    """One process of a training."""

    def place(self) -> Place:
        """Where it is."""
        ray = import_ray()
        with socket.socket() as free:
            free.bind(("", 0))
            port: int = free.getsockname()[1]
        return ray.get_runtime_context().get_node_id(), ray.util.get_node_ip_address(), port

    def train(self, root: str, recipe: str, environment: Mapping[str, str], listener: Any) -> Answer:
        """Train together with the others; the value is None where it was stopped."""
        os.environ |= environment
        leads = environment["RANK"] == "0"
        if int(environment["WORLD_SIZE"]) > 1:
            torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        else:  # ray's own value is one for each processor that was asked for
            os.environ["OMP_NUM_THREADS"] = str(os.cpu_count() or 1)
            torch.set_num_threads(os.cpu_count() or 1)
        on_event: OnEvent = listener.tell.remote if leads else ignore
        if leads:
            threading.Thread(target=_heed, args=(listener,), daemon=True).start()

        def work() -> TrainResult:
            return train.run(RunDir(Path(root)), Recipe.model_validate_json(recipe), on_event)

        try:
            return answering(work)
        except KeyboardInterrupt:
            return Answer()
        finally:
            import_ray().get(listener.is_stopped.remote())  # whatever was told is there before


def _heed(listener: Any) -> None:
    """Stop this process as a signal would, when the command was asked to stop."""
    ray = import_ray()
    while not ray.get(listener.is_stopped.remote()):
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _result_of(answer: Answer) -> TrainResult:
    if answer.error is not None:
        raise answer.error
    if answer.value is None:
        raise KeyboardInterrupt
    result: TrainResult = answer.value
    return result
