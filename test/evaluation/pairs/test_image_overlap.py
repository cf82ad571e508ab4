"""True overlaps, of a wall at a known distance."""

from __future__ import annotations

import numpy as np
import pytest

from ros_matching.datatypes import Camera, Frame
from ros_matching.errors import EvaluationError
from ros_matching.evaluation.pairs.image_overlap import true_overlap
from ros_matching.geometry.se3 import pose_from

CAMERA = Camera(width=300, height=120, fx=150, fy=150, cx=149.5, cy=59.5)


def frame(x: float, depth: float | None) -> Frame:
    image = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    pose = pose_from(np.eye(3), np.array([x, 0.0, 0.0]))
    known = None if depth is None else np.full(image.shape[:2], depth, np.float32)
    return Frame(0, 1, image, CAMERA, depth=known, true_world_from_camera=pose)


@pytest.mark.parametrize("moved", [-1.0, 0.0, 0.5, 3.0, 5.0])
def test_a_camera_that_moves_along_a_wall_sees_what_has_not_left_the_image(moved):
    """At 2 m, 1 m is 75 of the 300 pixels."""
    expected = max(1 - abs(moved) / 4, 0.0)
    assert true_overlap(frame(0.0, 2.0), frame(moved, None)) == pytest.approx(expected, abs=0.02)


def test_depths_that_are_not_known_do_not_count():
    half = frame(0.0, 2.0)
    half.depth[:, :150] = np.nan
    assert true_overlap(half, frame(2.0, None)) == pytest.approx(1.0)
    half.depth[:, 150:] = 0.0
    assert np.isnan(true_overlap(half, frame(2.0, None)))
    with pytest.raises(EvaluationError, match="frame 0 lacks them"):
        true_overlap(frame(0.0, None), half)
