"""A pose against the matches with a keyframe: known motions, wrong matches, bodies that move."""

from __future__ import annotations

import numpy as np
import pytest

from ros_matching.datatypes import Camera, Matches
from ros_matching.geometry.se3 import exp_so3, pose_from, transform
from ros_matching.odometry.contradiction import is_contradicted

CAMERA = Camera(width=640, height=480, fx=500, fy=500, cx=320, cy=240)
MOTION = pose_from(exp_so3(np.array([0.02, -0.05, 0.01])), np.array([0.3, 0.02, 0.1]))
THRESHOLD_PX = 2.0


def matches_of(motion: np.ndarray, wrong: float = 0.0, body: float = 0.0, count: int = 400) -> Matches:
    """Matches of points at depths 2 to 8; a fraction is wrong, and a fraction on a body that moves by itself."""
    rng = np.random.default_rng(0)
    depth = rng.uniform(2, 8, (count, 1))
    points0 = rng.uniform((20, 20), (620, 460), (count, 2))
    points = CAMERA.unproject(points0) * depth
    moved = rng.random(count) < body
    points[moved] += (0.0, 0.25, 0.1)
    points1 = CAMERA.project(transform(motion, points)) + rng.normal(0, 0.4, (count, 2))
    bad = rng.random(count) < wrong
    points1[bad] = rng.uniform((0, 0), (640, 480), (np.count_nonzero(bad), 2))
    rows = np.arange(count)
    return Matches(points0, points1, np.ones(count), rows, rows)


@pytest.mark.parametrize("wrong", [0.0, 0.3, 0.6])
def test_the_true_motion_is_not_contradicted(wrong):
    assert not is_contradicted(matches_of(MOTION, wrong), CAMERA, [MOTION], THRESHOLD_PX)


@pytest.mark.parametrize("wrong", [0.0, 0.4])
@pytest.mark.parametrize("turn_deg", [(2.0, 0.0, 0.0), (0.0, 5.0, 0.0)])  # the latter mostly along epipolar lines
def test_a_wrong_rotation_is_contradicted(wrong, turn_deg):
    turned = pose_from(exp_so3(np.radians(turn_deg)), np.zeros(3)) @ MOTION
    assert is_contradicted(matches_of(MOTION, wrong), CAMERA, [turned], THRESHOLD_PX)


def test_a_wrong_direction_is_contradicted():
    sideways = MOTION.copy()
    sideways[:3, 3] = [0.0, 0.3, 0.0]
    assert is_contradicted(matches_of(MOTION), CAMERA, [sideways], THRESHOLD_PX)


def test_a_body_in_a_third_of_the_matches_does_not_contradict():
    assert not is_contradicted(matches_of(MOTION, body=0.33), CAMERA, [MOTION], THRESHOLD_PX)


def test_a_rotation_without_parallax_is_not_contradicted():
    rotation = pose_from(exp_so3(np.array([0.0, 0.1, 0.0])), np.zeros(3))
    assert not is_contradicted(matches_of(rotation), CAMERA, [rotation], THRESHOLD_PX)
    noise = rotation.copy()
    noise[:3, 3] = [0.0, 1e-4, 1e-4]
    assert not is_contradicted(matches_of(rotation), CAMERA, [noise], THRESHOLD_PX)


def test_few_matches_decide_nothing():
    turned = pose_from(exp_so3(np.radians([0.0, 5.0, 0.0])), np.zeros(3)) @ MOTION
    assert not is_contradicted(matches_of(MOTION, count=15), CAMERA, [turned], THRESHOLD_PX)
