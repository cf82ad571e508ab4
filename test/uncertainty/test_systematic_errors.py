"""Systematic errors by the noise of the observations."""

from __future__ import annotations

import numpy as np
import pytest

from ros_matching.atlas.local_map import LocalMap
from ros_matching.datatypes import Camera, Features, Frame
from ros_matching.geometry.intrinsics_error import IntrinsicsStds
from ros_matching.uncertainty.calibration import Calibration
from ros_matching.uncertainty.systematic_errors import SystematicErrors

CAMERA = Camera(width=640, height=480, fx=500, fy=500, cx=320, cy=240)
CALIBRATION = Calibration(
    systematic_pose=0.2, systematic_drift=0.2, systematic_rotation=0.01, intrinsics=IntrinsicsStds(0.01, 0.005, 0.002)
)
MANY = 5.0  # observations of a landmark


@pytest.fixture
def local_map() -> LocalMap:
    """Five keyframes, 0.5 apart, of 20 landmarks at a depth of 4."""
    result = LocalMap(CAMERA, 40)
    result.append_landmarks(np.tile([0.0, 0.0, 4.0], (20, 1)), np.zeros((20, 2)))
    features = Features(np.full((20, 2), 100.0), np.ones(20), np.zeros((20, 2)), "points")
    for index in range(5):
        frame = Frame(index, 1 + index, np.zeros((480, 640, 3), np.uint8), CAMERA)
        pose = np.eye(4)
        pose[0, 3] = -0.5 * index
        result.add_keyframe(frame, features, pose, np.arange(20))
    result.remove_unsupported()
    return result


def after(local_map: LocalMap, std_px: float, views: float = MANY) -> SystematicErrors:
    errors = SystematicErrors(CALIBRATION)
    errors.start_map(local_map.keyframes[0])
    errors.update(local_map, std_px, views)
    return errors


def test_perfect_images_have_none(local_map):
    errors = after(local_map, 0.1)
    assert not errors.pose.any()
    assert not errors.intrinsics.any()
    assert errors.rotation == 0
    assert not any(added.any() for added in errors.added_drift(local_map, local_map.keyframes[0], local_map.keyframes))


def test_a_real_camera_has_those_of_its_calibration(local_map):
    errors = after(local_map, 0.4)
    np.testing.assert_allclose(np.sqrt(np.diagonal(errors.intrinsics)), [0.01, 3.2, 3.2, 0.002])
    assert errors.rotation == pytest.approx(0.01)
    excess_px = np.sqrt(0.4**2 - 0.12**2)
    np.testing.assert_allclose(errors.pose[3:], 0.2 * excess_px / CAMERA.fx)
    np.testing.assert_allclose(errors.pose[:3], 4.0 * errors.pose[3:])


def test_two_observations_of_a_landmark_show_only_a_part_of_the_noise(local_map):
    assert after(local_map, 0.15, views=2.0).rotation == pytest.approx(0.01)
    assert after(local_map, 0.15, views=2.0).pose[5] > 1.5 * after(local_map, 0.15).pose[5]


def test_a_persistent_error_grows_in_proportion_to_the_keyframes(local_map):
    errors = after(local_map, 0.4)
    first, *moving = local_map.keyframes
    stds = [np.sqrt(np.diagonal(added)) for added in errors.added_drift(local_map, first, moving)]
    for number, std in enumerate(stds, 1):
        np.testing.assert_allclose(std, number * stds[0])
    assert stds[0][6] == pytest.approx(0.2 * np.sqrt(0.4**2 - 0.12**2) / (500 * 0.5 / 4.0))
