"""The paces of a replay, without ROS."""

from __future__ import annotations

import threading

import pytest

from ros_matching.errors import NodeError
from ros_matching.nodes.replay import pacing
from ros_matching.nodes.replay.pacing import ConsumerPace, RealTimePace

MILLISECOND_NS = 1_000_000


class Clock:
    """The clock of a pace, which only its waits move on."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.waited_s: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> bool:
        self.waited_s.append(seconds)
        self.now_s += seconds
        return False


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    monkeypatch.setattr(pacing.threading, "Event", lambda: clock)
    return clock


@pytest.mark.parametrize(("rate", "expected_s"), [(1.0, [0, 0.05, 0.07]), (2.0, [0, 0.025, 0.035])])
def test_frames_go_out_at_the_distance_of_their_stamps(clock, rate, expected_s):
    pace = RealTimePace(rate)
    for stamp_ms in (5000, 5050, 5120):
        assert pace.wait(stamp_ms * MILLISECOND_NS)
    assert clock.waited_s == pytest.approx(expected_s)
    assert pace.largest_lag_s == pytest.approx(0)


def test_late_frame_goes_out_at_once_and_its_lag_is_known(clock):
    pace = RealTimePace(1.0)
    pace.wait(0)
    clock.now_s += 0.05
    pace.wait(10 * MILLISECOND_NS)
    assert clock.waited_s == [0, 0]
    assert pace.largest_lag_s == pytest.approx(0.04)


def test_the_second_pass_restarts_the_clock(clock):
    pace = RealTimePace(1.0)
    pace.wait(0)
    clock.is_set = lambda: False
    pace.wait(None)
    clock.now_s += 3
    pace.wait(0)
    pace.wait(40 * MILLISECOND_NS)
    assert clock.waited_s == pytest.approx([0, 0, 0.04])


def test_consumer_is_waited_for():
    pace = ConsumerPace(timeout_s=10.0)
    assert pace.wait(1)  # nothing is pending
    pace.acknowledge(99)  # of some other image
    sent = threading.Event()
    thread = threading.Thread(target=lambda: pace.wait(2) and sent.set())
    thread.start()
    assert not sent.wait(0.1)
    pace.acknowledge(1)
    assert sent.wait(5.0)
    thread.join()


def test_end_waits_for_the_last_frame():
    pace = ConsumerPace(timeout_s=0.05)
    pace.wait(1)
    with pytest.raises(NodeError, match="stamp 1 ns"):
        pace.wait(None)


def test_silent_consumer_is_an_error_with_a_remedy():
    pace = ConsumerPace(timeout_s=0.05)
    pace.wait(1)
    with pytest.raises(NodeError, match=r"no vo_status .* within 0.05 s.*wait_for_consumer:=false"):
        pace.wait(2)


@pytest.mark.parametrize("pace", [RealTimePace(1.0), ConsumerPace(timeout_s=1e6)])
def test_stop_ends_a_wait_from_another_thread(pace):
    pace.wait(1)
    threading.Timer(0.05, pace.stop).start()
    assert not pace.wait(10**9 * MILLISECOND_NS)
    assert not pace.wait(10**9 * MILLISECOND_NS + 1)
