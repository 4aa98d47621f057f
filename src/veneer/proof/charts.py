"""Curves as SVG text whose colours are the page's own, so that they follow light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from veneer.proof.history import Curve

# Stand-ins that no chart uses otherwise; each becomes a variable of the page's style sheet.
INK, GRID = "#010203", "#010204"
LINES = ("#010205", "#010206", "#010207")
VARIABLES = {INK: "--ink", GRID: "--line", LINES[0]: "--first", LINES[1]: "--second", LINES[2]: "--third"}
MAX_POINTS = 240
SIZE_INCHES = (4.4, 2.4)


@dataclass(frozen=True)
class Line:
    """A curve of a chart.

    Attributes:
        label: Its name in the legend.
        curve: Its points.
        has_dots: Whether each point is marked, as for the few held-out losses.
    """

    label: str
    curve: Curve
    has_dots: bool = False


def draw_chart(
    title: str, lines: Sequence[Line], *, chosen_step: int | None = None, logarithmic: bool = False
) -> str:
    """Draw curves over the optimizer steps.

    Args:
        title: What the chart shows; read aloud in place of the picture.
        lines: Up to three curves; empty ones are left out.
        chosen_step: Step that gets an upright line; None for none.
        logarithmic: Whether values grow by factors.

    Returns:
        An ``<svg>`` element; an empty text where there is nothing to draw.
    """
    shown = [(line, colour) for line, colour in zip(lines, LINES, strict=False) if line.curve.steps]
    if not shown:
        return ""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 10}):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        canvas = FigureCanvasSVG(figure)  # type: ignore[no-untyped-call,unused-ignore]
        axes = figure.add_subplot()
        for line, colour in shown:
            steps, values = thin_out(line.curve)
            marker = "o" if line.has_dots else None
            axes.plot(
                steps, values, color=colour, label=line.label, marker=marker, markersize=3.5, linewidth=1.6
            )
        if chosen_step is not None:
            axes.axvline(chosen_step, color=INK, linewidth=1, linestyle=(0, (3, 3)), label="chosen")
        _dress(axes, logarithmic)
        out = io.StringIO()
        canvas.print_svg(out, metadata={"Date": None, "Creator": None})
    return _as_element(out.getvalue(), title)


def thin_out(curve: Curve) -> tuple[list[float], list[float]]:
    """Mean over stretches of steps, so that a long run stays a small picture.

    Args:
        curve: Any number of points.

    Returns:
        Steps and values, at most `MAX_POINTS` of each.
    """
    parts = min(MAX_POINTS, len(curve.steps))
    steps, values = (np.array_split(np.asarray(one, float), parts) for one in (curve.steps, curve.values))
    return [float(part.mean()) for part in steps], [float(part.mean()) for part in values]


def _dress(axes: Any, logarithmic: bool) -> None:
    axes.set_xlabel("step", color=INK)
    if logarithmic:
        axes.set_yscale("log")
    axes.tick_params(colors=INK, which="both")
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(INK)
    axes.patch.set_visible(False)
    axes.figure.patch.set_visible(False)
    if len(axes.get_lines()) > 1:
        axes.legend(frameon=False, labelcolor=INK)


def _as_element(document: str, title: str) -> str:
    """Cut the XML head off, and let colours and letters come from the page."""
    svg = document[document.index("<svg") :]
    for part in (r"<metadata>.*?</metadata>", r"<style.*?</style>", r' id="[a-zA-Z.]+2?d?_\d+"'):
        svg = re.sub(part, "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("<svg", f'<svg role="img" aria-label={quoteattr(title)}', 1)
    svg = re.sub(r"(font(?:-family)?: ?[^;\"]*?)'[^;\"]*(sans-serif|monospace)?", r"\1inherit", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.strip()
