"""The buffer of samples: interpolation, gaps, odd stamps, bounded memory, threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from ros_matching.errors import ImuError
from ros_matching.inertial.buffer import ImuBuffer

STEP_NS = 5_000_000


def filled(count: int, capacity: int = 100) -> ImuBuffer:
    """Sample i has the stamp i steps, the rate i and the force 2 i along all axes."""
    buffer = ImuBuffer(capacity)
    for row in range(count):
        assert buffer.add(row * STEP_NS, np.full(3, float(row)), np.full(3, 2.0 * row))
    return buffer


def test_samples_between_are_interpolated_at_both_ends() -> None:
    samples = filled(50).between(round(10.25 * STEP_NS), round(12.5 * STEP_NS))
    assert samples.stamps_ns.tolist() == [round(10.25 * STEP_NS), 11 * STEP_NS, 12 * STEP_NS, round(12.5 * STEP_NS)]
    assert np.allclose(samples.gyroscope[:, 0], [10.25, 11, 12, 12.5])
    assert np.allclose(samples.accelerometer[:, 2], [20.5, 22, 24, 25])
    within = filled(50).between(round(10.25 * STEP_NS), round(10.75 * STEP_NS))
    assert np.allclose(within.gyroscope[:, 1], [10.25, 10.75])


def test_times_that_are_not_covered_have_no_samples() -> None:
    buffer = filled(50)
    assert buffer.between(-STEP_NS, STEP_NS) is None
    assert buffer.between(48 * STEP_NS, 50 * STEP_NS) is None
    assert buffer.between(STEP_NS, STEP_NS) is None
    buffer.add(100 * STEP_NS, np.zeros(3), np.zeros(3))
    assert buffer.between(48 * STEP_NS, 60 * STEP_NS, max_gap_s=0.1) is None
    assert buffer.between(48 * STEP_NS, 60 * STEP_NS, max_gap_s=0.3) is not None


def test_memory_is_bounded_and_the_newest_samples_stay() -> None:
    buffer = filled(1234, capacity=100)
    assert buffer.span_ns == (1134 * STEP_NS, 1233 * STEP_NS)
    assert np.allclose(buffer.between(1140 * STEP_NS, 1142 * STEP_NS).gyroscope[:, 0], [1140, 1141, 1142])
    assert len(buffer.newest(10 * STEP_NS * 1e-9)) == 11


def test_repeated_and_earlier_stamps_are_dropped_and_counted() -> None:
    buffer = filled(10)
    assert not buffer.add(9 * STEP_NS, np.zeros(3), np.zeros(3))
    assert not buffer.add(4 * STEP_NS, np.zeros(3), np.zeros(3))
    assert buffer.add(10 * STEP_NS, np.zeros(3), np.zeros(3))
    counts = buffer.counts
    assert (counts.accepted, counts.repeated, counts.unordered, counts.restarts) == (11, 1, 1, 0)


def test_a_clock_that_was_set_back_restarts_the_buffer() -> None:
    buffer = filled(50)
    for row in range(25):
        buffer.add(row * STEP_NS, np.full(3, 7.0), np.zeros(3))
    assert buffer.counts.restarts == 1
    assert buffer.span_ns == (0, 24 * STEP_NS)
    assert np.allclose(buffer.between(3 * STEP_NS, 20 * STEP_NS).gyroscope, 7.0)


def test_samples_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ImuError, match="finite"):
        filled(3).add(5 * STEP_NS, np.array([0, np.nan, 0]), np.zeros(3))


def test_a_reader_waits_for_the_sample_after_its_stamp() -> None:
    buffer = filled(10)
    assert not buffer.wait_for(10 * STEP_NS, 0.01)
    thread = threading.Timer(0.05, lambda: buffer.add(11 * STEP_NS, np.zeros(3), np.zeros(3)))
    thread.start()
    assert buffer.wait_for(10 * STEP_NS, 5.0)
    thread.join()
