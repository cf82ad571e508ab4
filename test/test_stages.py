"""The time of a stage is its own, without that of the stages inside it, so that all add up to the whole."""

from __future__ import annotations

import itertools

import pytest

from ros_matching import stages
from ros_matching.stages import StageTimer


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances by a millisecond at every call."""
    ticks = itertools.count()
    monkeypatch.setattr(stages.time, "perf_counter", lambda: 1e-3 * next(ticks))


def test_the_times_of_stages_add_up_to_the_whole(clock):
    timer = StageTimer()
    with timer("map"):  # 0 to 7
        with timer("ncnet"):  # 1 to 2
            pass
        with timer("ncmnet"), timer("refine"):  # 3 to 6, of which 4 to 5
            pass
    taken = timer.take()
    assert taken == pytest.approx({"map": 3, "ncnet": 1, "ncmnet": 2, "refine": 1})
    assert sum(taken.values()) == pytest.approx(7)


def test_the_times_of_one_name_are_summed_until_taken(clock):
    timer = StageTimer()
    for _ in range(3):
        with timer("match"):
            pass
    assert timer.take() == pytest.approx({"match": 3})
    assert timer.take() == {}


def test_a_stage_that_fails_counts_as_well(clock):
    timer = StageTimer()
    with pytest.raises(ValueError, match="image"), timer("map"), timer("match"):
        raise ValueError("image")
    assert timer.take() == pytest.approx({"map": 2, "match": 1})
