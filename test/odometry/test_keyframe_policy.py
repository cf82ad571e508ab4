"""Keyframe decisions after motions of known length."""

from __future__ import annotations

import numpy as np
import pytest

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import NO_LANDMARK, Localization
from ros_matching.atlas.local_map import LocalMap
from ros_matching.datatypes import Camera, Features, Frame, Matches
from ros_matching.geometry import se3
from ros_matching.odometry.keyframe_policy import needs_keyframe

CAMERA = Camera(width=640, height=480, fx=500, fy=500, cx=320, cy=240)
CONFIG = TrackingConfig(keyframe_inliers=200)
NEAR, FAR = 150, 400  # landmarks at 4 to 8 units, and points too far for landmarks


def needs(moved: tuple[float, float, float], overlap: float | None = None, config: TrackingConfig = CONFIG) -> bool:
    """Return True if a camera at ``moved``, with the reference at the origin, needs a keyframe."""
    random = np.random.default_rng(0)
    rays = CAMERA.unproject(random.uniform((80, 80), (560, 400), (NEAR + FAR, 2)))
    points = rays * np.concatenate([random.uniform(4, 8, NEAR), np.full(FAR, 5000.0)])[:, None]
    local_map = LocalMap(CAMERA, 40)
    local_map.append_landmarks(points[:NEAR], np.zeros((NEAR, 2)))
    ids = np.concatenate([np.arange(NEAR), np.full(FAR, NO_LANDMARK)])
    pixels0 = CAMERA.project(points)
    features = Features(pixels0, np.ones(len(points)), np.zeros((len(points), 2)), "points")
    frame = Frame(0, 1, np.zeros((480, 640, 3), np.uint8), CAMERA)
    for _ in range(6):  # a map that is no longer young
        reference = local_map.add_keyframe(frame, features, np.eye(4), ids)
    pose = se3.invert(se3.pose_from(np.eye(3), np.array(moved)))
    pixels1 = CAMERA.project(se3.transform(pose, points))
    rows = np.arange(len(points))
    matches = Matches(pixels0, pixels1, np.ones(len(points)), rows, rows)
    found = Localization(pose, None, ids, pixels1, np.ones(len(points)), reference, matches)
    return needs_keyframe(local_map, found, config, lambda: overlap)


def test_driving_ahead_needs_a_keyframe_though_most_of_the_image_is_static():
    assert needs((0, 0, 0.4))


@pytest.mark.parametrize("moved", [(0.0, 0.0, 0.0), (0.01, 0.0, 0.0), (0.0, 0.0, 0.02)])
def test_a_small_motion_needs_no_keyframe(moved):
    assert not needs(moved)


def test_parallax_alone_needs_a_keyframe():
    few = TrackingConfig(keyframe_inliers=0, keyframe_overlap=0.0)
    assert needs((0.5, 0, 0), config=few)
    assert not needs((0.1, 0, 0), config=few)


def test_a_small_estimated_overlap_needs_a_keyframe():
    few = TrackingConfig(keyframe_inliers=0)
    assert needs((0, 0, 0.4), overlap=0.5, config=few)
    assert not needs((0, 0, 0.4), overlap=0.9, config=few)
    assert not needs((0, 0, 0.02), overlap=0.5, config=few)
