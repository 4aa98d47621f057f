"""One step of a training, chosen before the loop: done word by word, or recorded once and replayed.

A small network keeps a GPU waiting for Python, which names a thousand operations a step one by one. A CUDA
graph is the whole step (forward, backward, clipping, optimizer, average) recorded once. Only the batch and
two numbers (``Trainee.set_step_numbers``) differ from step to step; they are written where the graph reads
them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from veneer.processes import num_processes, sum_in_place

from .device import quick_attention
from .telling import tell
from .trainee import Trainee

MAX_GRAD_NORM = 1.0
NUM_WARM_STEPS = 3
"""Steps before the recording: libraries choose their kernels, the optimizer makes its state."""

Batch = Sequence[Tensor]
BatchLoss = Callable[..., Tensor]


class EagerStep:
    """Forward, backward and all that a step changes.

    Args:
        trainee: Changed in place.
        batch_loss: Loss of the tensors of a batch, scalar.
    """

    def __init__(self, trainee: Trainee, batch_loss: BatchLoss) -> None:
        self.trainee, self.batch_loss = trainee, batch_loss
        self.parameters = [p for group in trainee.optimizer.param_groups for p in group["params"]]

    def __call__(self, batch: Batch) -> Tensor:
        """Learn from a batch; its loss."""
        with quick_attention():
            loss = self.batch_loss(*batch)
            loss.backward()
        _average_gradients(self.parameters)
        nn.utils.clip_grad_norm_(self.parameters, MAX_GRAD_NORM)
        self.trainee.optimizer.step()
        self.trainee.optimizer.zero_grad(set_to_none=True)
        self.trainee.update_ema()
        return loss.detach()


class StaticStep(EagerStep):
    """The same, from tensors that stay where they are: a batch is copied into them."""

    def __init__(self, trainee: Trainee, batch_loss: BatchLoss) -> None:
        super().__init__(trainee, batch_loss)
        self.static: list[Tensor] = []

    def __call__(self, batch: Batch) -> Tensor:
        """Learn from a batch; its loss."""
        if not self.static:
            self.static = [part.clone() for part in batch]
        for ours, new in zip(self.static, batch, strict=True):
            ours.copy_(new)
        return self.learn()

    def learn(self) -> Tensor:
        """One step from what the static tensors hold; its loss."""
        return super().__call__(self.static)


class GraphStep(StaticStep):
    """The same as a CUDA graph: the first steps as they are, the next one recorded, from then on replayed."""

    def __init__(self, trainee: Trainee, batch_loss: BatchLoss) -> None:
        super().__init__(trainee, batch_loss)
        self.num_done, self.is_refused = 0, False
        self.side: torch.cuda.Stream | None = None
        self.replay: Callable[[], Tensor] | None = None

    def learn(self) -> Tensor:
        """One step; where the recording fails, a line says so and every step is done word by word."""
        self.num_done += 1
        if self.is_refused:
            return super().learn()
        if self.num_done <= NUM_WARM_STEPS:
            with self.beside_the_main_stream():
                return super().learn()
        if self.replay is None:
            self.replay = self._recorded()
        return self.replay() if self.replay else self.learn()

    def _recorded(self) -> Callable[[], Tensor] | None:
        name = self.trainee.folder.name
        try:
            replay = self.record()
        except RuntimeError as problem:
            self.is_refused = True
            self.trainee.optimizer.zero_grad(set_to_none=True)
            tell(name, f"no CUDA graph, steps go on one operation at a time ({first_line(problem)})")
            return None
        tell(name, "the step is a CUDA graph")
        return replay

    def record(self) -> Callable[[], Tensor]:
        """Record a step without doing it.

        Returns:
            What does it, and gives its loss.

        Raises:
            RuntimeError: If something in it cannot be recorded.
        """
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = super().learn()

        def replay() -> Tensor:
            graph.replay()
            return loss.clone()

        return replay

    @contextmanager
    def beside_the_main_stream(self) -> Iterator[None]:
        """Work on another stream, as CUDA graphs ask of the steps before the recording."""
        self.side = self.side or torch.cuda.Stream()  # one: each has memory of its own
        main = torch.cuda.current_stream()
        self.side.wait_stream(main)
        with torch.cuda.stream(self.side):
            yield
        main.wait_stream(self.side)


def choose_step(trainee: Trainee, batch_loss: BatchLoss) -> EagerStep:
    """A CUDA graph on a GPU; several processes talk to each other within a step, which no graph records."""
    is_recordable = trainee.device.type == "cuda" and num_processes() == 1
    return (GraphStep if is_recordable else EagerStep)(trainee, batch_loss)


def compile_ahead(trainee: Trainee, parts: Sequence[nn.Module], batch_loss: BatchLoss, batch: Batch) -> None:
    """Compile modules by one forward and backward; where that fails, a line says so and they train without.

    Args:
        trainee: Of the training; its weights stay as they are.
        parts: Of its model, compiled in place.
        batch_loss: Loss of a batch, through these modules.
        batch: Of the shapes that the training will have; its values say nothing.
    """
    name, began = trainee.folder.name, time.monotonic()
    trainee.model.train()
    for part in parts:
        part.compile()
    try:
        with quick_attention():
            batch_loss(*batch).backward()
        tell(name, f"compiled in {time.monotonic() - began:.0f} s")
    except Exception as problem:  # a compiler's faults are of many kinds, and the training can do without it
        for part in parts:
            part._compiled_call_impl = None
        torch._dynamo.reset()
        tell(name, f"not compiled ({first_line(problem)})")
    trainee.model.zero_grad(set_to_none=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # others train meanwhile


def first_line(problem: Exception) -> str:
    """Kind and first line of an error."""
    return f"{type(problem).__name__}: {(str(problem).splitlines() or [''])[0][:200]}"


def _average_gradients(parameters: list[nn.Parameter]) -> None:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    sum_in_place(gradients)
    if num_processes() > 1:
        torch._foreach_div_(gradients, num_processes())
