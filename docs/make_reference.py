"""Write docs/reference/ from the recipe's model, the parser's commands and the public names.

python docs/make_reference.py          (tests/unit/test_docs.py fails where the pages are out of date)
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

import veneer
from veneer.cli import build_app
from veneer.config import Recipe

FOLDER = Path(__file__).parent / "reference"


def recipe_page() -> str:
    """Page of the recipe's keys.

    Returns:
        Markdown: a table for each table of a recipe.
    """
    lines = ["# Recipe keys", "", "Made from `veneer.config` by `docs/make_reference.py`.", ""]
    for name, field in Recipe.model_fields.items():
        table = type(field.default)
        lines += [f"## [{name}]", "", inspect.cleandoc(table.__doc__ or ""), ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        for key, inner in table.model_fields.items():
            default = inner.get_default(call_default_factory=True)
            lines.append(
                f"| `{key}` | {_type(inner)} | `{_default(default)}` | {_cell(inner.description or '')} |"
            )
        lines.append("")
    return "\n".join(lines)


def commands_page() -> str:
    """Page of the commands.

    Returns:
        Markdown: a section for each command, those of groups too, that says what its ``--help`` says.
    """
    lines = ["# Commands", "", "Made from the parser itself by `docs/make_reference.py`.", ""]
    lines += ["Every command takes `--help`, which says the same as its section here.", ""]
    lines += [
        "Exit status: 0 done; 1 the user's problem; 2 usage; 3 our bug (path of a log); 4 done, but the"
    ]
    lines += ["verdict is `worse`; 130 interrupted, and resumable.", ""]
    for context in _contexts(typer.main.get_command(build_app()), "veneer"):
        lines += _command_section(context)
    return "\n".join(lines)


def api_page() -> str:
    """Page of the public names.

    Returns:
        Markdown: for each name its signature and docstring.
    """
    lines = ["# Python names", "", "Made from the docstrings by `docs/make_reference.py`.", ""]
    for name in veneer.__all__:
        thing = getattr(veneer, name)
        lines += [f"## veneer.{name}", ""]
        if inspect.isfunction(thing):
            lines += ["```python", name + _signature(thing), "```", ""]
        lines += ["```text", inspect.cleandoc(thing.__doc__ or ""), "```", ""]
    return "\n".join(lines)


def pages() -> dict[str, str]:
    """Every page by file name.

    Returns:
        Markdown by file name.
    """
    return {"recipe.md": recipe_page(), "commands.md": commands_page(), "python.md": api_page()}


def _signature(thing: Any) -> str:
    signature = inspect.signature(thing)
    plain = [p if _is_plain(p.default) else p.replace(default=...) for p in signature.parameters.values()]
    text = str(signature.replace(parameters=plain))
    return text.replace("Ellipsis", "...").replace("'", "")


def _is_plain(default: Any) -> bool:
    kinds = (bool, int, float, str, type(None), type(inspect.Parameter.empty))
    return isinstance(default, kinds)


def _contexts(command: Any, name: str, parent: typer.Context | None = None) -> Iterator[typer.Context]:
    context = typer.Context(command, info_name=name, parent=parent)
    yield context
    for inner_name, inner in getattr(command, "commands", {}).items():
        yield from _contexts(inner, inner_name, context)


def _command_section(context: typer.Context) -> list[str]:
    command = context.command
    lines = [f"## {context.command_path}", "", command.help or "", ""]
    if command.params:
        lines += ["| argument or option | meaning |", "|---|---|"]
        rows = [parameter.get_help_record(context) for parameter in command.params]
        lines += [f"| `{_cell(name)}` | {_cell(meaning)} |" for name, meaning in filter(None, rows)]
        lines.append("")
    return lines


def _type(field: Any) -> str:
    text = str(field.annotation).replace("typing.", "")
    return _cell(field.annotation.__name__ if isinstance(field.annotation, type) else text)


def _default(value: Any) -> str:
    text = repr(value)
    return _cell(text if len(text) <= 60 else text[:57] + "...")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
