"""Semi-global matching on a wall of known depth, viewed from all sides."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ros_matching.datatypes import Camera, Frame, Keyframe, ScaleState
from ros_matching.errors import GeometryError
from ros_matching.evaluation.depth.baselines import SemiGlobalMatching
from ros_matching.geometry.se3 import exp_so3, pose_from

CAMERA = Camera(240, 180, 220.0, 220.0, 119.5, 89.5)
WALL = 2.0
RANGE = (1.2, 4.0)
PIXELS_PER_UNIT = 110.0


@pytest.fixture(scope="module")
def wall() -> np.ndarray:
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (700, 700, 3), dtype=np.uint8), (0, 0), 1.5)
    return cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)


def keyframe(wall: np.ndarray, position: tuple, turn: tuple = (0.0, 0.0, 0.0)) -> Keyframe:
    """A view of the wall, the plane z = 2, with its exact depth."""
    pose = pose_from(exp_so3(np.array(turn)), np.array(position))
    rays = pose[:3, :3] @ np.linalg.inv(CAMERA.matrix)
    world = (WALL - pose[2, 3]) * rays + np.outer(pose[:3, 3], rays[2])  # homogeneous points of the plane
    texture = np.array([[PIXELS_PER_UNIT, 0, 0], [0, PIXELS_PER_UNIT, 0], [0, 0, 1]]) @ np.stack(
        [world[0], world[1], rays[2]]
    )
    texture = np.array([[1, 0, 350], [0, 1, 350], [0, 0, 1.0]]) @ texture
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image = cv2.warpPerspective(wall, texture, (CAMERA.width, CAMERA.height), flags=flags)
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    pixels = np.stack([u.ravel(), v.ravel(), np.ones(u.size)])
    depth = ((WALL - pose[2, 3]) / (rays @ pixels)[2]).reshape(u.shape).astype(np.float32)
    frame = Frame(0, 1, image, CAMERA, pose, depth)
    return Keyframe(0, frame, pose, np.zeros((0, 2)), np.zeros(0), ScaleState.METRIC)


@pytest.mark.parametrize(
    ("position", "turn"),
    [
        ((0.15, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((-0.15, 0.02, 0.03), (0.0, 0.0, 0.0)),
        ((0.0, 0.15, 0.0), (0.0, 0.0, 0.0)),
        ((0.02, -0.15, 0.0), (0.05, 0.03, 0.02)),
        ((0.12, 0.08, -0.05), (0.0, -0.08, 0.1)),
    ],
)
def test_the_wall_is_found_from_every_side(wall, position, turn):
    reference = keyframe(wall, (0.1, -0.05, 0.0), (0.1, 0.15, -0.05))
    source = keyframe(wall, tuple(np.add(position, (0.1, -0.05, 0.0))), tuple(np.add(turn, (0.1, 0.15, -0.05))))
    found = SemiGlobalMatching().estimate(reference, [source], RANGE)
    known = np.isfinite(found.depth)
    assert known.mean() > 0.5
    error = np.abs(found.depth / reference.frame.depth - 1)[known]
    assert np.median(error) < 0.015
    assert np.mean(error < 0.05) > 0.9
    assert set(np.unique(found.confidence)) == {0.0, 1.0}


def test_several_pairs_are_joined(wall):
    reference = keyframe(wall, (0, 0, 0))
    sources = [keyframe(wall, (shift, 0, 0)) for shift in (-0.2, 0.2)]
    one = SemiGlobalMatching().estimate(reference, sources[:1], RANGE)
    both = SemiGlobalMatching().estimate(reference, sources, RANGE)
    assert np.isfinite(both.depth).sum() > np.isfinite(one.depth).sum()


def test_a_pair_along_the_view_is_left_out(wall):
    found = SemiGlobalMatching().estimate(keyframe(wall, (0, 0, 0)), [keyframe(wall, (0, 0, 0.2))], RANGE)
    assert np.isnan(found.depth).all()
    assert (found.confidence == 0).all()


def test_an_empty_range_is_refused(wall):
    view = keyframe(wall, (0, 0, 0))
    with pytest.raises(GeometryError, match="range"):
        SemiGlobalMatching().estimate(view, [view], (2.0, 2.0))
