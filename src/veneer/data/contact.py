"""The contact sheet: one HTML file that shows each flagged picture with its reason; it needs no network."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2

from veneer.data.findings import FLAGS, MEANINGS, Finding, Flag
from veneer.data.picture import small_jpeg
from veneer.data.spread import Alike, Pick
from veneer.data.worker import Failure, Workers, processes_for
from veneer.records.dataset import Dataset
from veneer.records.provenance import read_provenance

_THUMBNAIL_PX = 176
MOST_SHOWN = 60
"""Pictures shown for each flag: a sheet of thousands opens in no browser."""

_GROUPS = "Each by its most typical picture, the largest group first, as the embedder sees them."
_PICKED = "The most telling first: the first ten are a pick of ten. All are in pick.json."
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Check of {{ name }}</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .2rem; }
p { margin: .2rem 0 .8rem; } .soft { opacity: .7; }
table { border-collapse: collapse; margin: 1rem 0; }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .9rem .25rem 0; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.6rem, 1fr)); gap: .9rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: .4rem; overflow: hidden; }
figure.pair { grid-column: span 2; }
.pictures { display: flex; gap: 3px; background: var(--soft); height: 11rem; }
.picture { flex: 1; min-width: 0; position: relative; display: grid; }
.picture img { width: 100%; height: 100%; min-height: 0; object-fit: contain; }
.picture i { position: absolute; left: .3rem; top: .3rem; padding: 0 .4rem; border-radius: .3rem;
  font: .75rem/1.5 system-ui, sans-serif; background: #000b; color: #fff; }
figcaption { padding: .4rem .6rem .5rem; font-size: .8rem; overflow-wrap: anywhere; }
figcaption b, figcaption span { display: block; }
code { overflow-wrap: anywhere; } .whole { white-space: nowrap; }
@media (max-width: 40rem) { .meaning { display: none; } body { margin-top: 1rem; } }
@media (max-width: 23.5rem) { figure.pair { grid-column: auto; } }
.none { place-self: center; font-size: .8rem; }
a { color: inherit; }
</style>
<h1>Check of {{ name }}</h1>
<p>{{ pictures }} pictures, {{ flagged }} of them flagged.
<span class="soft">Nothing is moved unasked: <code>veneer check {{ path }} --apply</code> moves the pictures
of the flags marked "moved" to <code>rejected/</code>; <code class="whole">--restore</code> brings them
back.</span></p>
{% if rows %}
<table>
<tr><th>flag</th><th>pictures</th><th class="whole">with --apply</th><th class="meaning">meaning</th></tr>
{% for row in rows %}
<tr><td><a href="#{{ row.flag }}">{{ row.flag }}</a></td><td class="number">{{ row.count }}</td>
<td>{{ "moved" if row.removed else "stays" }}</td><td class="meaning">{{ row.meaning }}</td></tr>
{% endfor %}
</table>
{% else %}<p>Nothing suspicious was found.</p>{% endif %}
{% for note in notes %}<p class="soft">{{ note }}</p>{% endfor %}
{% for row in rows %}
<h2 id="{{ row.flag }}">{{ row.flag }} ({{ row.count }})</h2>
<p class="soft">{{ row.meaning }}
{%- if row.count > row.shown|length %}; the first {{ row.shown|length }} are shown, all are in check.json
{%- endif %}</p>
<div class="grid">
{% for card in row.shown %}
<figure{% if card.pictures|length > 1 %} class="pair"{% endif %}><div class="pictures">
{% for picture in card.pictures %}
<div class="picture">
{% if picture.data %}
<img loading="lazy" alt="{{ picture.name }}" title="{{ picture.name }}" src="{{ picture.data }}">
{% else %}<span class="none">not readable</span>{% endif %}
{% if card.pictures|length > 1 %}<i>{{ "the one to keep" if not loop.first else "copy" }}</i>{% endif %}
</div>
{% endfor %}
</div><figcaption><b>{{ card.name }}</b>
{% if card.found %}<span class="soft">found as {{ card.found }}</span>{% endif %}
{{ card.reason }}</figcaption></figure>
{% endfor %}
</div>
{% endfor %}
{% for section in sections if section.cards %}
<h2>{{ section.title }}</h2>
<p class="soft">{{ section.about }}</p>
<div class="grid">
{% for card in section.cards %}
<figure><div class="pictures"><div class="picture">
{% if card.data %}<img loading="lazy" alt="{{ card.name }}" title="{{ card.name }}" src="{{ card.data }}">
{% else %}<span class="none">not readable</span>{% endif %}
</div></div><figcaption><b>{{ card.name }}</b>{{ card.words }}</figcaption></figure>
{% endfor %}
</div>
{% endfor %}
</html>
"""


def contact_sheet(
    dataset: Dataset,
    pictures: int,
    findings: Sequence[Finding],
    removed: frozenset[Flag],
    notes: Sequence[str],
    *,
    groups: Sequence[Alike] = (),
    pick: Pick | None = None,
) -> str:
    """Draw up the contact sheet.

    Args:
        pictures: Pictures that were looked at.
        findings: What is wrong.
        removed: Flags whose pictures ``--apply`` moves.
        notes: What was not looked at, and why.
        groups: Pictures that look alike; each is shown by its most typical one.
        pick: Pictures that differ most.

    Returns:
        HTML with the pictures inside.
    """
    by_flag = {flag: [finding for finding in findings if finding.flag == flag] for flag in FLAGS}
    shown = {flag: found[:MOST_SHOWN] for flag, found in by_flag.items()}
    names = {name for found in shown.values() for one in found for name in (one.other, one.file_name) if name}
    typical = {group.names[0]: f"and {len(group.names) - 1} like it" for group in groups}
    picked = pick.names[:MOST_SHOWN] if pick else ()
    names |= {*typical, *picked}
    data = _thumbnails(dataset.root, sorted(names))
    found_as = {one.file_name: one.told("name") for one in read_provenance(dataset)}
    rows = [
        {
            "flag": flag,
            "count": len(found),
            "removed": flag in removed,
            "meaning": MEANINGS[flag],
            "shown": [_card(finding, data, found_as) for finding in shown[flag]],
        }
        for flag, found in by_flag.items()
        if found
    ]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_PAGE).render(
        name=dataset.root.resolve().name,
        path=dataset.root,
        pictures=pictures,
        flagged=len({finding.file_name for finding in findings}),
        rows=rows,
        notes=notes,
        sections=[
            _section("Groups by what the pictures show", _GROUPS, typical, data),
            _section(f"{len(picked)} pictures that differ most", _PICKED, dict.fromkeys(picked, ""), data),
        ],
    )


def _section(title: str, about: str, cards: Mapping[str, str], data: Mapping[str, str]) -> dict[str, object]:
    shown = [{"name": name, "words": words, "data": data.get(name, "")} for name, words in cards.items()]
    return {"title": title, "about": about, "cards": shown}


def _thumbnails(root: Path, names: Sequence[str]) -> dict[str, str]:
    if not names:
        return {}
    with Workers(small_jpeg, count=processes_for(len(names))) as workers:
        made = workers.map((name, (root / name, _THUMBNAIL_PX)) for name in names)
        return {name: _data_url(jpeg) for name, jpeg in made if not isinstance(jpeg, Failure)}


def _data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


def _card(finding: Finding, data: Mapping[str, str], found_as: Mapping[str, str]) -> dict[str, object]:
    names = [name for name in (finding.file_name, finding.other) if name]
    return {
        "name": finding.file_name,
        "found": found_as.get(finding.file_name, ""),
        "reason": finding.reason,
        "pictures": [{"name": name, "data": data.get(name, "")} for name in names],
    }
