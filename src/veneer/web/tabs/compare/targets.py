"""The target beside the result: true, base's and tuned picture of every held-out caption."""

from __future__ import annotations

from typing import Any

from veneer.records.run import RunDir
from veneer.web import markup

SIDES = {"true": "True picture", "base": "Base", "tuned": "Tuned"}


def targets_html(run: RunDir, metrics: dict[str, Any]) -> str:
    """A row for each held-out caption whose pictures are there.

    Args:
        metrics: Content of metrics.json; empty before `compare`.
    """
    from veneer.proof.page import are_own_pictures, target_words

    rows = []
    for one in metrics.get("targets") or []:
        paths = {side: run.root / one[side] for side in SIDES}
        if not are_own_pictures(run, [one[side] for side in SIDES]):
            continue
        caption = str(one["caption"])
        cells = [
            f"{markup.png(paths[side], f'{name}: {caption}')}<small>{markup.escaped(words)}</small>"
            for (side, name), words in zip(SIDES.items(), target_words(one), strict=True)
        ]
        rows.append([f"<b>{markup.escaped(caption)}</b>", *cells])
    if not rows:
        return markup.empty("No held-out caption was drawn", "compare.held_out_prompts says how many are.")
    return f'<div class="v-xy">{markup.table("Targets", ["Caption", *SIDES.values()], rows)}</div>'
