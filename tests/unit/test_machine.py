"""The machine: threads, memory, devices."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from veneer import machine
from veneer.errors import RecipeError


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux")
def test_each_measurement_has_a_peak_of_its_own() -> None:
    with machine.measure() as usage:
        block = bytearray(os.urandom(1) * 200_000_000)
        first = usage()
    del block
    with machine.measure() as usage:
        second = usage()
    assert first.peak_memory_gib > second.peak_memory_gib + 0.1
    assert first.seconds > 0
    assert first.peak_device_memory_gib == 0 or torch.cuda.is_available()


def test_threads_are_set_unless_the_user_did(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    machine.set_threads()
    assert torch.get_num_threads() == before
    assert float(torch.tensor(1e-40) * 1) == 0 or not torch.set_flush_denormal(True)


def test_devices_that_are_not_there_are_refused() -> None:
    with pytest.raises(RecipeError, match="no such device"):
        machine.pick_device("cuda:99")
    assert machine.pick_device("cpu").type == "cpu"


def test_out_of_memory_is_recognised() -> None:
    assert machine.is_out_of_memory(torch.OutOfMemoryError("x"))
    assert machine.is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not machine.is_out_of_memory(RuntimeError("shapes do not fit"))


def test_side_threads_compute_alone_and_leave_the_main_one_its_cores() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with machine.side_threads(2, "beside") as pool:
            assert [pool.submit(torch.get_num_threads).result() for _ in range(4)] == [1] * 4
            assert pool.submit(lambda: threading.current_thread().name).result().startswith("beside")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_freed_memory_is_kept_in_the_block_and_handed_back_after_it() -> None:
    def resident_mib() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def take_and_free() -> None:
        torch.ones(256 * 2**20 // 4)

    before = resident_mib()
    with machine.keeping_freed_memory():
        take_and_free()
        assert resident_mib() > before + 200
    assert resident_mib() < before + 100
    take_and_free()
    assert resident_mib() < before + 100


def test_where_there_is_no_such_library_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "CDLL", asked.append)
    with machine.keeping_freed_memory():
        torch.ones(1)
    assert not asked


def test_free_memory_is_at_most_what_a_container_may_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_MEMORY_LIMIT", limit)
    free = machine.free_memory()
    assert free > 2**26
    limit.write_text("max\n")
    assert machine.free_memory() > free / 2
    limit.write_text(f"{2**25}\n")
    assert machine.free_memory() == 2**25


def test_measuring_makes_no_context_and_hands_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    for name in ("reset_peak_memory_stats", "empty_cache", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: called.append(name) or 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    with machine.measure() as usage:
        assert usage().peak_device_memory_gib == 0
    assert called == []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with machine.measure() as usage:
        assert usage().peak_device_memory_gib == 1
    assert called == ["reset_peak_memory_stats", "max_memory_allocated", "empty_cache"]


@pytest.mark.parametrize(
    ("words", "is_memory"),
    [
        ("could not create a primitive", True),
        ("could not create a memory object", True),
        ("could not create a primitive descriptor for a convolution forward propagation primitive", False),
        ("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried", True),
        ("CUDA out of memory. Tried to allocate 2 GiB", True),
        ("mat1 and mat2 shapes cannot be multiplied", False),
    ],
)
def test_want_of_memory_is_known_by_its_words(words: str, is_memory: bool) -> None:
    assert machine.is_out_of_memory(RuntimeError(words)) == is_memory
