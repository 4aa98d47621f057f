"""Processes beside this one, forked from a server that never touched the GPU."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from multiprocessing.context import ForkServerContext
from multiprocessing.pool import Pool
from multiprocessing.process import BaseProcess


def start_process(
    name: str, work: Callable[..., None], arguments: tuple, preload: Iterable[str]
) -> BaseProcess:
    """Begin a process.

    Args:
        work: What it does.
        arguments: Of ``work``.
        preload: Modules that are imported once, before the first process parts from the server.
    """
    work = partial(_work_here, dict(os.environ), work)
    process = _context(preload).Process(target=work, args=arguments, name=name)
    process.start()
    return process


def worker_pool(preload: Iterable[str]) -> Pool:
    """A process for each core that this one may use."""
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return _context(preload).Pool(num_cores, _take_environment, (dict(os.environ),))


def _context(preload: Iterable[str]) -> ForkServerContext:
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # looks for a GPU without beginning to use it
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    return context


def _work_here(environment: Mapping[str, str], work: Callable[..., None], *arguments: object) -> None:
    _take_environment(environment)
    work(*arguments)


def _take_environment(environment: Mapping[str, str]) -> None:
    """What forked this process may be older than the settings of the one that asked for it."""
    os.environ.update(environment)
