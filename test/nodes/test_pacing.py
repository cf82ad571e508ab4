"""The paces of a replay, without ROS."""

from __future__ import annotations

import threading
import time

import pytest

from ros_matching.errors import NodeError
from ros_matching.nodes.pacing import ConsumerPace, RealTimePace

MILLISECOND_NS = 1_000_000


@pytest.mark.parametrize(("rate", "expected_s"), [(1.0, 0.12), (2.0, 0.06)])
def test_frames_go_out_at_the_distance_of_their_stamps(rate, expected_s):
    pace = RealTimePace(rate)
    start = time.monotonic()
    for stamp_ms in (5000, 5050, 5120):
        assert pace.wait(stamp_ms * MILLISECOND_NS)
    elapsed_s = time.monotonic() - start
    assert expected_s <= elapsed_s < expected_s + 0.5


def test_late_frame_goes_out_at_once_and_its_lag_is_known():
    pace = RealTimePace(1.0)
    pace.wait(0)
    time.sleep(0.05)
    start = time.monotonic()
    pace.wait(10 * MILLISECOND_NS)
    assert time.monotonic() - start < 0.03
    assert 0.04 <= pace.largest_lag_s < 0.5


def test_second_pass_starts_anew():
    pace = RealTimePace(1.0)
    pace.wait(0)
    pace.wait(None)
    start = time.monotonic()
    pace.wait(0)
    pace.wait(40 * MILLISECOND_NS)
    assert time.monotonic() - start >= 0.04


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


@pytest.mark.parametrize("pace", [RealTimePace(1.0), ConsumerPace(timeout_s=60.0)])
def test_stop_ends_a_wait_from_another_thread(pace):
    pace.wait(1)
    threading.Timer(0.05, pace.stop).start()
    start = time.monotonic()
    assert not pace.wait(60_000 * MILLISECOND_NS)
    assert time.monotonic() - start < 5.0
    assert not pace.wait(60_001 * MILLISECOND_NS)
