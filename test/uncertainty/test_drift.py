"""Drift along the keyframes of a map: a chain of windows, each with errors of its own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ros_matching.atlas.keyframes import MapKeyframe
from ros_matching.datatypes import Camera, Features, Frame
from ros_matching.uncertainty.drift import Drift

CAMERA = Camera(width=64, height=48, fx=50, fy=50, cx=32, cy=24)
POSITION_STD, ROTATION_STD, SCALE_STD = 0.01, 0.002, 0.03
OWN = np.diag([POSITION_STD**2] * 3 + [ROTATION_STD**2] * 3 + [SCALE_STD**2])


def keyframe(id: int, z: float) -> MapKeyframe:
    """A keyframe at a distance ``z`` along the optical axis."""
    pose = np.eye(4)
    pose[2, 3] = -z
    features = Features(np.zeros((0, 2)), np.zeros(0), np.zeros((0, 2)), "points")
    frame = Frame(id, 1 + id, np.zeros((48, 64, 3), np.uint8), CAMERA)
    return MapKeyframe(id, frame, features, pose, np.zeros(0, np.intp), np.zeros(0))


@pytest.fixture
def drift() -> Drift:
    result = Drift()
    result.start(keyframe(0, 0.0), OWN)
    return result


def test_rotation_and_scale_become_position_with_distance(drift):
    there = drift.at(np.array([0.0, 0.0, 10.0]))
    np.testing.assert_allclose(np.sqrt(there[2, 2]), np.hypot(POSITION_STD, 10 * SCALE_STD))
    for across in (0, 1):
        np.testing.assert_allclose(np.sqrt(there[across, across]), np.hypot(POSITION_STD, 10 * ROTATION_STD))
    np.testing.assert_allclose(there[3:, 3:], OWN[3:, 3:])


def test_errors_of_a_chain_of_windows_are_those_of_a_random_walk(drift):
    """Each keyframe is a distance of 2 from the last, with an error of rotation, scale and position of its own."""
    rng = np.random.default_rng(0)
    chain = [keyframe(id, 2.0 * id) for id in range(6)]
    position, rotation, scale = np.zeros((20000, 3)), np.zeros((20000, 3)), np.zeros((20000, 1))
    for each in chain:
        step = np.array([0.0, 0.0, 2.0 if each.id else 0.0])
        position += np.cross(rotation, step) + scale * step + rng.normal(0, POSITION_STD, position.shape)
        rotation += rng.normal(0, ROTATION_STD, rotation.shape)
        scale += rng.normal(0, SCALE_STD, scale.shape)
    walks = np.hstack([position, rotation, scale])
    for before, after in itertools.pairwise(chain):
        drift.propagate([chain[0], before] if before.id else [before, keyframe(-1, 0.0)], [after], [OWN])
    np.testing.assert_allclose(np.diagonal(drift.by_keyframe[5]), np.var(walks, axis=0), rtol=0.05)


def test_one_fixed_keyframe_leaves_the_scale_of_the_window_free(drift):
    first, moving = drift.anchor, [keyframe(1, 1.0), keyframe(2, 2.0)]
    drift.propagate([first], moving, [OWN, 4 * OWN])
    assert drift.scale_variance == pytest.approx(SCALE_STD**2 + 4 * SCALE_STD**2)
    drift.propagate([first, moving[0]], moving[1:], [OWN])  # two fixed keyframes determine it
    assert drift.scale_variance == pytest.approx(drift.by_keyframe[1][6, 6])


def test_a_measured_scale_ends_its_drift(drift):
    drift.propagate([drift.anchor, keyframe(-1, 0.0)], [keyframe(1, 1.0)], [OWN])
    before = drift.by_keyframe[1]
    drift.rescale(3.0)
    np.testing.assert_allclose(drift.by_keyframe[1][:3, :3], 9 * before[:3, :3])
    np.testing.assert_allclose(drift.by_keyframe[1][3:6, 3:6], before[3:6, 3:6])
    assert drift.scale_variance == 0


def test_a_map_that_returns_has_its_drift_again(drift):
    drift.propagate([drift.anchor, keyframe(-1, 0.0)], [keyframe(1, 1.0)], [OWN])
    kept = drift.by_keyframe
    drift.keep({1})
    assert set(drift.by_keyframe) == {1}
    assert set(kept) == {0, 1}
