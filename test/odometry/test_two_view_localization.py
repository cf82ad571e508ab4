"""Localisation by two views: few landmarks determine the length of the motion, and the motion model checks it."""

from __future__ import annotations

import numpy as np
import pytest
from point_world import CAMERA, PointWorld, cloud

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import NO_LANDMARK, Localization
from ros_matching.atlas.local_map import LocalMap
from ros_matching.geometry.se3 import invert, pose_from
from ros_matching.odometry.localization import LocalizationQuery, Localizer
from ros_matching.stages import StageTimer

LANDMARKS = 12  # too few for PnP
MOTION = np.array([0.3, 0.05, 0.0])


def localized(depth_factor: float) -> Localization | None:
    """Localise a camera after ``MOTION`` by landmarks with depths wrong by a factor; the prediction is right."""
    poses = pose_from(np.stack([np.eye(3)] * 2), np.stack([np.zeros(3), MOTION]))
    world = PointWorld(cloud(), poses, noise_px=0.1, outliers=0.0)
    before, now = list(world.frames())
    features = world.extract(before.image)
    points = world.points[np.argmax(features.descriptors @ world._descriptors.T, axis=1)]
    shared = world.match_points(features, world.extract(now.image)).indices0[:LANDMARKS]
    local_map = LocalMap(CAMERA, 40)
    keyframe = local_map.add_keyframe(before, features, np.eye(4), np.full(len(features), NO_LANDMARK))
    keyframe.landmark_ids[shared] = local_map.append_landmarks(
        depth_factor * points[shared], features.descriptors[shared]
    )
    query = LocalizationQuery(local_map, world.extract(now.image), keyframe, invert(poses[1]))
    return Localizer(world, TrackingConfig(), StageTimer()).localize(query)


def test_few_landmarks_determine_the_length_of_the_motion():
    found = localized(1.0)
    assert found.inliers < TrackingConfig().min_inliers
    np.testing.assert_allclose(invert(found.camera_from_world)[:3, 3], MOTION, atol=0.02)


@pytest.mark.parametrize("depth_factor", [0.1, 0.2])
def test_few_landmarks_that_are_too_near_do_not_shrink_the_motion(depth_factor):
    assert localized(depth_factor) is None


def test_a_motion_half_as_long_as_predicted_is_accepted():
    assert np.linalg.norm(invert(localized(0.5).camera_from_world)[:3, 3]) == pytest.approx(0.5 * 0.304, rel=0.1)
