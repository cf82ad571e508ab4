"""The pairs of the hard suite: ground truth consistent with the images, and the difficulty of their line."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from ros_matching.errors import SceneError
from ros_matching.geometry.se3 import invert, transform
from ros_matching.scenes import hard_views
from ros_matching.scenes.hard_bodies import bodies_in_front, moves_visibly
from ros_matching.scenes.hard_views import (
    CAMERA,
    COMMON_WORLD,
    HEIGHT,
    MOVING_FRACTION,
    READ_NOISE,
    WIDTH,
    ViewPair,
    averaged,
    common_world,
    exposure_path,
    low_light,
    to_linear,
    view_pair,
)

STRIDE_PX = 5


@cache
def pair_of(line: str, number: int = 0) -> ViewPair:
    return view_pair(line, seed=1, number=number)


def warped(pair: ViewPair) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Static pixels (N, 2) of the first image, where they are in the second by ground truth, and back in the first.

    The way back is by the depth of the second image, at the pixel next to where they are.
    """
    rows, columns = (each[::STRIDE_PX, ::STRIDE_PX].ravel() for each in np.indices(pair.depth[0].shape))
    chosen = np.isfinite(pair.depth[0][rows, columns]) & ~pair.moving[0][rows, columns]
    rows, columns = rows[chosen], columns[chosen]
    pixels = np.column_stack([columns, rows]).astype(float)
    one_from_zero = invert(pair.world_from_camera[1]) @ pair.world_from_camera[0]
    there = CAMERA.project(transform(one_from_zero, CAMERA.unproject(pixels) * pair.depth[0][rows, columns, None]))
    with np.errstate(invalid="ignore"):
        inside = ((there > 0) & (there < (CAMERA.width - 1, CAMERA.height - 1))).all(axis=1)
    pixels, there = pixels[inside], there[inside]
    column, row = np.rint(there).astype(int).T
    points = CAMERA.unproject(there) * pair.depth[1][row, column, None]
    return pixels, there, CAMERA.project(transform(invert(one_from_zero), points))


def gray(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    values = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.remap(cv2.GaussianBlur(values, (0, 0), 2), *pixels.astype(np.float32).T[:, :, None], cv2.INTER_LINEAR)


@pytest.mark.parametrize("line", ["moving", "moving-one", "repeated", "angle-45"])
def test_static_points_follow_the_ground_truth(line):
    pair = pair_of(line)
    pixels, there, back = warped(pair)
    off_px = np.linalg.norm(back - pixels, axis=1)
    seen_by_both = off_px < 1
    assert np.count_nonzero(seen_by_both) > 0.12 * WIDTH * HEIGHT / STRIDE_PX**2  # others are hidden in the second view
    first, second = gray(pair.images[0], pixels[seen_by_both]), gray(pair.images[1], there[seen_by_both])
    assert np.corrcoef(first[:, 0], second[:, 0])[0, 1] > 0.8


@pytest.mark.parametrize("line", ["moving", "moving-one"])
def test_half_or_more_moves_by_itself_and_enough_does_not(line):
    pair = pair_of(line)
    low, high = MOVING_FRACTION
    fractions = pair.moving.mean(axis=(1, 2))
    assert (fractions >= low).all()
    assert (fractions <= high).all()
    assert common_world(CAMERA, pair.depth, pair.world_from_camera, pair.moving) > COMMON_WORLD[line] - 0.02


def test_a_static_body_or_one_moving_with_the_camera_does_not_count():
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, :3, 3] = [0.3, 0.1, 0.0]
    rng = np.random.default_rng(0)
    [body] = bodies_in_front(poses, CAMERA, 1, rng)
    across = np.eye(4)
    across[:3, 3] = [-0.05, 0.15, 0.0]  # at right angles to the camera's motion
    assert moves_visibly(replace(body, motion=across), poses, CAMERA)
    assert not moves_visibly(replace(body, motion=np.eye(4)), poses, CAMERA)
    assert not moves_visibly(replace(body, motion=poses[1]), poses, CAMERA)
    assert not moves_visibly(replace(body, motion=poses[1] @ poses[1]), poses, CAMERA)


@pytest.mark.parametrize("line", ["repeated", "low-light"])
def test_pairs_depend_on_their_number_and_seed_alone(line):
    again, other = view_pair(line, seed=1, number=0), view_pair(line, seed=2, number=0)
    np.testing.assert_array_equal(again.images, pair_of(line).images)
    np.testing.assert_array_equal(again.world_from_camera, pair_of(line).world_from_camera)
    assert not np.allclose(other.world_from_camera, again.world_from_camera)


@pytest.mark.parametrize("angle_deg", hard_views.VIEW_ANGLES_DEG)
def test_views_have_the_configured_angle(angle_deg):
    pair = pair_of(f"angle-{angle_deg}")
    rays = pair.target - pair.world_from_camera[:, :3, 3]
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    assert np.degrees(np.arccos(rays[0] @ rays[1])) == pytest.approx(angle_deg, abs=1e-6)
    seen = CAMERA.project(np.stack([transform(invert(pose), pair.target[None])[0] for pose in pair.world_from_camera]))
    assert (np.abs(seen - [CAMERA.cx, CAMERA.cy]) < 200).all()


def test_the_blur_has_the_configured_length_around_the_pose():
    rng, pose = np.random.default_rng(0), pair_of("angle-20").world_from_camera[0]
    ahead = transform(pose, np.array([[0.0, 0.0, 2.5]]))
    for length_px in (8.0, 24.0):
        path = exposure_path(pose, length_px, 2.5, rng)
        seen = np.concatenate([CAMERA.project(transform(invert(one), ahead)) for one in path])
        assert np.linalg.norm(seen[-1] - seen[0]) == pytest.approx(length_px, rel=0.02)
        assert np.linalg.norm(np.diff(seen, axis=0), axis=1).max() < 2.6
        np.testing.assert_allclose(path[len(path) // 2], pose, atol=1e-12)


def test_blurred_views_lack_detail():
    def detail(image: np.ndarray) -> float:
        return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())

    assert max(map(detail, pair_of("motion-blur").images)) < 0.5 * min(map(detail, pair_of("angle-45").images))


def test_a_long_exposure_is_the_mean_of_the_light():
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    mean = averaged([black, white])
    assert to_linear(mean) == pytest.approx(0.5, abs=0.005)
    np.testing.assert_array_equal(averaged([mean] * 5), mean)


@pytest.mark.parametrize("photons", [20.0, 200.0])
def test_the_noise_of_few_photons(photons):
    grey = np.full((300, 300, 3), 186, np.uint8)  # half of the light
    light = to_linear(low_light(grey, photons, 0.8, np.random.default_rng(0)))
    assert light.mean() == pytest.approx(0.4, rel=0.03)
    expected = 0.8 * np.sqrt(photons * to_linear(grey).mean() + READ_NOISE**2) / photons
    assert light.std() == pytest.approx(expected, rel=0.05)


def test_an_unknown_line_is_refused():
    with pytest.raises(SceneError, match=r"no line of hard views is called 'fog'; there are: moving"):
        view_pair("fog", 0, 0)
