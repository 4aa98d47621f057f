"""Training followed in TensorBoard, Weights & Biases or trackio, fed by the event stream and nothing else.

Whatever is written lies on this machine: W&B runs offline unless the user's own ``WANDB_MODE`` says
otherwise, and trackio has no Space. A stage that sends no numbers opens nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, get_args

from veneer.choices import TrackerName
from veneer.errors import RunError
from veneer.events import Event, Notice, OnEvent, PreviewEvent, StageFinished, StepEvent, ValidationEvent
from veneer.records.metrics import Metrics
from veneer.records.run import RunDir

TRACKERS: tuple[TrackerName, ...] = get_args(TrackerName)
PROJECT = "veneer"


class _Board(Protocol):
    def numbers(self, values: Mapping[str, float], step: int) -> None: ...
    def picture(self, name: str, path: Path, step: int) -> None: ...
    def close(self, last: Mapping[str, Any]) -> None: ...


class Tracking:
    """Passes events on, and their numbers to trackers; use as a context manager.

    Args:
        names: Trackers; none for none.
        run: The run that is followed.

    Raises:
        RunError: On entering, if a tracker is not installed.
    """

    def __init__(self, names: Sequence[TrackerName], run: RunDir, on_event: OnEvent) -> None:
        self._names, self._run, self._on_event = names, run, on_event
        self._boards: list[_Board] = []
        self._step, self._seconds = 0, 0.0

    def __enter__(self) -> Tracking:
        missing = [name for name in self._names if find_spec(name) is None]
        if missing:
            todo = "Install the extra: pip install 'veneer[track]'"
            raise RunError(f"{' and '.join(missing)} not installed", where="--track", todo=todo)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        last = self._verdict() if error is None else {"ended": type(error).__name__}
        for board in self._boards:
            board.close(last)

    def __call__(self, event: Event) -> None:
        """Pass an event on; its numbers go to the trackers, from one process of several."""
        self._on_event(event)
        if not self._names or os.environ.get("RANK", "0") != "0":
            return
        match event:
            case StepEvent():
                self._step = event.step
                self._write({f"train/{name}": value for name, value in numbers_of_step(event).items()})
            case ValidationEvent():
                self._step = max(self._step, event.step)
                self._write({f"validation/{event.candidate}": event.loss})
            case PreviewEvent():
                for board in self._open():
                    board.picture("preview", event.path, max(self._step, event.step))
            case StageFinished() if self._boards and not event.skipped:
                self._write({f"seconds/{event.stage}": event.seconds})

    def _write(self, values: Mapping[str, float]) -> None:
        for board in self._open():
            board.numbers(values, self._step)

    def _open(self) -> list[_Board]:
        if not self._boards:
            settings = self._run.read_recipe().model_dump(mode="json")
            folder = self._run.tracking
            folder.mkdir(parents=True, exist_ok=True)
            self._boards = [_BOARDS[name](self._run.name, folder, settings) for name in self._names]
            what = f"{', '.join(self._names)}: numbers in {folder}, none of them sent anywhere"
            if "trackio" in self._names:
                what = f"{', '.join(self._names)}: trackio keeps its own (`trackio show`), others {folder}"
            self._on_event(Notice("train", "tracked", what, is_passing=True))
        return self._boards

    def _verdict(self) -> dict[str, Any]:
        if not self._run.metrics_json.is_file():
            return {}
        metrics = Metrics.of(self._run)
        deltas = {name: one["delta"] for name, one in metrics.measures.items() if one is not None}
        return {"verdict": metrics.verdict, **{f"change/{name}": delta for name, delta in deltas.items()}}


def numbers_of_step(event: StepEvent) -> dict[str, float]:
    """Numbers of a step, by name; units as `StepEvent` has them."""
    return {
        "loss": event.loss,
        "lr": event.lr,
        "grad_norm": event.grad_norm,
        "grad_norm_clipped": event.grad_norm_clipped,
        "images_per_second": event.images_per_second,
        "seconds": event.seconds,
    }


class _TensorBoard:
    def __init__(self, name: str, folder: Path, settings: Mapping[str, Any]) -> None:
        module = importlib.import_module("torch.utils.tensorboard")
        self._writer = module.SummaryWriter(str(folder / "tensorboard"))
        self._writer.add_text("recipe", "\n".join(f"    {table}: {keys}" for table, keys in settings.items()))

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, name: str, path: Path, step: int) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(path) as picture:
            self._writer.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    def close(self, last: Mapping[str, Any]) -> None:
        for name, value in last.items():
            if isinstance(value, str):
                self._writer.add_text(name, value)
            else:
                self._writer.add_scalar(name, value, 0)
        self._writer.close()


class _Wandb:
    def __init__(self, name: str, folder: Path, settings: Mapping[str, Any]) -> None:
        self._module = importlib.import_module("wandb")
        self._run = self._module.init(
            project=PROJECT,
            name=name,
            dir=str(folder),
            config=dict(settings),
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=self._module.Settings(silent=True, console="off"),
        )

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def picture(self, name: str, path: Path, step: int) -> None:
        self._run.log({name: self._module.Image(str(path))}, step=step)

    def close(self, last: Mapping[str, Any]) -> None:
        self._run.summary.update(dict(last))
        self._run.finish()


class _Trackio:
    def __init__(self, name: str, folder: Path, settings: Mapping[str, Any]) -> None:
        self._module = importlib.import_module("trackio")
        own: dict[str, Any] = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
        with _words_to_stderr():
            self._run = self._module.init(project=PROJECT, name=name, config=dict(settings), **own)

    def numbers(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def picture(self, name: str, path: Path, step: int) -> None:
        self._run.log({name: self._module.Image(str(path))}, step=step)

    def close(self, last: Mapping[str, Any]) -> None:
        with _words_to_stderr():
            if last:
                self._run.log(dict(last))
            self._module.finish()


@contextlib.contextmanager
def _words_to_stderr() -> Iterator[None]:
    """Its greetings are no result of ours: ``--json`` prints one object on stdout."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


_BOARDS: Mapping[str, Any] = {"tensorboard": _TensorBoard, "wandb": _Wandb, "trackio": _Trackio}
