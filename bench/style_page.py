"""The style bench's newest results in docs/measured.md, between two marks: ``python -m bench.style_page``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.style_systems import BASE
from bench.style_tables import ALL_STYLES, RESULTS, TITLES, number
from veneer.records.files import write_text

BEGIN = "<!-- style bench: written by python -m bench.style_page -->"
END = "<!-- end of style bench -->"
PAGE = RESULTS.parent.parent / "docs/measured.md"
COLUMNS = {
    "similarity": "similarity to the true picture",
    "first": "true picture ranked first",
    "styled": "style recognised",
    "texture": "texture, distance to the style's",
    "prompt": "CLIP-T",
    "drift": "drift",
}
IN_WORDS = {
    "style": "style (log odds)",
    "texture": "texture distance",
    "similarity": "similarity",
    "prompt": "CLIP-T",
}


def newest_results(folder: Path = RESULTS) -> Path:
    """Find the newest results of the style bench.

    Returns:
        The JSON file whose name has the latest date.

    Raises:
        SystemExit: If there is none.
    """
    found = sorted(folder.glob("style_*.json"), key=lambda path: path.stem.rpartition("_")[2])
    if not found:
        raise SystemExit(f"{folder}: no results of the style bench; make them with `make bench-style`")
    return found[-1]


def section(results: Mapping[str, Any], document: str) -> str:
    """The style bench's table and its differences from the plain loop.

    Args:
        results: Content of the JSON file.
        document: Path of the document that has the rest.

    Returns:
        Markdown.
    """
    against_base = results["against"][BASE]
    if ALL_STYLES in against_base:  # style by style it stands in the document
        against_base = {ALL_STYLES: against_base[ALL_STYLES]}
    head = ["style", "system", *COLUMNS.values(), "nearer to the style than the base", "in texture"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    for style, systems in against_base.items():
        first = next(iter(systems.values()))
        cells = [number(first[name]["base"], name) for name in COLUMNS]
        lines.append(f"| {style} | {TITLES[BASE]} | " + " | ".join([*cells, "", ""]) + " |")
        for system, measures in systems.items():
            cells = [number(measures[name]["tuned"], name) for name in COLUMNS]
            cells += [f"{100 * measures[name]['wins']:.0f} %" for name in ("style", "texture")]
            lines.append(f"| | {TITLES[system]} | " + " | ".join(cells) + " |")
    text = "\n".join(lines)
    against_plain = results["against"].get("plain", {}).get(ALL_STYLES, {})
    for system in ("veneer", "veneer-third"):
        if system in against_plain:
            words = _words(against_plain[system])
            text += f"\n\n{TITLES[system]} against the plain loop, over all styles: {words}."
    return f"{text}\n\nEvery interval, the setting and the pictures are in [{document}]({document}).\n"


def _words(measures: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for name, title in IN_WORDS.items():
        one = measures[name]
        interval = "no interval" if one["ci95"] is None else "{:+.3f} to {:+.3f}".format(*one["ci95"])
        parts.append(f"{title} {one['delta']:+.3f} ({interval})")
    return ", ".join(parts)


def between_marks(page: str, text: str, mark: str = BEGIN, end_mark: str = END) -> str:
    """Put text between the marks of a page.

    Args:
        text: What goes between them.
        mark: The mark that stands before it.
        end_mark: The mark that stands after it.

    Returns:
        The page with the new text.

    Raises:
        SystemExit: If the page does not have both marks once, in their order.
    """
    head, begin, rest = page.partition(mark)
    _, end, tail = rest.partition(end_mark)
    if not begin or not end:
        raise SystemExit(f"the marks are missing; put these two lines into the page: {mark} and {end_mark}")
    return f"{head}{mark}\n{text}{end_mark}{tail}"


def main() -> None:
    """Write the page."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else newest_results()
    text = section(json.loads(path.read_text("utf-8")), f"../bench/results/{path.stem}.md")
    write_text(PAGE, between_marks(PAGE.read_text("utf-8"), text))


if __name__ == "__main__":
    main()
