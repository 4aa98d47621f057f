"""Veneer customises Stable Diffusion with LoRA, and measures whether the result beats the base model.

The names below do all that the command line does; heavy libraries load when a name is first used::

    import veneer
    result = veneer.run("pocket-8bit", "runs/demo", {"train.max_train_steps": 60})
    print(result.verdict, result.report)
    picture = result.pipeline()("8-bit illustration of a lighthouse").images[0]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from veneer.versions import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from veneer.config import Recipe as Recipe
    from veneer.errors import VeneerError as VeneerError
    from veneer.lora.drawing import draw as draw
    from veneer.lora.info import inspect as inspect
    from veneer.pipeline import open_run as open_run
    from veneer.pipeline import run as run
    from veneer.recipe import load_recipe as load_recipe
    from veneer.records.dataset import Dataset as Dataset
    from veneer.records.run import RunDir as RunDir
    from veneer.stages.caption import caption as caption
    from veneer.stages.check import check as check
    from veneer.stages.collect import collect as collect
    from veneer.stages.compare import compare as compare
    from veneer.stages.encode import encode as encode
    from veneer.stages.export import export as export
    from veneer.stages.generate import generate as generate
    from veneer.stages.report import report as report
    from veneer.stages.train import train as train
    from veneer.trials.running import sweep as sweep

_HOMES = {
    "Dataset": "records.dataset",
    "Recipe": "config",
    "RunDir": "records.run",
    "VeneerError": "errors",
    "caption": "stages.caption",
    "check": "stages.check",
    "collect": "stages.collect",
    "compare": "stages.compare",
    "draw": "lora.drawing",
    "encode": "stages.encode",
    "export": "stages.export",
    "generate": "stages.generate",
    "inspect": "lora.info",
    "load_recipe": "recipe",
    "open_run": "pipeline",
    "report": "stages.report",
    "run": "pipeline",
    "sweep": "trials.running",
    "train": "stages.train",
}

__all__ = [
    "Dataset",
    "Recipe",
    "RunDir",
    "VeneerError",
    "caption",
    "check",
    "collect",
    "compare",
    "draw",
    "encode",
    "export",
    "generate",
    "inspect",
    "load_recipe",
    "open_run",
    "report",
    "run",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'veneer' has no attribute {name!r}")
    return getattr(importlib.import_module(f"veneer.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
