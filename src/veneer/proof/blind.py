"""A person's vote: pairs without names, left or right at random, and what the votes say beside the verdict.

One pair a prompt: pictures of one prompt are no independent votes. Where a side stands depends on the bytes
of the pictures alone, so a vote can be broken off and taken up anywhere.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image
from scipy import stats

from veneer.intervals import Interval
from veneer.proof.pairs import Pair, read_pairs
from veneer.records.run import RunDir
from veneer.records.votes import Preference, Vote, add_vote, read_votes
from veneer.seeds import derive

SHOWN_PX, GAP_PX = 512, 24


@dataclass(frozen=True)
class BlindPair:
    """A pair to vote on.

    Attributes:
        pictures: Hash of both pictures.
        left: Which model's picture is shown on the left.
    """

    pair: Pair
    pictures: str
    left: Preference

    def chosen(self, side: str) -> Preference:
        """What a choice of "left", "right" or "neither" says of the models."""
        if side == "neither":
            return "neither"
        return self.left if side == "left" else ("tuned" if self.left == "base" else "base")


@dataclass(frozen=True)
class Tally:
    """Votes counted.

    Attributes:
        num_pairs: Pairs there are.
    """

    tuned: int
    base: int
    neither: int
    num_pairs: int

    @property
    def num_votes(self) -> int:
        """Votes in all."""
        return self.tuned + self.base + self.neither

    @property
    def interval(self) -> Interval | None:
        """Exact 95 % interval of the tuned model's share among the votes for either; None without any.

        Source: Clopper & Pearson 1934, "The Use of Confidence or Fiducial Limits".
        """
        decided = self.tuned + self.base
        if not decided:
            return None
        found = stats.binomtest(self.tuned, decided).proportion_ci(0.95, method="exact")
        return float(found.low), float(found.high)

    @property
    def word(self) -> str:
        """`better`, `worse` or `not shown`, as the verdict would say it."""
        if self.interval is None or self.interval[0] <= 0.5 <= self.interval[1]:
            return "not shown"
        return "better" if self.interval[0] > 0.5 else "worse"


def blind_pairs(pairs: Sequence[Pair]) -> list[BlindPair]:
    """Choose a pair for each prompt that calls the style, and put them in an order that tells nothing."""
    by_prompt: dict[str, list[BlindPair]] = {}
    for pair in pairs:
        if pair.kind == "general":
            continue
        sides = (pair.base.read_bytes(), pair.tuned.read_bytes())
        name = hashlib.sha256(b"".join(hashlib.sha256(one).digest() for one in sides)).hexdigest()[:16]
        left: Preference = "base" if derive(0, "blind-side", item=name) % 2 else "tuned"
        if sides[0] != sides[1]:
            by_prompt.setdefault(pair.prompt, []).append(BlindPair(pair, name, left))
    chosen = [min(group, key=_order) for group in by_prompt.values()]
    return sorted(chosen, key=_order)


def _order(one: BlindPair) -> int:
    return derive(0, "blind-order", item=one.pictures)


def next_pair(run: RunDir) -> BlindPair | None:
    """The next pair of a run without a vote; None where all have one."""
    voted = {vote.pictures for vote in read_votes(run.votes_jsonl)}
    return next((one for one in blind_pairs(read_pairs(run.drawn)) if one.pictures not in voted), None)


def cast(run: RunDir, pair: BlindPair, side: str) -> None:
    """Keep a vote: "left", "right" or "neither"."""
    vote = Vote(prompt=pair.pair.prompt, pictures=pair.pictures, choice=pair.chosen(side))
    add_vote(run.votes_jsonl, vote)


def tally(run: RunDir) -> Tally:
    """Count the votes whose pictures are still the run's; of two on the same pictures the last counts."""
    pairs = {one.pictures for one in blind_pairs(read_pairs(run.drawn))}
    last = {vote.pictures: vote.choice for vote in read_votes(run.votes_jsonl) if vote.pictures in pairs}
    counted = list(last.values())
    return Tally(counted.count("tuned"), counted.count("base"), counted.count("neither"), len(pairs))


def tally_words(votes: Tally, verdict: str) -> str:
    """What the votes say, beside the verdict; empty without any."""
    if votes.interval is None:
        return ""
    low, high = votes.interval
    decided = votes.tuned + votes.base
    said = (
        f"Blind vote: tuned in {votes.tuned} of {decided} pairs ({100 * votes.tuned / decided:.0f} %, exact "
        f"95 % interval {100 * low:.0f} to {100 * high:.0f} %), {votes.neither} undecided"
    )
    return f"{said}. {_agreement(votes.word, verdict)}"


def _agreement(voted: str, verdict: str) -> str:
    if voted == "not shown":
        return f"Too few votes, or too even, to say more; the verdict is {verdict}."
    if voted == verdict:
        return f"Votes and verdict agree: {verdict}."
    if verdict in ("trade", "not shown"):
        return f"People say {voted} where the verdict is {verdict}."
    return f"Votes and verdict disagree: people say {voted}, the verdict is {verdict}."


def side_by_side(pair: BlindPair) -> bytes:
    """Both pictures beside each other without names, as PNG."""
    paths = (pair.pair.base, pair.pair.tuned) if pair.left == "base" else (pair.pair.tuned, pair.pair.base)
    sheet = Image.new("RGB", (2 * SHOWN_PX + GAP_PX, SHOWN_PX), "white")
    for number, path in enumerate(paths):
        with Image.open(path) as opened:
            shown = opened.convert("RGB")
        is_small = shown.width <= SHOWN_PX // 2
        how = Image.Resampling.NEAREST if is_small else Image.Resampling.LANCZOS
        sheet.paste(shown.resize((SHOWN_PX, SHOWN_PX), how), (number * (SHOWN_PX + GAP_PX), 0))
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()
