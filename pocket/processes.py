"""One training in several processes: ``torchrun --nproc-per-node 2 -m pocket unet``.

On a CPU two processes of one thread each learn from a third more pictures a second than one process of two
threads, since nothing in a step of so small a network is worth dividing. Every process draws the same
batch, takes its share of it and averages the gradients with the others, so the weights stay equal.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn


def join() -> None:
    """Meet the other processes, where torchrun started several."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("gloo")


def leave() -> None:
    """Part from the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def is_first() -> bool:
    """Whether this process writes files."""
    return not dist.is_initialized() or dist.get_rank() == 0


@contextmanager
def first_before_others() -> Iterator[None]:
    """Let the first process make what the others then read."""
    if not is_first():
        dist.barrier()
    yield
    if is_first() and dist.is_initialized():
        dist.barrier()


def own_share(rows: Tensor) -> Tensor:
    """This process's rows of what all have drawn alike, (B, ...) => (B / processes, ...).

    Raises:
        ValueError: The processes don't divide the rows.
    """
    if not dist.is_initialized():
        return rows
    num = dist.get_world_size()
    if len(rows) % num:
        raise ValueError(f"{len(rows)} samples a step cannot be shared by {num} processes")
    return rows[dist.get_rank() :: num]


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Give all processes the mean of their gradients."""
    if not dist.is_initialized():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat.div_(dist.get_world_size())
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def agreed(is_wished: bool) -> bool:
    """Whether any process wishes it; all get the same answer."""
    if not dist.is_initialized():
        return is_wished
    wishes = torch.tensor([float(is_wished)])
    dist.all_reduce(wishes, op=dist.ReduceOp.MAX)
    return bool(wishes.item())
