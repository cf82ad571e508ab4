"""A scale that is lost shows in the covariances of the motions: their length is unknown."""

from __future__ import annotations

import numpy as np
import pytest

from ros_matching.geometry.se3 import pose_from
from ros_matching.odometry.length_check import LengthCheck

DEPTH = 2.0


def remarks(lengths: list[float], stds: list[float], across: float = 0.0, scale_std: float = 0.0) -> list[str]:
    """Remarks on motions along the optical axis, with deviations along it and across."""
    check, said = LengthCheck(), []
    for length, std in zip(lengths, stds, strict=True):
        motion = pose_from(np.eye(3), np.array([0.0, 0.0, length]))
        along = std**2 + (scale_std * length) ** 2
        covariance = np.diag([across**2, across**2, along, 1e-6, 1e-6, 1e-6])
        said.append(check.add(motion, covariance, DEPTH, scale_std**2))
    return said


def test_lengths_that_are_known_are_not_remarked():
    assert remarks([0.05] * 10, [0.02] * 10, across=0.2) == [""] * 10  # the direction does not matter


def test_a_run_of_unknown_lengths_is_a_lost_scale():
    said = remarks([0.05] * 8, [0.005] * 3 + [0.1] * 5)
    assert said[:5] == [""] * 5  # two motions are not enough
    assert all("the scale may be lost" in remark and "200 %" in remark for remark in said[5:])


def test_the_drift_of_the_scale_since_the_start_is_not_its_loss():
    assert remarks([0.05] * 10, [0.005] * 10, scale_std=2.0) == [""] * 10


def test_a_single_unknown_length_is_none():
    assert remarks([0.05] * 10, [0.005, 0.005, 0.2] + [0.005] * 7) == [""] * 10


@pytest.mark.parametrize("length", [0.0, 0.001])
def test_a_standing_camera_has_no_length_to_know(length):
    assert remarks([length] * 10, [0.005] * 10) == [""] * 10


def test_a_pose_that_is_not_determined_has_no_known_length():
    assert "scale" in remarks([0.05] * 3, [np.nan] * 3)[-1]


def test_an_unknown_motion_begins_anew():
    check, motion = LengthCheck(), pose_from(np.eye(3), np.array([0.0, 0.0, 0.05]))
    unknown = np.diag([0.0, 0.0, 0.01, 0.0, 0.0, 0.0])
    assert [bool(check.add(motion, unknown, DEPTH, 0.0)) for _ in range(3)] == [False, False, True]
    assert check.add(None, None, DEPTH, 0.0) == ""
    assert check.add(motion, unknown, DEPTH, 0.0) == ""
