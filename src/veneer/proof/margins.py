"""What must be kept, and which loss of it still counts as none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeGuard

from veneer.proof.facts import Facts
from veneer.proof.reasons import percent, signed
from veneer.stats import Measure

RETRIEVAL_MARGIN = 0.1
"""Fall of the share of subjects found that still counts as none."""
COST_SHARE = 1 / 3
"""Most of the prompt's span that the style's own cost adds to the margin: wrong captions cost too."""
MIN_COST_CAPTIONS = 5
"""Fewest held-out captions that tell what the style costs."""
COPY_MARGIN = 0.1
"""Rise of the share of copies of training pictures that still counts as none."""
DIVERSITY_KEPT = 1 / 3
"""Share of the base's diversity that must surely be left."""
VARIETY_MARGIN = 1 - DIVERSITY_KEPT


@dataclass(frozen=True)
class Margin:
    """Fall of the prompt measure that still counts as none.

    Attributes:
        asked: The recipe's.
        cost: By how much true pictures of the style surely lie below the base's own, up to `COST_SHARE` of
            the prompt's span: no model can be asked for more.
    """

    asked: float
    cost: float

    @property
    def whole(self) -> float:
        """The fall that still counts as none."""
        return self.asked + self.cost

    @property
    def words(self) -> str:
        """The margin, and what it is made of."""
        if not self.cost:
            return f"margin {self.asked:g}"
        cause = "by which true pictures of the same captions lie below the base's"
        return f"margin {self.whole:.3f}: {self.asked:g}, and {self.cost:.3f} {cause}"


def margin_of(facts: Facts, asked: float) -> Margin:
    """The margin of the prompt measure, the style's own cost added."""
    most = COST_SHARE * (facts.prompt_span or 0.0)
    return Margin(asked, max(0.0, min(most, facts.style_cost or 0.0)))


def variety(diversity: Measure | None) -> Measure | None:
    """Diversity as a share of the base's, for `VARIETY_MARGIN`; None where the base has none to lose.

    Older files know the difference only: it stands in for the share.
    """
    if diversity is None or diversity.ci95 is None or diversity.base <= 0:
        return None
    low, high = (end / diversity.base for end in diversity.ci95)
    low = low if diversity.kept is None else diversity.kept - 1
    delta = diversity.delta / diversity.base
    return replace(diversity, base=1.0, tuned=1 + delta, delta=delta, ci95=(low, max(high, low)), kept=None)


def may_lose(measure: Measure | None, margin: float) -> TypeGuard[Measure]:
    """Whether a loss beyond the margin is not excluded; a measure without interval excludes nothing else."""
    return measure is not None and measure.ci95 is not None and not measure.holds(margin)


def within(measure: Measure, margin: float) -> str:
    """Why a loss beyond a margin is not excluded."""
    return f"a loss above {percent(margin)} is not excluded ({signed(measure, 95)})"
