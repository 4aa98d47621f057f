"""The best trial is the one that is surely good, not the one that looks best."""

from veneer.records.sweeps import TrialRecord
from veneer.stats import Measure
from veneer.trials.ranking import Standing, ranking_of


def standing(name: str, gain: float, reach: float, lost: tuple[str, ...] = ()) -> Standing:
    wide = 1.5 * reach
    style = Measure(
        0, gain, gain, (gain - reach, gain + reach), (gain - wide, gain + wide), 12, 0.5, "higher"
    )
    trial = TrialRecord(name=name, settings={}, state="done")
    return Standing(trial, 1.0, style, None, style.ci95, lost)


def names(*standings: Standing) -> list[str]:
    return [one.trial.name for one in ranking_of(standings)]


def test_a_sure_gain_comes_before_a_larger_one_that_may_be_luck() -> None:
    assert names(standing("001", 0.05, 0.06), standing("002", 0.03, 0.01)) == ["002", "001"]


def test_what_loses_beyond_its_margin_comes_after_what_does_not() -> None:
    assert names(standing("001", 0.09, 0.01, ("prompt",)), standing("002", 0.01, 0.02)) == ["002", "001"]


def test_intervals_are_widened_for_the_number_of_trials() -> None:
    alone = ranking_of([standing("001", 0.03, 0.01)])[0]
    one_of_ten = ranking_of([standing(f"{n:03d}", 0.03, 0.01) for n in range(10)])[0]
    assert one_of_ten.low < alone.low


def test_trials_that_failed_come_last_and_say_why() -> None:
    failed = Standing(TrialRecord(name="001", settings={}, state="failed", why="the loss is not a number"))
    order = ranking_of([failed, standing("002", -0.05, 0.01)])
    assert [one.trial.name for one in order] == ["002", "001"]
    assert order[1].words == "failed: the loss is not a number"
    assert not order[1].is_ranked
