"""What a machine is called in the names of result files."""

from __future__ import annotations

import re

from veneer.versions import hardware


def machine_name(*, has_gpu: bool = False) -> str:
    """Name this machine.

    Args:
        has_gpu: Whether the figures are of its accelerator.

    Returns:
        The accelerator, or processor and cores: lower case, words joined by "-".
    """
    machine = hardware()
    name = str(machine["accelerator"]) if has_gpu else f"{machine['processor']}-{machine['cores']}-cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
