"""``veneer compare RUN --blind``: pairs without names, a key for each."""

from __future__ import annotations

import tempfile
from pathlib import Path

import typer

from veneer.records.run import RunDir

KEYS = {"l": "left", "r": "right", "n": "neither"}
ASKED = "Which is nearer to what the prompt asks for? l left, r right, n neither, q stop"


def vote(run: RunDir, verdict: str) -> str:
    """Show pair after pair and ask for a key, until all have a vote or the person stops.

    Args:
        verdict: The run's verdict; shown only with the count at the end.

    Returns:
        What the votes say.
    """
    from veneer.proof.blind import cast, next_pair, side_by_side, tally, tally_words

    with tempfile.TemporaryDirectory(prefix="veneer-blind-") as folder:
        picture = Path(folder) / "pair.png"
        while (pair := next_pair(run)) is not None:
            picture.write_bytes(side_by_side(pair))
            typer.launch(str(picture))
            typer.echo(f"\n{pair.pair.prompt}\n{picture}")
            side = _key()
            if side is None:
                break
            cast(run, pair, side)
    votes = tally(run)
    done = f"{votes.num_votes} of {votes.num_pairs} pairs have a vote."
    return f"{done} {tally_words(votes, verdict)}".strip()


def _key() -> str | None:
    while True:
        key = typer.prompt(ASKED, prompt_suffix=": ").strip().lower()[:1]
        if key == "q":
            return None
        if key in KEYS:
            return KEYS[key]
