"""A blind vote in the studio: a pair without names, three buttons, and the count beside the verdict."""

from __future__ import annotations

from functools import partial
from typing import Any

from veneer.records.run import RunDir
from veneer.web import markup
from veneer.web.messages import guarded
from veneer.web.server.engine import gr
from veneer.web.studio import Studio

ANSWERS = {"left": "Left (L)", "right": "Right (R)", "neither": "Cannot tell (N)"}
ABOUT = (
    "<p>Which picture is nearer to what you trained for, and shows what the prompt says? Sides are dealt at "
    "random; every vote is kept at once, so stop when you like.</p>"
)


def build(studio: Studio, run: Any) -> None:
    """Lay out the vote, below whatever chooses the run."""
    with gr.Accordion("A blind vote", open=False):
        gr.HTML(ABOUT)
        start = gr.Button("Show a pair", elem_id="compare-blind-show")
        shown = gr.HTML(elem_id="compare-blind-pair")
        asked = gr.State("")
        with gr.Row():
            buttons = {
                side: gr.Button(name, elem_id=f"compare-blind-{side}", interactive=False)
                for side, name in ANSWERS.items()
            }
        message = gr.HTML(elem_id="compare-blind-message")
    outputs = [asked, shown, *buttons.values(), message]
    fails = (gr.skip(),) * (len(outputs) - 1)
    start.click(guarded(partial(ask, studio), fails), [run], outputs)
    for side, button in buttons.items():
        button.click(guarded(partial(cast_vote, studio, side), fails), [run, asked], outputs)


def ask(studio: Studio, run: str | None) -> tuple[Any, ...]:
    """Show the next pair.

    Returns:
        Hash of its pictures, the pair, the three buttons, and how many votes there are.
    """
    from veneer.proof.blind import next_pair, side_by_side

    folder = studio.workspace.run(run or "")
    pair = next_pair(folder)
    buttons = [gr.update(interactive=pair is not None)] * len(ANSWERS)
    if pair is None:
        return "", "", *buttons, _count(folder, is_done=True)
    sheet = markup.picture(
        side_by_side(pair), "Two pictures without names, one on the left, one on the right"
    )
    caption = f"<figcaption>{markup.escaped(pair.pair.prompt)}</figcaption>"
    return pair.pictures, f"<figure>{sheet}{caption}</figure>", *buttons, _count(folder, is_done=False)


def cast_vote(studio: Studio, side: str, run: str | None, asked: str) -> tuple[Any, ...]:
    """Keep a vote on the pair shown, and show the next; a pair that is no longer the next one gets none."""
    from veneer.proof.blind import cast, next_pair

    folder = studio.workspace.run(run or "")
    pair = next_pair(folder)
    if pair is not None and pair.pictures == asked:
        cast(folder, pair, side)
    return ask(studio, run)


def _count(run: RunDir, *, is_done: bool) -> str:
    """How many votes there are; what they say only once all are given, so that nobody votes by it."""
    from veneer.proof.blind import tally, tally_words
    from veneer.records.metrics import read_verdict

    votes = tally(run)
    said = f"{votes.num_votes} of {votes.num_pairs} pairs have a vote."
    words = tally_words(votes, read_verdict(run)[0]) if is_done else ""
    return f"<p>{markup.escaped(f'{said} {words}'.strip())}</p>"
