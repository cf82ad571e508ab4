"""The similarity between two views of a place that was mapped twice."""

from __future__ import annotations

import numpy as np
import pytest

from ros_matching.datatypes import Camera
from ros_matching.geometry.se3 import exp_so3, pose_from, transform
from ros_matching.geometry.sim3 import invert_similarity, local_similarity, retract_similarity, similarity_from
from ros_matching.geometry.similarity_pose import SharedView, _linearised, _moved, refine_similarity

CAMERA = Camera(width=640, height=480, fx=500, fy=500, cx=320, cy=240)
TRUE = similarity_from(pose_from(exp_so3(np.array([0.05, 0.2, -0.1])), np.array([0.5, -0.1, 0.2])), 1.6)


def shared(seed: int, noise_px: float = 0.3, outliers: float = 0.0) -> tuple[SharedView, SharedView]:
    """Landmarks of both maps: those of the first in its unit, those of the second in its own."""
    rng = np.random.default_rng(seed)
    first = rng.uniform([-1, -0.8, 2], [1, 0.8, 5], (80, 3))
    second = transform(invert_similarity(TRUE), rng.uniform([-1, -0.8, 2], [1, 0.8, 5], (60, 3)))
    views = []
    for points, similarity in ((first, invert_similarity(TRUE)), (second, TRUE)):
        pixels = CAMERA.project(transform(similarity, points)) + rng.normal(0, noise_px, (len(points), 2))
        wrong = rng.random(len(points)) < outliers
        pixels[wrong] += rng.uniform(-80, 80, (np.count_nonzero(wrong), 2))
        views.append(SharedView(points, pixels))
    return views[0], views[1]


def test_the_similarity_is_found_from_a_rough_start_with_outliers():
    of_first, of_second = shared(0, outliers=0.2)
    start = retract_similarity(TRUE, np.array([0.1, -0.05, 0.1, 0.02, 0.03, -0.02, 0.1]))
    found = refine_similarity(start, of_first, of_second, CAMERA, 2.5)
    error = local_similarity(TRUE, found.first_from_second)
    assert np.abs(error[:3]).max() < 0.01
    assert np.abs(error[3:6]).max() < 0.003
    assert abs(error[6]) < 0.005
    assert 100 < found.inliers < 125


def test_the_covariance_is_that_of_the_errors():
    errors, covariances = [], []
    for seed in range(150):
        found = refine_similarity(TRUE, *shared(seed), CAMERA, 2.5)
        errors.append(local_similarity(TRUE, found.first_from_second))
        covariances.append(found.covariance)
    expected = np.sqrt(np.diagonal(np.mean(covariances, axis=0)))
    np.testing.assert_allclose(np.std(errors, axis=0), expected, rtol=0.3)


def test_the_derivatives_are_those_of_the_residuals():
    of_first, of_second = shared(1)
    residual, jacobian = _linearised(TRUE, of_first, of_second, CAMERA)
    for index, unit in enumerate(np.eye(7)):
        moved, _ = _linearised(_moved(TRUE, 1e-6 * unit), of_first, of_second, CAMERA)
        np.testing.assert_allclose((moved - residual) / 1e-6, jacobian[index], rtol=1e-3, atol=0.05)


def test_landmarks_of_one_map_alone_leave_the_scale_open():
    of_first, _ = shared(2)
    nothing = SharedView(np.zeros((0, 3)), np.zeros((0, 2)))
    assert refine_similarity(TRUE, of_first, nothing, CAMERA, 2.5) is None


def test_the_first_landmarks_are_counted_apart_from_the_second():
    of_first, of_second = shared(3)
    found = refine_similarity(TRUE, of_first, of_second, CAMERA, 2.5)
    assert (len(found.inliers_first), len(found.inliers_second)) == (80, 60)
    assert found.inliers == pytest.approx(140, abs=2)
