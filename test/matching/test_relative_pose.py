"""The relative pose of real structure: rendered views with exact ground truth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ros_matching import load_matcher
from ros_matching.datatypes import ScaleState
from ros_matching.geometry.se3 import angle_between_deg, invert, rotation_angle_deg
from ros_matching.io import open_source


@pytest.fixture(scope="module")
def views() -> list:
    """Three views of a room, a third of a metre and some degrees apart, whose common part is not one plane."""
    return list(open_source("scene:room?frames=300&fps=10&width=320&height=240", start=95, stop=116, stride=10))


def test_the_relative_pose_is_the_true_one(views):
    matcher = load_matcher("sift")
    for first, second in itertools.pairwise(views):
        pose = matcher.relative_pose(first.image, second.image, first.camera, second.camera)
        true = invert(second.true_world_from_camera) @ first.true_world_from_camera
        assert rotation_angle_deg(pose.camera1_from_camera0 @ invert(true)) < 1
        assert angle_between_deg(pose.camera1_from_camera0[:3, 3], true[:3, 3]) < 5
        assert np.linalg.norm(pose.camera1_from_camera0[:3, 3]) == pytest.approx(1)
        assert pose.scale is ScaleState.UP_TO_SCALE
        assert np.count_nonzero(pose.inliers) > 50


def test_the_reverse_order_returns_the_inverse_motion(views):
    matcher, (first, second, _) = load_matcher("sift"), views
    there = matcher.relative_pose(first.image, second.image, first.camera, second.camera).camera1_from_camera0
    back = matcher.relative_pose(second.image, first.image, second.camera, first.camera).camera1_from_camera0
    assert rotation_angle_deg(there @ back) < 0.3
    assert angle_between_deg(invert(there)[:3, 3], back[:3, 3]) < 3
