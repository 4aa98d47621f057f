"""A cluster that answers, whose machines have this Veneer and see the run's folder."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from veneer.errors import RunError
from veneer.versions import VERSION

LOCAL = "local"
"""Address of a cluster that is started on this machine, and ends with the command."""
FEWEST_CPUS = 4
"""Logical processors of a local cluster: with two, work that waits for other work may wait for ever."""
ANSWER_SECONDS = 5.0
"""How long an address may take to answer."""
ASK_SECONDS = 120.0
"""How long a machine may take to start a process and tell of itself."""


@dataclass(frozen=True)
class Session:
    """A cluster that can be worked on.

    Attributes:
        cpus: Processors that can be asked for; a cluster on this machine offers more than there are.
        usual: Processes that work at once on processors, unless told otherwise.
        gpus: GPUs that it has.
        machines: Machines that it has.
        workers: Processes that work at once; 0 for as many as fit.
        gpu_share: Share of a GPU that each process with a model gets.
    """

    cpus: int
    usual: int
    gpus: int = 0
    machines: int = 1
    workers: int = 0
    gpu_share: float = 1.0

    def processes_of(self, *, is_model: bool) -> tuple[int, float]:
        """How many processes work at once, and the share of a GPU that each gets; 0 without one."""
        share = self.gpu_share if is_model and self.gpus else 0.0
        fit, usual = (int(self.gpus / share),) * 2 if share else (self.cpus, self.usual)
        return max(1, min(fit, self.workers or usual)), share


@contextlib.contextmanager
def connected(address: str, folder: Path, *, workers: int = 0, gpu_share: float = 1.0) -> Iterator[Session]:
    """Work on a cluster.

    Args:
        address: ``HOST:PORT``, ``ray://HOST:PORT``, ``auto``, or ``local`` for one on this machine.
        folder: The run's folder, which every machine has to see.
        workers: Processes that work at once; 0 for as many as there are GPUs or, without, processors.
        gpu_share: Share of a GPU that each process with a model gets: 0.5 for two on each.

    Yields:
        The cluster.

    Raises:
        RunError: If ray is not installed, the address does not answer, or a machine has another version of
            Veneer or does not see the folder.
    """
    ray = import_ray()
    refuse_silence(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    own = not ray.is_initialized()
    if own:
        _start(ray, address, workers)
    try:
        _refuse_machines(ray, folder)
        yield _session(ray, address, workers, gpu_share)
    finally:
        if own:
            ray.shutdown()


def _session(ray: Any, address: str, workers: int, gpu_share: float) -> Session:
    found = ray.cluster_resources()
    cpus, gpus = int(found.get("CPU", 1)), int(found.get("GPU", 0))
    machines = sum(bool(node["Alive"]) for node in ray.nodes())
    return Session(cpus, _real_cpus(address, cpus), gpus, machines, workers, gpu_share)


def import_ray() -> Any:
    """Import ray.

    Raises:
        RunError: If it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        todo = "pip install 'veneer[cluster]', or leave --cluster out"
        raise RunError("ray is not installed", where="--cluster", todo=todo) from error
    return ray


def _start(ray: Any, address: str, workers: int) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == LOCAL:
            cpus = max(FEWEST_CPUS, workers, os.cpu_count() or 1)
            ray.init(num_cpus=cpus, include_dashboard=False, **options)
        else:
            ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise _no_answer(address, str(error).strip().splitlines()[0]) from error


def refuse_silence(address: str) -> None:
    """Refuse an address at which nobody listens, in seconds instead of ray's minutes.

    Raises:
        RunError: If it is no address, or does not answer.
    """
    if address in {LOCAL, "auto"}:
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not host or not port.isdigit():
        todo = "Write it as HOST:PORT, ray://HOST:PORT, auto or local"
        raise RunError("not the address of a cluster", where=f"--cluster {address}", todo=todo)
    try:
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_answer(address, str(error)) from error


def _no_answer(address: str, why: str) -> RunError:
    todo = "Start one with `ray start --head`, look at the address with `ray status`, or use --cluster local"
    return RunError(f"no cluster answers: {why}", where=f"--cluster {address}", todo=todo)


def _refuse_machines(ray: Any, folder: Path) -> None:
    """Ask every machine for its version of Veneer, and whether it sees the run's folder.

    Raises:
        RunError: If one differs.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0)(machine_facts)
    asked = {
        node["NodeManagerHostname"]: ask.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(str(folder.resolve()))
        for node in ray.nodes()
        if node["Alive"]
    }
    for host, answer in asked.items():
        try:
            version, is_seen = ray.get(answer, timeout=ASK_SECONDS)
        except Exception as error:  # a worker that cannot even import us
            why = str(error).strip().splitlines()[-1]
            todo = f"Install veneer {VERSION} there, with the extra `cluster`"
            raise RunError(
                f"a machine of the cluster cannot run Veneer: {why}", where=host, todo=todo
            ) from error
        refuse_machine(host, version, folder if not is_seen else None)


def refuse_machine(host: str, version: str, unseen: Path | None) -> None:
    """Refuse a machine that would make something else, or nothing.

    Args:
        version: Its version of Veneer.
        unseen: A folder that it does not see; None where it sees all.

    Raises:
        RunError: If it has another version, or does not see the folder.
    """
    if version != VERSION:
        what = f"a machine of the cluster has veneer {version}, this one {VERSION}"
        raise RunError(what, where=host, todo="Install the same version on all of them")
    if unseen is not None:
        todo = "Put the run on a disk that every machine has under the same path"
        raise RunError(f"a machine of the cluster does not see {unseen}", where=host, todo=todo)


def machine_facts(folder: str) -> tuple[str, bool]:
    """What a machine says of itself: its version of Veneer, and whether it sees a folder."""
    from veneer import versions

    return versions.VERSION, Path(folder).is_dir()


def _real_cpus(address: str, cpus: int) -> int:
    """Processes for so many processors; a local cluster counts more than there are."""
    return min(cpus, os.cpu_count() or 1) if address == LOCAL else cpus
