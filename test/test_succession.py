"""Series with outliers, with restarts, and two mixed series."""

from __future__ import annotations

import random

from ros_matching.succession import Step, Succession

NEXT, ODD, NEW = Step.NEXT, Step.ODD, Step.NEW_START


def steps(series: Succession, items) -> list[Step]:
    return [series.offer(item) for item in items]


def rising() -> Succession[int]:
    return Succession(lambda last, item: 0 < item - last < 100)


def test_a_single_outlier_is_rejected():
    assert steps(rising(), [1, 2, 1000, 3, -7, 4, 4, 5]) == [NEXT, NEXT, ODD, NEXT, ODD, NEXT, ODD, NEXT]


def test_two_swapped_neighbours_do_not_restart():
    assert steps(rising(), [1, 3, 2, 4, 6, 5, 7]) == [NEXT, NEXT, ODD, NEXT, NEXT, ODD, NEXT]


def test_several_consistent_outliers_restart():
    series = rising()
    assert steps(series, [500, 501, 1, 2, 3, 4]) == [NEXT, NEXT, ODD, ODD, NEW, NEXT]
    assert steps(series, [900, 901, 902, 903]) == [ODD, ODD, NEW, NEXT]


def test_inconsistent_outliers_do_not_restart():
    assert NEW not in steps(rising(), [1, 2, 900, -50, 700, -3, 500, 3])


def test_two_mixed_series_restart_only_a_few_times():
    series = Succession(lambda last, item: last == item, needed=3, most_needed=24)
    assert steps(series, "abbb" * 500).count(NEW) == 1
    series.reset()
    chosen = random.Random(1)
    assert steps(series, [chosen.choice("aab") for _ in range(3000)]).count(NEW) <= 8


def test_the_number_for_a_restart_is_reset_after_steady_items():
    series = Succession(lambda last, item: last == item, needed=3, most_needed=24)
    assert steps(series, "abbbaaaa")[-4:] == [ODD, ODD, ODD, ODD]
    assert steps(series, "b" * 200)[-1] is NEXT
    assert steps(series, "aaa") == [ODD, ODD, NEW]
