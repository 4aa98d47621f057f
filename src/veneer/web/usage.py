"""What a finished run leads to: its LoRA files, and the lines that other tools take."""

from __future__ import annotations

from veneer.errors import VeneerError
from veneer.records.metrics import Metrics
from veneer.records.run import RunDir
from veneer.web import markup
from veneer.web.address import address_of


def usage_html(folder: RunDir) -> str:
    """The line for each tool, to copy; empty where the run has no LoRA file, or its recipe cannot be read."""
    from veneer.proof.strengths import usage_of

    if not folder.kohya_file.is_file():
        return ""
    try:
        usage = usage_of(folder, folder.read_recipe())
    except VeneerError:
        return ""
    rows = [
        [markup.escaped(tool), f'<code tabindex="0">{markup.escaped(line)}</code>']
        for tool, line in usage.lines.items()
    ]
    return markup.table(f"Use it at strength {usage.scale:g}", ("Tool", f"Strength {usage.scale:g}"), rows)


def finished_html(folder: RunDir, measured: Metrics | None) -> str:
    """What was found, where to look at it, and how the LoRA is used."""
    headline = measured.headline if measured else ""
    told = markup.news(f"Done. {headline}." if headline else "Done.", "good")
    where = address_of(folder.name, "compare")
    links = f'<p><a href="{where}">Base and tuned side by side, and the files to download</a></p>'
    todo = f"<p>Next: {markup.escaped(measured.todo)}.</p>" if measured and measured.todo else ""
    return told + links + todo + usage_html(folder)
