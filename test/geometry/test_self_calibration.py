"""Errors of the intrinsics, measured by windows that were adjusted under wrong ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from geometry_ground_truth import CAMERA, random_points

from ros_matching.geometry import se3, self_calibration
from ros_matching.geometry.bundle_adjustment import BundleConfig, BundleProblem, bundle_adjust
from ros_matching.geometry.self_calibration import estimated_errors, intrinsics_evidence

CONFIG = BundleConfig(iterations=50, convergence=1e-6, loss_scale_px=5.0)
NOISE_PX = 0.3
# True minus assumed: focal length (relative), principal point (px), coefficient of r^2
ERRORS = {
    "none": np.zeros(4),
    "focal length": np.array([-0.03, 0.0, 0.0, 0.0]),
    "distortion": np.array([0.0, 0.0, 0.0, -0.04]),
}


def adjusted_window(seed: int, error: np.ndarray) -> BundleProblem:
    """Six cameras that turn while they move see 150 points through intrinsics with an ``error`` (4,)."""
    random = np.random.default_rng(seed)
    points = random_points(random, 150, depth=(2.0, 8.0))
    steps = np.arange(6)
    centers = np.column_stack([0.2 * steps, 0.05 * random.normal(size=6), 0.08 * steps])
    turns = np.column_stack([0.05 * random.normal(size=6), -0.06 * steps, 0.05 * random.normal(size=6)])
    poses = se3.invert(se3.pose_from(se3.exp_so3(turns), centers))
    seen = np.stack([np.isfinite(CAMERA.project(se3.transform(pose, points))).all(axis=1) for pose in poses])
    camera_index, point_index = np.nonzero(seen)
    local = np.stack([se3.transform(pose, points) for pose in poses])[camera_index, point_index]
    xy = local[:, :2] / local[:, 2:]
    xy = xy * (1 + error[0] + error[3] * np.sum(xy**2, axis=1, keepdims=True))
    pixels = xy * (CAMERA.fx, CAMERA.fy) + (CAMERA.cx, CAMERA.cy) + error[1:3]
    problem = BundleProblem(
        camera_from_world=poses,
        points=points,
        camera_index=camera_index,
        point_index=point_index,
        points_px=pixels + NOISE_PX * random.normal(size=pixels.shape),
        weights=np.ones(len(camera_index)),
        fixed_cameras=steps < 2,
        camera=CAMERA,
    )
    free = replace(problem, fixed_cameras=steps < 1)
    result = bundle_adjust(free, CONFIG)
    return replace(problem, camera_from_world=result.camera_from_world, points=result.points)


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_measured(name):
    error = ERRORS[name]
    found, stds = estimated_errors([intrinsics_evidence(adjusted_window(seed, error), CONFIG) for seed in range(6)])
    row = int(np.argmax(np.abs(error)))
    if name == "none":
        assert (np.abs(found) < 4 * stds).all()
        assert stds[0] < 0.01
        assert stds[3] < 0.02
    else:
        assert 0.4 < found[row] / error[row] < 1.3
        assert abs(found[row]) > 5 * stds[row]


def test_more_windows_know_more():
    evidence = [intrinsics_evidence(adjusted_window(seed, np.zeros(4)), CONFIG) for seed in range(4)]
    assert (estimated_errors(evidence)[1] < 0.8 * estimated_errors(evidence[:1])[1]).all()


def test_a_part_of_many_points_is_enough(monkeypatch):
    error = ERRORS["focal length"]
    windows = [adjusted_window(seed, error) for seed in range(6)]
    everything = estimated_errors([intrinsics_evidence(window, CONFIG) for window in windows])
    monkeypatch.setattr(self_calibration, "_MOST_POINTS", 80)
    part = estimated_errors([intrinsics_evidence(window, CONFIG) for window in windows])
    assert abs(part[0][0] - everything[0][0]) < 3 * part[1][0]
    assert 1.0 < part[1][0] / everything[1][0] < 2.2
