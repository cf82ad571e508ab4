"""The covariance of an adjustment against what adjustments under fresh noise do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from geometry_ground_truth import CAMERA, random_points
from scipy.stats import chi2

from ros_matching.geometry import se3
from ros_matching.geometry.bundle_adjustment import BundleConfig, BundleProblem, bundle_adjust
from ros_matching.geometry.bundle_covariance import BundleCovariance, bundle_covariance

NOISE_PX = 0.4
TRIALS = 150


def true_problem(seed: int, fixed: int) -> BundleProblem:
    """Five cameras in a row that see 60 points, the first ``fixed`` of them fixed; no noise."""
    random = np.random.default_rng(seed)
    points = random_points(random, 60, depth=(2.0, 6.0))
    centers = np.column_stack([0.15 * np.arange(5), 0.03 * random.normal(size=5), 0.03 * random.normal(size=5)])
    poses = se3.invert(se3.pose_from(se3.exp_so3(0.02 * random.normal(size=(5, 3))), centers))
    pixels = np.stack([CAMERA.project(se3.transform(pose, points)) for pose in poses])
    camera_index, point_index = np.nonzero(np.isfinite(pixels[..., 0]))
    return BundleProblem(
        camera_from_world=poses,
        points=points,
        camera_index=camera_index,
        point_index=point_index,
        points_px=pixels[camera_index, point_index],
        weights=np.ones(len(camera_index)),
        fixed_cameras=np.arange(5) < fixed,
        camera=CAMERA,
    )


def adjusted(problem: BundleProblem, seed: int) -> BundleProblem:
    """The optimum under fresh noise of the pixels."""
    noise = NOISE_PX * np.random.default_rng(seed).normal(size=problem.points_px.shape)
    noisy = replace(problem, points_px=problem.points_px + noise)
    result = bundle_adjust(noisy)
    return replace(noisy, camera_from_world=result.camera_from_world, points=result.points)


def camera_steps(estimate: BundleProblem, ground_truth: BundleProblem, covariance: BundleCovariance) -> np.ndarray:
    """The steps (6F,) in camera coordinates from the estimated to the true free cameras."""
    free = covariance.free_cameras
    return se3.local(
        np.eye(4), ground_truth.camera_from_world[free] @ se3.invert(estimate.camera_from_world[free])
    ).ravel()


def test_errors_of_cameras_and_points_match_their_covariance():
    ground_truth = true_problem(seed=0, fixed=2)
    cameras, points, sigmas = [], [], []
    for seed in range(TRIALS):
        estimate = adjusted(ground_truth, seed)
        covariance = bundle_covariance(estimate)
        step = camera_steps(estimate, ground_truth, covariance)
        cameras.append(step @ np.linalg.solve(covariance.cameras, step))
        by_cameras = covariance.points_by_cameras[7]
        of_point = covariance.points[7] + by_cameras @ covariance.cameras @ by_cameras.T
        error = ground_truth.points[7] - estimate.points[7]
        points.append(error @ np.linalg.solve(of_point, error))
        sigmas.append(covariance.std_px)
    assert np.mean(sigmas) == pytest.approx(NOISE_PX, rel=0.03)
    for values, freedom in ((cameras, 18), (points, 3)):
        low, high = chi2.ppf([0.001, 0.999], freedom * TRIALS) / TRIALS
        assert low < np.mean(values) < high * 1.05  # the Huber loss costs a few per cent of efficiency


def test_points_alone_do_not_contain_their_common_error():
    """Averaged over all points the error in depth is far larger than independent points would have it."""
    ground_truth = true_problem(seed=1, fixed=2)
    means, own, joint = [], [], []
    for seed in range(40):
        estimate = adjusted(ground_truth, seed)
        covariance = bundle_covariance(estimate)
        means.append(np.mean(ground_truth.points[:, 2] - estimate.points[:, 2]))
        own.append(covariance.points[:, 2, 2].sum() / len(ground_truth.points) ** 2)
        mean_row = covariance.points_by_cameras[:, 2].mean(axis=0)
        joint.append(own[-1] + mean_row @ covariance.cameras @ mean_row)
    power = np.mean(np.square(means))
    assert power > 3 * np.mean(own)
    assert 0.5 < power / np.mean(joint) < 1.8


def test_a_scale_that_nothing_holds_has_no_variance():
    ground_truth = true_problem(seed=2, fixed=1)
    covariance = bundle_covariance(adjusted(ground_truth, 0))
    assert np.linalg.matrix_rank(covariance.cameras / np.abs(covariance.cameras).max(), tol=1e-9) <= 23
    assert np.isfinite(covariance.cameras).all()


def test_the_scale_has_no_variance_without_depth_information():
    """Two views straight ahead of a far scene: the remaining curvature of the scale is rounding."""
    random = np.random.default_rng(4)
    points = CAMERA.unproject(random.uniform((60, 60), (580, 420), (80, 2))) * random.uniform(10, 4000, (80, 1))
    poses = np.stack([np.eye(4), se3.pose_from(np.eye(3), np.array([0.0, 0.0, -0.3]))])
    pixels = np.stack([CAMERA.project(se3.transform(pose, points)) for pose in poses])
    ground_truth = BundleProblem(
        camera_from_world=poses,
        points=points,
        camera_index=np.repeat([0, 1], len(points)),
        point_index=np.tile(np.arange(len(points)), 2),
        points_px=pixels.reshape(-1, 2),
        weights=np.ones(2 * len(points)),
        fixed_cameras=np.array([True, False]),
        camera=CAMERA,
    )
    covariance = bundle_covariance(adjusted(ground_truth, 0))
    length, turn = np.sqrt(np.diagonal(covariance.cameras)).reshape(2, 3)
    assert (length < 0.3).all()
    assert (turn < 0.01).all()


def test_the_noise_has_a_lower_limit():
    ground_truth = true_problem(seed=3, fixed=2)
    assert bundle_covariance(ground_truth, min_std_px=0.2).std_px == 0.2
    once, twice = (bundle_covariance(ground_truth, min_std_px=sigma) for sigma in (0.2, 0.4))
    np.testing.assert_allclose(4 * once.cameras, twice.cameras)


# True intrinsics minus those of the adjustment: focal length (relative), principal point (px), coefficient of r^2
INTRINSICS_ERRORS = {
    "focal": np.array([4e-3, 0.0, 0.0, 0.0]),
    "center": np.array([0.0, 0.8, -0.5, 0.0]),
    "radial": np.array([0.0, 0.0, 0.0, 4e-3]),
}


def with_other_intrinsics(problem: BundleProblem, error: np.ndarray) -> BundleProblem:
    """The observations of a camera whose intrinsics are those of the problem and an ``error`` (4,)."""
    by_pose = np.stack([se3.transform(pose, problem.points) for pose in problem.camera_from_world])
    xy = by_pose[..., :2] / by_pose[..., 2:]
    xy = xy * (1 + error[0] + error[3] * np.sum(xy**2, axis=-1, keepdims=True))
    pixels = xy * (CAMERA.fx, CAMERA.fy) + (CAMERA.cx, CAMERA.cy) + error[1:3]
    return replace(problem, points_px=pixels[problem.camera_index, problem.point_index])


@pytest.mark.parametrize("name", INTRINSICS_ERRORS)
def test_wrong_intrinsics_move_cameras_and_points_as_predicted(name):
    error = INTRINSICS_ERRORS[name]
    ground_truth = true_problem(seed=5, fixed=2)
    observed = with_other_intrinsics(ground_truth, error)
    result = bundle_adjust(observed, BundleConfig(iterations=50, convergence=0.0, loss_scale_px=100.0))
    estimate = replace(observed, camera_from_world=result.camera_from_world, points=result.points)
    covariance = bundle_covariance(estimate)
    step = camera_steps(estimate, ground_truth, covariance)
    np.testing.assert_allclose(covariance.cameras_by_intrinsics @ error, step, atol=0.05 * np.abs(step).max())
    moved = ground_truth.points - estimate.points
    np.testing.assert_allclose(covariance.points_by_intrinsics @ error, moved, atol=0.05 * np.abs(moved).max())


def test_fixed_cameras_that_moved_by_the_same_error_are_followed():
    """A window whose fixed cameras were adjusted under the same wrong intrinsics continues in their distorted world."""
    error = INTRINSICS_ERRORS["focal"]
    ground_truth = true_problem(seed=6, fixed=2)
    exact = BundleConfig(iterations=50, convergence=0.0, loss_scale_px=100.0)
    observed = with_other_intrinsics(ground_truth, error)
    first = bundle_adjust(observed, exact)
    earlier = replace(observed, camera_from_world=first.camera_from_world, points=first.points)
    steps = bundle_covariance(earlier).cameras_by_intrinsics.reshape(3, 6, 4)
    later = replace(earlier, fixed_cameras=np.array([True, True, True, True, False]))
    covariance = bundle_covariance(later, by_intrinsics=np.concatenate([np.zeros((2, 6, 4)), steps]))
    np.testing.assert_allclose(covariance.cameras_by_intrinsics, steps[2], atol=0.05 * np.abs(steps[2]).max())
