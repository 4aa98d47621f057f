"""Results on stdout, as JSON or in words."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from veneer.outcomes import RunResult


def print_json(result: Any) -> None:
    """Print one JSON object.

    Args:
        result: A result of the API (a frozen object), or a mapping.
    """
    print(json.dumps(plain(result), indent=2, ensure_ascii=False))


def print_result(result: Any, *, as_json: bool, words: str | None = None) -> None:
    """Print a result as one JSON object or in words: its summary, or others."""
    if as_json:
        print_json(result)
    else:
        print(result.summary if words is None else words)


def plain(value: Any) -> Any:
    """Turn a result into plain data.

    Args:
        value: A frozen object, a mapping, a sequence, a path or a plain value.

    Returns:
        What JSON can write; pictures and tensors by their type's name.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):  # a record; pydantic itself would make `--help` wait
        return plain(value.model_dump())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else type(value).__name__


def print_run(result: RunResult) -> None:
    """Print how a run ended.

    Args:
        result: The finished run.
    """
    from veneer.proof.strengths import usage_of
    from veneer.records.run import RunDir

    folder = RunDir(result.root)
    if folder.kohya_file.is_file():
        usage = usage_of(folder, folder.read_recipe())
        print(f"LoRA:    {folder.lora_file}")
        print(f"         {folder.kohya_file}")
        print(f"use at:  {usage.scale:g}")
        for tool, line in usage.lines.items():
            print(f"  {tool}: {line}")
    print(f"verdict: {result.verdict}")
    for reason in result.reasons:
        print(f"  {reason}")
    print(f"grid:    {result.grid}")
    print(f"report:  {result.report}")
