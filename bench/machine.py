"""The machine that figures were measured on, and the two files of a bench: plain data and a document."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from veneer.machine import hardware
from veneer.records.files import write_json, write_text
from veneer.versions import versions

RESULTS = Path(__file__).parent / "results"


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


def setting(command: str) -> dict[str, Any]:
    """What stands beside every figure.

    Args:
        command: The command that measured it.

    Returns:
        Date, command, hardware and versions.
    """
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"date": date, "command": command, "hardware": hardware(), "versions": versions()}


def heading(title: str, record: Mapping[str, Any], package: str = "torch") -> list[str]:
    """The first lines of a document.

    Args:
        record: What was measured, with its `setting`.
        package: The package whose version matters most; of `versions`, or a key of the record.

    Returns:
        Lines of Markdown, the last of them empty.
    """
    machine = record["hardware"]
    version = record["versions"].get(package) or record[package]
    about = f"{record['date']}, {machine['processor']}, {machine['cores']} cores; {package} {version}."
    return [f"# {title}", "", f"{about} Command: `{record['command']}`.", ""]


def about(record: Mapping[str, Any]) -> str:
    """One paragraph on a run of a speed bench: date, hardware, versions, load and command.

    Args:
        record: What was measured, with its `setting`, ``load_before`` and ``minutes``.

    Returns:
        Markdown.
    """
    machine = record["hardware"]
    packages = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    threads = f", {record['threads']} threads" if "threads" in record else ""
    return (
        f"{record['date']}; {machine['processor']}, {machine['cores']} cores{threads}, "
        f"{machine['memory_gib']} GiB; accelerator: {machine['accelerator']}; {machine['system']}. "
        f"{packages}. Load average before the run {record['load_before']}; {record['minutes']} minutes. "
        f"Command: `{record['command']}`."
    )


def write_results(kind: str, record: Mapping[str, Any], text: str, folder: Path = RESULTS) -> Path:
    """Write both files.

    Args:
        kind: What was measured, one word.
        record: Plain data, with its `setting`.
        text: The document.

    Returns:
        Path of the document; the data lie beside it as `.json`.
    """
    path = folder / f"{kind}_{machine_name()}_{record['date']}.md"
    write_json(path.with_suffix(".json"), dict(record))
    write_text(path, text)
    return path
