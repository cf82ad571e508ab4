"""What the filter of a depth map removes and keeps: flying points, isolated depths, and one view that suffices."""

from __future__ import annotations

import numpy as np
import pytest
from plane_views import CAMERA_FROM_WORLD, SIZE, K, plane_depth

from ros_matching.datatypes import Camera, DepthMap
from ros_matching.mapping.config import ConsistencyConfig
from ros_matching.mapping.depth_consistency import filter_depth, flying_points, isolated_depths

HEIGHT, WIDTH = SIZE
CAMERA = Camera(WIDTH, HEIGHT, K[0, 0], K[1, 1], K[0, 2], K[1, 2])
PLANE = np.array([0.0, 0.0, 1.0]), 2.0
MAX_ERROR = 0.04


def test_points_between_two_surfaces_fly() -> None:
    """A box at 2 before a wall at 4: the pixels of its outline have depths between them, as a network makes them."""
    depth = np.full((20, 30), 4.0)
    depth[6:14, 9:19] = 2.0
    outline = np.zeros(depth.shape, bool)
    outline[6:14, [8, 19]] = outline[[5, 14], 9:19] = True  # without corners, which continue two of its lines
    depth[outline] = 2.7
    np.testing.assert_array_equal(flying_points(depth, MAX_ERROR), outline)


def test_an_edge_without_points_between_keeps_both_surfaces() -> None:
    depth = np.full((20, 30), 4.0)
    depth[5:15, 8:20] = 2.0
    assert not flying_points(depth, MAX_ERROR).any()


@pytest.mark.parametrize("normal", [(0.0, 0.0, 1.0), (0.8, 0.0, 0.5), (0.0, -1.0, 0.2), (0.3, 0.7, 0.4)])
def test_planes_of_any_slope_stay(normal: tuple[float, float, float]) -> None:
    v, u = np.mgrid[:24, :32]
    inverse = np.array(normal) @ np.stack([(u - 16) / 30, (v - 12) / 30, np.ones(u.shape)]).reshape(3, -1)
    depth = (1 / np.where(inverse > 0.02, inverse, np.nan)).reshape(u.shape)
    assert np.isfinite(depth).sum() > 100
    assert not flying_points(depth, MAX_ERROR).any()


def test_a_sphere_stays_but_for_its_outline() -> None:
    v, u = np.mgrid[:60, :60]
    rays = np.stack([(u - 30) / 60, (v - 30) / 60, np.ones(u.shape)], axis=-1)
    # |t ray - c| = r for a sphere of radius 1 at 4
    a, b, c = (rays**2).sum(-1), -4 * rays[..., 2], 15.0
    with np.errstate(invalid="ignore"):
        depth = (-b - np.sqrt(b**2 - a * c)) / a
    seen = np.isfinite(depth)
    inner = np.hypot(u - 30, v - 30) < 12
    assert inner.sum() > 400
    assert seen[inner].all()
    assert not flying_points(depth, MAX_ERROR)[inner].any()


def test_unknown_neighbours_do_not_judge_a_depth() -> None:
    depth = np.full((9, 9), np.nan)
    depth[4, 4] = depth[2, 2] = 3.0
    assert not flying_points(depth, MAX_ERROR).any()


def test_isolated_depths_and_those_at_the_border() -> None:
    depth = np.full((12, 12), np.nan)
    depth[:5, :5] = 1.0  # its corner in the image has three neighbours
    depth[9, 9] = depth[9, 10] = 1.0
    expected = np.zeros(depth.shape, bool)
    expected[9, 9:11] = True
    np.testing.assert_array_equal(isolated_depths(depth, 3), expected)
    assert not isolated_depths(depth, 0).any()


def kept(confidence: float, biases: list[float], **settings: float) -> float:
    """The fraction of a plane's depths that is kept, with views whose depths have these relative biases."""
    confidences = np.full(SIZE, confidence, np.float32)
    reference = DepthMap(plane_depth(*PLANE, np.eye(4)).astype(np.float32), confidences, CAMERA)
    others = []
    for pose, bias in zip(CAMERA_FROM_WORLD[1:], biases, strict=False):
        depth = (plane_depth(*PLANE, pose) * (1 + bias)).astype(np.float32)
        others.append((DepthMap(depth, confidences, CAMERA), np.linalg.inv(pose)))
    assert len(others) == len(biases)
    config = ConsistencyConfig(max_error_px=5.0, **settings)
    return float(np.isfinite(filter_depth(reference, np.eye(4), others, config)[0].depth).mean())


def test_a_very_confident_depth_needs_one_view_that_agrees_closely() -> None:
    assert kept(0.9, [0.0]) > 0.5
    assert kept(0.9, [0.02]) == 0  # within max_depth_error, not within its half
    assert kept(0.6, [0.0]) == 0
    assert kept(0.9, [0.0], strong_confidence=1.0) == 0
    assert kept(0.6, [0.02, 0.0]) > 0.5


def test_no_confidence_replaces_the_last_view() -> None:
    assert kept(0.95, [0.1]) == 0
    assert kept(0.95, [0.1], min_consistent=1) == 0
