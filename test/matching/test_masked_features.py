"""No keypoint lies where the mask excludes the image, and tracking uses none there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ros_matching import load_matcher
from ros_matching.errors import DataTypeError
from ros_matching.io import open_source
from ros_matching.matching.masked_features import extract_features
from ros_matching.odometry.result import TrackingStatus
from ros_matching.visual_odometry import VisualOdometry

SOURCE = "scene:room?frames=12&fps=5&width=200&height=150&antialias=false&seed=3"


@pytest.fixture(scope="module")
def frames():
    return list(open_source(SOURCE))


def mask_of(frame, excluded_columns: int) -> np.ndarray:
    mask = np.ones(frame.image.shape[:2], bool)
    mask[:, :excluded_columns] = False
    return mask


@pytest.mark.parametrize("name", ["sift", "orb", "posfeat"])
def test_keypoints_are_outside_of_the_mask(frames, name: str) -> None:
    matcher = load_matcher(name)
    frame = frames[0]
    whole = extract_features(matcher, frame)
    masked = extract_features(matcher, replace(frame, mask=mask_of(frame, 100)))
    assert (whole.keypoints_px[:, 0] < 100).any()
    assert 0 < len(masked) < len(whole)
    assert masked.keypoints_px[:, 0].min() > 101
    rows = [np.flatnonzero((whole.keypoints_px == point).all(axis=1)) for point in masked.keypoints_px]
    assert all(len(row) for row in rows)
    matches = matcher.match(masked, whole)
    same = np.linalg.norm(matches.points0 - matches.points1, axis=1) < 1
    assert same.mean() > 0.9  # the descriptors stay with their keypoints


def test_everything_masked_leaves_no_feature(frames) -> None:
    frame = frames[0]
    matcher = load_matcher("sift")
    assert len(extract_features(matcher, replace(frame, mask=mask_of(frame, 200)))) == 0


def test_a_body_that_moves_with_the_camera_is_not_tracked(frames) -> None:
    """A third of the image shows the robot itself: without a mask the camera seems to stand still."""
    body = np.random.default_rng(0).integers(0, 255, (150, 66, 3), np.uint8)
    masked = VisualOdometry(load_matcher("sift"))
    results = []
    for frame in frames:
        image = frame.image.copy()
        image[:, :66] = body
        results.append(masked.track(replace(frame, image=image, mask=mask_of(frame, 66))))
    tracked = [result for result in results if result.status is TrackingStatus.TRACKING]
    assert len(tracked) > 3
    assert sum(len(result.tracked_points_px) for result in tracked) > 50
    assert all((result.tracked_points_px[:, 0] > 64).all() for result in tracked)
    moved = np.linalg.norm(tracked[-1].world_from_camera[:3, 3] - tracked[0].world_from_camera[:3, 3])
    assert moved > 0.03


def test_a_mask_has_the_size_of_its_image(frames) -> None:
    with pytest.raises(DataTypeError, match="mask"):
        replace(frames[0], mask=np.ones((10, 10), bool))
    with pytest.raises(DataTypeError, match="bool"):
        replace(frames[0], mask=np.ones((150, 200), np.uint8))
