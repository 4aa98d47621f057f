"""Processes and devices: everything that differs between one laptop core and many nodes goes through here.

``accelerate launch`` or ``torchrun`` start the same command once for each process; a process finds its rank
in its environment. Without them there is one process and nothing is initialised.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from torch import Tensor

from veneer.config import MixedPrecision
from veneer.errors import RecipeError

T = TypeVar("T")
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

    Returns:
        The device.

    Raises:
        RecipeError: If the named device is not there.
    """
    if name == "auto":
        return torch.device(_state().device)
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError("no such device on this machine", where=name, todo="Use auto or cpu") from error
    return torch.device(name)


def accelerator(mixed_precision: MixedPrecision = "no") -> Accelerator:
    """Accelerate's view of this process: device, autocast, and sums over processes.

    Args:
        mixed_precision: Precision of the frozen base in training.

    Returns:
        The accelerator; it wraps nothing, gathers gradients only where asked, and casts on the CPU alone.

    Raises:
        RecipeError: If the device cannot compute in this precision.
    """
    device = pick_device()
    if mixed_precision == "fp16" and device.type == "cpu":
        raise RecipeError("fp16 needs an accelerator", where="train.mixed_precision", todo="Use bf16 or no")
    if mixed_precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise RecipeError("this GPU has no bf16", where="train.mixed_precision", todo="Use fp16 or no")
    AcceleratorState._reset_state()  # one process may train twice, with another precision
    # Weights and inputs are in the low precision already; CUDA's autocast would run every norm in float32.
    autocast: MixedPrecision = mixed_precision if device.type == "cpu" else "no"
    return Accelerator(mixed_precision=autocast, cpu=device.type == "cpu")


def num_processes() -> int:
    """Processes that work on this command together.

    Returns:
        A number from 1.
    """
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process.

    Returns:
        A number from 0; 0 is the main process, which alone writes what is written once.
    """
    return int(os.environ.get("RANK", "0"))


def is_main_process() -> bool:
    """Whether this is the main process.

    Returns:
        True where it is.
    """
    return rank() == 0


def wait_for_everyone() -> None:
    """Wait until every process has come here; nothing where there is one."""
    if num_processes() > 1:
        _state().wait_for_everyone()


def share_numbers(numbers: Sequence[float]) -> list[float]:
    """Sum numbers over all processes, each position by itself.

    Args:
        numbers: As many in every process.

    Returns:
        The sums, the same in every process.
    """
    if num_processes() == 1:
        return list(numbers)
    tensor = torch.tensor(numbers, dtype=torch.float64, device=_state().device)
    torch.distributed.all_reduce(tensor)
    return [float(x) for x in tensor.tolist()]


def sum_in_place(tensors: Sequence[Tensor]) -> None:
    """Sum tensors over all processes, all in one message; nothing where there is one process.

    Args:
        tensors: Of equal dtype and device, the same shapes in every process; overwritten with the sums.
    """
    if num_processes() == 1 or not tensors:
        return
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    torch.distributed.all_reduce(flat)
    for tensor, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def shard(items: Sequence[T]) -> Sequence[T]:
    """This process's share of some work: every n-th piece.

    Args:
        items: All of it, the same in the same order in every process. A list of what the disk lacks is not:
            the other processes write meanwhile. Cut first and look then, or wait before the first write.

    Returns:
        The pieces of this process; all of them where there is one process.
    """
    return items[rank() :: num_processes()]


def set_threads() -> None:
    """Use the cores at hand, and count denormal numbers as zero (they are slow, and too small to matter).

    ``OMP_NUM_THREADS`` is respected where it is set.
    """
    torch.set_flush_denormal(True)
    if "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // local_processes()))
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

    Returns:
        The pool.
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
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return any(
        words in str(error) for words in ("out of memory", "not enough memory", "can't allocate memory")
    )


def _state() -> PartialState:
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
