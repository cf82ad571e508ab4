from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ros_matching.datatypes import Camera
from ros_matching.geometry.triangulation import triangulate_tracks

CAMERA = Camera(640, 480, 500.0, 510.0, 319.5, 239.5)


@pytest.fixture
def views() -> np.ndarray:
    """Eight cameras that look at the origin from 5 away, ``camera_from_world``."""
    poses = np.tile(np.eye(4), (8, 1, 1))
    poses[:, :3, :3] = Rotation.from_euler("y", np.linspace(-0.4, 0.4, 8)[:, None]).as_matrix()
    poses[:, 2, 3] = 5
    return poses


def observed(views: np.ndarray, points: np.ndarray, noise_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """View, point and pixel of observations of each point by some of the views."""
    random = np.random.default_rng(0)
    rows = [(view, point) for point in range(len(points)) for view in range(point % 7, 8) if 7 - point % 7 >= 1]
    view, point = np.array(rows).T
    in_camera = np.einsum("oij,oj->oi", views[view, :3, :3], points[point]) + views[view, :3, 3]
    return view, point, CAMERA.project(in_camera) + noise_px * random.standard_normal((len(rows), 2))


def test_points_and_errors_are_recovered(views):
    ground_truth = np.random.default_rng(1).uniform(-1, 1, (50, 3))
    points, errors = triangulate_tracks(CAMERA, views, *observed(views, ground_truth, 0.0), 50)
    np.testing.assert_allclose(points, ground_truth, atol=1e-7)
    assert errors.max() < 1e-6


def test_the_result_minimises_the_reprojection_error(views):
    ground_truth = np.random.default_rng(1).uniform(-1, 1, (50, 3))
    view, point, pixels = observed(views, ground_truth, 0.5)
    points, errors = triangulate_tracks(CAMERA, views, view, point, pixels, 50)
    squared = np.bincount(point, errors**2, minlength=50)
    for axis in range(3):
        for sign in (-1, 1):
            moved = points.copy()
            moved[:, axis] += sign * 1e-4
            in_camera = np.einsum("oij,oj->oi", views[view, :3, :3], moved[point]) + views[view, :3, 3]
            worse = np.sum((CAMERA.project(in_camera) - pixels) ** 2, axis=1)
            assert (np.bincount(point, worse, minlength=50) >= squared - 1e-9).all()
    assert np.median(np.linalg.norm(points - ground_truth, axis=1)) < 0.03


def test_parallel_rays_and_single_views_give_no_point(views):
    center = np.array([[319.5, 239.5], [319.5, 239.5], [100.0, 100.0]])
    parallel = np.tile(np.eye(4), (2, 1, 1))
    parallel[1, 0, 3] = 1
    points, errors = triangulate_tracks(CAMERA, parallel, np.array([0, 1, 0]), np.array([0, 0, 1]), center, 3)
    assert np.isnan(points).all()
    assert np.isinf(errors).all()
