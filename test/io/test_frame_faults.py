"""Frames that are skipped: by their stamps, or because they cannot be read."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ros_matching.datatypes import Camera, Frame
from ros_matching.errors import SourceError
from ros_matching.io.faults import FrameFault, Loaded, deliver, fault_summary

CAMERA = Camera(8, 8, 8.0, 8.0, 3.5, 3.5)
IMAGE = np.zeros((8, 8, 3), np.uint8)


def loaded(stamps: list[int]) -> list[Loaded]:
    return [Loaded(Frame(index, stamp, IMAGE, CAMERA)) for index, stamp in enumerate(stamps)]


def delivered(stamps: list[int]) -> tuple[list[int], list[FrameFault]]:
    faults: list[FrameFault] = []
    return [frame.index for frame in deliver(loaded(stamps), faults, "test")], faults


@pytest.mark.parametrize(
    ("stamps", "skipped"),
    [
        ([1, 2, 3, 4, 5], []),
        ([5], []),
        ([], []),
        ([1, 2, 2, 3, 4, 5, 6], [2]),  # a duplicate
        ([1, 2, 3, 3], [3]),
        ([1, 3, 2, 4, 5, 6, 7], [2]),  # two neighbours swapped
        ([1, 2, 900, 4, 5, 6, 7, 8], [2]),  # one from the future
        ([900, 2, 3, 4, 5, 6, 7], [0]),
        ([1, 2, 3, 4, 5, -900, 7, 8], [5]),  # one from the past
        ([1, 2, 3, 0, 0, 6, 7, 8, 9], [3, 4]),
        ([1, 2, 3, 900, 901, 902, 903, 904], []),  # a gap is none of the recording's faults
    ],
)
def test_the_odd_stamp_is_skipped_and_named(stamps: list[int], skipped: list[int]) -> None:
    indices, faults = delivered(stamps)
    assert [fault.index for fault in faults] == skipped
    assert indices == [index for index in range(len(stamps)) if index not in skipped]
    assert all(f"frame {fault.index} " in fault.reason for fault in faults)


@given(st.lists(st.integers(-(2**62), 2**62), max_size=40))
def test_any_stamps_come_out_increasing_and_all_frames_are_accounted_for(stamps: list[int]) -> None:
    indices, faults = delivered(stamps)
    assert sorted(indices + [fault.index for fault in faults]) == list(range(len(stamps)))
    chosen = [stamps[index] for index in indices]
    assert all(a < b for a, b in itertools.pairwise(chosen))


def test_frames_that_cannot_be_read_are_left_out() -> None:
    items = loaded([1, 2, 3])
    items[1] = Loaded(None, (FrameFault(1, "b.png: it is empty"),))
    faults: list[FrameFault] = []
    assert [frame.index for frame in deliver(items, faults, "test")] == [0, 2]
    assert faults == [FrameFault(1, "b.png: it is empty")]


def test_a_recording_without_any_good_frame_is_an_error() -> None:
    items = [Loaded(None, (FrameFault(index, f"{index}.png: it is empty"),)) for index in range(3)]
    with pytest.raises(SourceError, match=r"3 frames.*0\.png"):
        list(deliver(items, [], "test"))


def test_the_summary_counts_skipped_and_incomplete_frames() -> None:
    faults = [FrameFault(1, "a"), FrameFault(2, "b"), FrameFault(3, "c", skipped=False)]
    assert fault_summary(faults) == "2 skipped (a; and 1 more), 1 incomplete (c)"
    assert fault_summary([]) == ""
