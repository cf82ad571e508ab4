"""Motion selection on matches of two views of known geometry."""

from __future__ import annotations

import numpy as np
import pytest
from point_world import CAMERA

from ros_matching.datatypes import Matches
from ros_matching.geometry.se3 import angle_between_deg, exp_so3, pose_from, rotation_angle_deg, transform
from ros_matching.odometry.motion_selection import competing_motions

THRESHOLD_PX = 2.5


def views(
    points: np.ndarray, camera1_from_camera0: np.ndarray, noise_px: float, wrong: float = 0.1, seed: int = 0
) -> Matches:
    """Matches of the points (P, 3) visible in both cameras, with noise in the second image and outliers."""
    random = np.random.default_rng(seed)
    pixels0, pixels1 = CAMERA.project(points), CAMERA.project(transform(camera1_from_camera0, points))
    size = CAMERA.width, CAMERA.height
    visible = np.all([((p >= 0) & (p < size)).all(axis=1) for p in (pixels0, pixels1)], axis=0)
    pixels0, pixels1 = pixels0[visible], pixels1[visible] + random.normal(0, noise_px, (np.count_nonzero(visible), 2))
    mixed = random.random(len(pixels1)) < wrong
    pixels1[mixed] = random.uniform((0, 0), size, (np.count_nonzero(mixed), 2))
    rows = np.arange(len(pixels0))
    return Matches(pixels0, pixels1, np.ones(len(rows)), rows, rows)


def relief(depth: float = 4.0, height: float = 2.0, count: int = 600, seed: int = 1) -> np.ndarray:
    """Points (count, 3) over the whole view, between ``depth`` and ``depth + height``."""
    random = np.random.default_rng(seed)
    rays = CAMERA.unproject(random.uniform((-200, -200), (840, 680), (count, 2)))
    return rays * random.uniform(depth, depth + height, (count, 1))


SIDEWAYS = np.array([1.0, 0.2, 0.1])
SIDEWAYS /= np.linalg.norm(SIDEWAYS)
ROTATION = np.array([0.01, 0.05, -0.02])


@pytest.mark.parametrize("parallax_deg", [0.5, 2.0, 8.0])
def test_the_true_motion_is_found_without_ambiguity(parallax_deg):
    pose = pose_from(exp_so3(ROTATION), 5.0 * np.radians(parallax_deg) * SIDEWAYS)
    motions = competing_motions(views(relief(), pose, noise_px=0.2), CAMERA, THRESHOLD_PX)
    assert motions.beats_rotation
    assert motions.beats_rivals
    found = motions.best.view.camera1_from_camera0
    assert angle_between_deg(found[:3, 3], pose[:3, 3]) < 3
    assert rotation_angle_deg(found[:3, :3] @ pose[:3, :3].T) < 0.1
    assert motions.best.parallax_deg == pytest.approx(parallax_deg, rel=0.3)


def test_the_noise_is_estimated():
    pose = pose_from(exp_so3(ROTATION), 0.3 * SIDEWAYS)
    for noise_px in (0.3, 0.6):
        motions = competing_motions(views(relief(), pose, noise_px), CAMERA, THRESHOLD_PX)
        # The noise is in one of the images, and the distance to the epipolar geometry shares it between both.
        assert np.radians(motions.noise_deg) * CAMERA.fx == pytest.approx(noise_px / np.sqrt(2), rel=0.25)


@pytest.mark.parametrize("seed", range(4))
def test_a_pure_rotation_is_not_mistaken_for_a_motion(seed):
    pose = pose_from(exp_so3(3 * ROTATION), np.zeros(3))
    motions = competing_motions(views(relief(), pose, 0.3, seed=seed), CAMERA, THRESHOLD_PX)
    assert motions is None or not motions.beats_rotation or motions.best.parallax_deg < 0.1


def test_a_plane_is_ambiguous_and_points_off_it_disambiguate():
    """Oblique motion towards the plane: it is in front of both cameras with either motion."""
    normal = np.array([0.3, -0.2, 1.0])
    plane = relief()
    plane *= (5.0 / (plane @ normal))[:, None]
    pose = pose_from(exp_so3(ROTATION), np.array([0.3, 0.1, -0.6]))
    assert not competing_motions(views(plane, pose, 0.3), CAMERA, THRESHOLD_PX).beats_rivals
    decided = competing_motions(views(np.concatenate([plane, relief()]), pose, 0.3), CAMERA, THRESHOLD_PX)
    assert decided.beats_rivals
    assert angle_between_deg(decided.best.view.camera1_from_camera0[:3, 3], pose[:3, 3]) < 2


def test_accurate_matches_disambiguate_motions_with_the_same_inliers():
    """The points are so near the plane that all matches are inliers of the wrong motion."""
    normal = np.array([0.1, 0.1, 1.0])
    plane = relief()
    plane *= (5.0 / (plane @ normal) * np.random.default_rng(2).uniform(0.93, 1.07, len(plane)))[:, None]
    pose = pose_from(exp_so3(ROTATION), 0.25 * SIDEWAYS)
    exact = competing_motions(views(plane, pose, 0.05, wrong=0), CAMERA, THRESHOLD_PX)
    assert exact.beats_rivals
    assert angle_between_deg(exact.best.view.camera1_from_camera0[:3, 3], pose[:3, 3]) < 3


def test_no_motion_explains_random_matches():
    random = np.random.default_rng(0)
    size, rows = (CAMERA.width, CAMERA.height), np.arange(300)
    chance = Matches(
        random.uniform((0, 0), size, (300, 2)), random.uniform((0, 0), size, (300, 2)), np.ones(300), rows, rows
    )
    motions = competing_motions(chance, CAMERA, THRESHOLD_PX)
    assert motions is None or not (motions.beats_rotation and motions.beats_rivals)
