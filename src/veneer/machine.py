"""The machine that a process runs on: its device, threads and memory, and what figures call it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
import torch
from accelerate import PartialState

from veneer.cores import cores
from veneer.errors import RecipeError

_T = TypeVar("_T")
_WANT_OF_MEMORY = re.compile(
    "out of memory|not enough memory|can't allocate memory"
    r"|could not create a (primitive(?! descriptor)|memory object)"  # oneDNN's words for it
)
_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h
_USUAL_TRIM_THRESHOLD, _USUAL_MMAP_MAX = 128 * 1024, 65536


@dataclass(frozen=True)
class Usage:
    """What a piece of work took.

    Attributes:
        seconds: Wall-clock seconds.
        peak_memory_gib: Highest resident memory of this process, in GiB.
        peak_device_memory_gib: Highest memory that tensors took on the accelerator, in GiB; 0 on the CPU.
    """

    seconds: float
    peak_memory_gib: float
    peak_device_memory_gib: float


def pick_device(name: str = "auto") -> torch.device:
    """The device to run on.

    Args:
        name: "auto" for this process's accelerator or, without one, the CPU; otherwise a torch device.

    Raises:
        RecipeError: If the named device is not there.
    """
    if name == "auto":
        return torch.device(machine_state().device)
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError("no such device on this machine", where=name, todo="Use auto or cpu") from error
    return torch.device(name)


def set_threads() -> None:
    """Use the cores at hand, and count denormal numbers as zero (they are slow, and too small to matter).

    ``OMP_NUM_THREADS`` is respected where it is set.
    """
    torch.set_flush_denormal(True)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, cores() // local_processes()))
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as much for every process of a run


def side_threads(count: int, name: str) -> ThreadPoolExecutor:
    """Threads that prepare something beside the main one, each of which computes alone.

    A second thread in which torch computes on all cores brings helpers of its own. OpenMP then counts more
    threads than cores and sends the main thread's helpers to sleep after every operation: a training step
    on two cores took a tenth longer while the second thread was there, though it did next to nothing.

    Args:
        count: How many threads.
        name: What their names begin with.
    """
    return ThreadPoolExecutor(count, name, initializer=torch.set_num_threads, initargs=(1,))


@contextlib.contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Keep memory that is freed in the block for what is wanted next, instead of handing it back each time.

    A training step frees and takes the same gigabytes again and again, and the system fills each page with
    zeros before it gives it out anew. With glibc, on Linux; elsewhere nothing changes.

    Yields:
        Nothing; what is free at the end is handed back.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        yield
        return
    libc.mallopt(_M_TRIM_THRESHOLD, -1)
    libc.mallopt(_M_MMAP_MAX, 0)
    try:
        yield
    finally:
        libc.mallopt(_M_TRIM_THRESHOLD, _USUAL_TRIM_THRESHOLD)
        libc.mallopt(_M_MMAP_MAX, _USUAL_MMAP_MAX)
        libc.malloc_trim(0)


def free_memory() -> int:
    """Main memory that this process can still take.

    Returns:
        Bytes that the system has at hand, at most what a container may have in all.
    """
    free = int(psutil.virtual_memory().available)
    try:
        return min(free, int(_MEMORY_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return free


def local_processes() -> int:
    """Processes on this machine.

    Returns:
        A number from 1.
    """
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextlib.contextmanager
def measure() -> Iterator[Callable[[], Usage]]:
    """Seconds and peak memory of a block, each block with a peak of its own (on Linux).

    What the block leaves unused on an accelerator goes back to the system.

    Yields:
        A function that gives what was used so far.
    """
    _reset_peak()
    start = time.perf_counter()
    try:
        yield lambda: Usage(time.perf_counter() - start, _peak_memory_gib(), _peak_device_memory_gib())
    finally:
        hand_back_memory()


def hand_back_memory() -> None:
    """Give an accelerator's memory that no tensor holds back, for other stages and other programs."""
    if _has_context():
        gc.collect()  # modules and their hooks refer to each other
        torch.cuda.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error means that memory did not suffice.

    Args:
        error: What torch raised.

    Returns:
        True on an accelerator or the CPU.
    """
    return isinstance(error, torch.OutOfMemoryError) or _WANT_OF_MEMORY.search(str(error)) is not None


def hardware() -> dict[str, str | int | float]:
    """The machine that a figure was measured on.

    Returns:
        Processor with its instructions, cores, memory in GiB, and accelerator ("none" where there is none).
    """
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(memory_gib, 1),
        "accelerator": accelerator,
        "system": platform.platform(),
    }


def has_bf16_instructions() -> bool:
    """Whether torch computes bf16 quickly on this processor; elsewhere it converts, many times slower.

    Returns:
        False too where torch was built without oneDNN, which would be what uses them.
    """
    return bool(torch._C._has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def machine_state() -> PartialState:
    """Accelerate's view of this process and its device, made at the first call."""
    return PartialState(cpu=not torch.cuda.is_available() and not torch.backends.mps.is_available())


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        _CLEAR_REFS.write_text("5")
    if _has_context():  # asking would make one: half a gigabyte, in stages that need none
        torch.cuda.reset_peak_memory_stats()


def _peak_memory_gib() -> float:
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**20
    if sys.platform == "win32":
        return 0.0
    import resource  # not on Windows

    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _peak_device_memory_gib() -> float:
    return torch.cuda.max_memory_allocated() / 2**30 if _has_context() else 0.0


def _has_context() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _processor() -> str:
    """Name, and what decides over speed: the widest instructions that torch uses, and bf16 if it is there."""
    instructions = [torch.backends.cpu.get_cpu_capability()]
    if has_bf16_instructions():
        instructions.append("bf16")
    return f"{_model()} ({', '.join(instructions)})"


def _model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0].partition(":")[2].strip()
    return platform.processor() or platform.machine()
