"""``veneer doctor``: what this machine has, and what it can do."""

from __future__ import annotations

import shutil
from pathlib import Path

from veneer.cli.options import Json
from veneer.cli.output import print_json


def doctor(as_json: Json = False) -> int:
    """Show versions, hardware, precision, disk and the extras that are installed."""
    facts = _facts()
    if as_json:
        print_json(facts)
        return 0
    for section, values in facts.items():
        print(section)
        for key, value in values.items():
            print(f"  {key:<22} {value}")
    return 0


def _facts() -> dict[str, dict[str, object]]:
    from veneer.machine import hardware
    from veneer.versions import versions

    return {
        "versions": dict(versions()),
        "machine": dict(hardware()) | _precision() | {"free_disk_gib": _free_disk_gib()},
        "extras": _extras(),
    }


def _precision() -> dict[str, object]:
    import torch

    from veneer.machine import pick_device
    from veneer.training.machine_limits import this_machine

    return {
        "device": str(pick_device()),
        "torch_threads": torch.get_num_threads(),
        "bf16": this_machine().has_bf16,
    }


def _free_disk_gib() -> float:
    return round(shutil.disk_usage(Path.cwd()).free / 2**30, 1)


def _extras() -> dict[str, object]:
    from importlib.util import find_spec

    from veneer.training.optimizers import OPTIMIZERS

    needed: dict[str, str] = {name: spec.module for name, spec in OPTIMIZERS.items() if spec.package}
    extras = {"web": "gradio", "hub": "datasets", **needed}
    return {name: "installed" if find_spec(module) else "not installed" for name, module in extras.items()}
