"""Pieces of the page as HTML: everything that comes from files or users is escaped here."""

from __future__ import annotations

import base64
import html
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

Tone = Literal["good", "bad", "warn", "plain"]


def escaped(text: object) -> str:
    """Text that HTML shows as it is.

    Args:
        text: Anything with a text form.

    Returns:
        It, with special characters written out; quotes too.
    """
    return html.escape(str(text), quote=True)


def command(words: Sequence[str]) -> str:
    """The shell command that does what a button does.

    Args:
        words: Words after ``veneer``.

    Returns:
        A line to copy.
    """
    line = escaped(f"veneer {shlex.join(words)}")
    return f'<div class="v-command"><span>The same in a shell</span><code tabindex="0">{line}</code></div>'


def failure(what: str, todo: str = "") -> str:
    """A message that something did not work, read out at once by screen readers.

    Args:
        what: What is wrong.
        todo: What to do about it.
    """
    step = f"<p>{escaped(todo)}</p>" if todo else ""
    return f'<div class="v-note v-bad" role="alert"><strong>{escaped(what)}</strong>{step}</div>'


def news(text: str, tone: Tone = "plain") -> str:
    """A message that something worked or goes on.

    Args:
        tone: How it is coloured.
    """
    return f'<div class="v-note v-{tone}" role="status">{escaped(text)}</div>'


def empty(title: str, first: str) -> str:
    """What a place without content says.

    Args:
        title: What is not there.
        first: What to do first.

    Returns:
        The text.
    """
    return f'<div class="v-empty"><strong>{escaped(title)}</strong><p>{escaped(first)}</p></div>'


def badge(text: str, tone: Tone = "plain") -> str:
    """A word with a colour of its own."""
    return f'<span class="v-badge v-{tone}">{escaped(text)}</span>'


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values, side by side.

    Returns:
        A definition list.
    """
    rows = "".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="v-facts">{rows}</dl>'


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that can be scrolled sideways on a phone.

    Args:
        caption: What it shows, for screen readers.
        heads: Headings.
        rows: Cells, already HTML.
    """
    top = "".join(f'<th scope="col">{escaped(head)}</th>' for head in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="v-scroll" tabindex="0" role="region" aria-label="{escaped(caption)}">'
        '<table class="v-table">'
        f'<caption class="v-hidden">{escaped(caption)}</caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def picture(content: bytes, alt: str, kind: str = "webp", css: str = "v-thumb") -> str:
    """A picture inside the page: nothing is fetched for it.

    Args:
        content: The file's bytes.
        alt: What it shows.
        kind: Format, as in "webp" or "png".
        css: Class of the element.

    Returns:
        The element.
    """
    return f'<img class="{css}" src="{data_uri(content, kind)}" alt="{escaped(alt)}">'


def data_uri(content: bytes, kind: str) -> str:
    """A picture as an address that holds it.

    Args:
        content: The file's bytes.
        kind: Format, as in "webp" or "png".
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def png(path: Path, alt: str, css: str = "v-drawn") -> str:
    """A PNG file inside the page.

    Args:
        alt: What it shows.
        css: Class of the element.

    Returns:
        The element, or a word in its place where the file is gone.
    """
    try:
        return picture(path.read_bytes(), alt, "png", css)
    except OSError:
        return f'<span class="v-gone">{escaped(path.name)} is gone</span>'


def gib(size: float) -> str:
    """A size on disk for people.

    Args:
        size: Bytes.

    Returns:
        Such as "12.3 MiB".
    """
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def minutes(seconds: float) -> str:
    """A time for people.

    Args:
        seconds: Seconds, not negative.

    Returns:
        Such as "45 s", "3 min 20 s" or "2 h 05 min".
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
