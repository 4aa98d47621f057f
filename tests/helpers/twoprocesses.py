"""Two processes that work on one stage together, as torchrun starts them."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable

from veneer.config import CaptionTable, Recipe
from veneer.records.run import RunDir


def in_process(rank: int, port: int, target: Callable[..., None], root: str, recipe: Recipe) -> None:
    """What torchrun does: the environment of one of two processes."""
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    target(root, recipe)


def in_two_processes(target: Callable[..., None], run: RunDir, recipe: Recipe | CaptionTable) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["veneer.stages.train", "helpers.training"])
    children = [
        context.Process(target=in_process, args=(rank, port, target, str(run.root), recipe))
        for rank in range(2)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(180)
    assert [child.exitcode for child in children] == [0, 0]
