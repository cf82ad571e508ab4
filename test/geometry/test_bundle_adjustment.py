from dataclasses import replace

import numpy as np
import pytest
from geometry_ground_truth import CAMERA, examples, numerical_jacobian, seeds
from hypothesis import given

from ros_matching.errors import ConfigError, GeometryError
from ros_matching.geometry import se3
from ros_matching.geometry.bundle_adjustment import BundleConfig, BundleProblem, bundle_adjust
from ros_matching.geometry.normal_equations import BundleObservations, Linearisation, jacobians

THOROUGH = BundleConfig(iterations=50, convergence=1e-12)


def exact_bundle(seed: int, cameras: int = 6, points: int = 120, fixed: int = 2) -> BundleProblem:
    """Cameras along a path that see points before them, without any error; the order is mixed."""
    random = np.random.default_rng(seed)
    poses = se3.retract(np.eye(4), random.normal(size=(cameras, 6)) * 0.05)
    poses[:, 0, 3] -= 0.4 * np.arange(cameras)
    world = np.column_stack(
        [random.uniform(-2.0, 4.0, points), random.uniform(-2, 2, points), random.uniform(4, 9, points)]
    )
    camera_index, point_index, pixels = [], [], []
    for index, pose in enumerate(poses):
        seen = np.flatnonzero(random.random(points) < 0.8)
        camera_index.append(np.full(len(seen), index))
        point_index.append(seen)
        pixels.append(CAMERA.project(se3.transform(pose, world[seen])))
    order = random.permutation(sum(map(len, pixels)))
    return BundleProblem(
        camera_from_world=poses,
        points=world,
        camera_index=np.concatenate(camera_index)[order],
        point_index=np.concatenate(point_index)[order],
        points_px=np.concatenate(pixels)[order],
        weights=np.ones(len(order)),
        fixed_cameras=np.arange(cameras) < fixed,
        camera=CAMERA,
    )


def perturbed(problem: BundleProblem, seed: int, camera_sigma: float = 0.02, point_sigma: float = 0.1) -> BundleProblem:
    random = np.random.default_rng(seed)
    deltas = camera_sigma * random.normal(size=(len(problem.camera_from_world), 6))
    deltas[problem.fixed_cameras] = 0.0
    return replace(
        problem,
        camera_from_world=se3.retract(problem.camera_from_world, deltas),
        points=problem.points + point_sigma * random.normal(size=problem.points.shape),
    )


def seen_twice(problem: BundleProblem) -> np.ndarray:
    return np.bincount(problem.point_index, minlength=len(problem.points)) >= 2


@examples
@given(seeds)
def test_a_perturbed_start_converges_to_the_ground_truth(seed):
    ground_truth = exact_bundle(seed)
    result = bundle_adjust(perturbed(ground_truth, seed), THOROUGH)
    np.testing.assert_allclose(result.camera_from_world, ground_truth.camera_from_world, atol=1e-6)
    rows = seen_twice(ground_truth)
    np.testing.assert_allclose(result.points[rows], ground_truth.points[rows], atol=1e-4)
    assert result.errors_px.max() < 1e-3
    assert result.converged
    assert result.final_cost < 1e-6 < result.initial_cost


def test_one_step_of_each_size_agrees_with_the_dense_normal_equations():
    problem = perturbed(exact_bundle(0, cameras=3, points=15, fixed=1), 0)
    observations = BundleObservations.of(problem)
    residuals = observations.residuals(problem.camera_from_world, problem.points)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(problem.points_px))
    linear = Linearisation.of(observations, residuals, problem.camera_from_world, weight)
    by_camera, by_point = jacobians(observations, residuals, problem.camera_from_world)
    for damping in (1e-4, 1e-2, 10.0):
        camera_steps, point_steps = linear.solve(damping)
        dense = np.zeros((2, len(weight), 18 + 45))
        for row, (camera, point) in enumerate(zip(observations.camera_index, observations.point_index, strict=True)):
            dense[:, row, 6 * camera : 6 * camera + 6] = by_camera[:, :, row].T
            dense[:, row, 18 + 3 * point : 21 + 3 * point] = by_point[:, :, row].T
        dense = dense[:, :, 6:].reshape(-1, 57)  # camera 0 is fixed
        information = (dense.T * np.tile(weight, 2)) @ dense
        information += damping * np.diag(np.diag(information))
        gradient = dense.T @ (np.tile(weight, 2) * residuals.residual.ravel())
        expected = -np.linalg.solve(information, gradient)
        np.testing.assert_allclose(np.r_[camera_steps[1:].ravel(), point_steps.ravel()], expected, rtol=1e-4, atol=1e-7)
        assert not camera_steps[0].any()


def test_derivatives_agree_with_differences():
    problem = perturbed(exact_bundle(1, cameras=2, points=10), 1, camera_sigma=0.1)
    observations = BundleObservations.of(problem)
    poses, points = problem.camera_from_world, problem.points
    by_camera, by_point = jacobians(observations, observations.residuals(poses, points), poses)

    def by_camera_step(step):
        moved = se3.pose_from(se3.exp_so3(step[3:]), step[:3]) @ poses
        return observations.residuals(moved, points).residual

    def by_point_step(step):
        return observations.residuals(poses, points + step).residual

    np.testing.assert_allclose(
        np.moveaxis(by_camera, 0, -1), numerical_jacobian(by_camera_step, 6), rtol=1e-5, atol=1e-3
    )
    np.testing.assert_allclose(np.moveaxis(by_point, 0, -1), numerical_jacobian(by_point_step, 3), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("loss", ["huber", "cauchy"])
def test_one_wrong_observation_in_ten_does_little(loss):
    ground_truth = exact_bundle(2, points=300)
    random = np.random.default_rng(2)
    pixels = ground_truth.points_px + random.normal(size=ground_truth.points_px.shape) * 0.3
    wrong = random.random(len(pixels)) < 0.1
    pixels[wrong] += random.uniform(-60.0, 60.0, (np.count_nonzero(wrong), 2))
    config = replace(THOROUGH, loss=loss, loss_scale_px=1.0)
    result = bundle_adjust(perturbed(replace(ground_truth, points_px=pixels), 2), config)
    errors = se3.local(se3.invert(ground_truth.camera_from_world), se3.invert(result.camera_from_world))
    assert np.linalg.norm(errors[:, :3], axis=1).max() < 0.02
    assert np.degrees(np.linalg.norm(errors[:, 3:], axis=1)).max() < 0.2
    assert np.median(result.errors_px[wrong]) > 10.0
    assert np.median(result.errors_px[~wrong]) < 0.7


def test_fixed_cameras_stay_and_all_fixed_moves_points_alone():
    ground_truth = exact_bundle(3)
    start = perturbed(ground_truth, 3)
    result = bundle_adjust(start, THOROUGH)
    np.testing.assert_array_equal(result.camera_from_world[:2], start.camera_from_world[:2])
    all_fixed = replace(start, camera_from_world=ground_truth.camera_from_world, fixed_cameras=np.ones(6, dtype=bool))
    result = bundle_adjust(all_fixed, THOROUGH)
    np.testing.assert_array_equal(result.camera_from_world, ground_truth.camera_from_world)
    np.testing.assert_allclose(
        result.points[seen_twice(ground_truth)], ground_truth.points[seen_twice(ground_truth)], atol=1e-5
    )


def test_one_fixed_camera_holds_the_world_up_to_its_scale():
    ground_truth = exact_bundle(4, fixed=1)
    result = bundle_adjust(perturbed(ground_truth, 4), THOROUGH)
    assert result.errors_px.max() < 1e-2
    scale = np.linalg.norm(result.camera_from_world[5, :3, 3] - result.camera_from_world[0, :3, 3])
    scale /= np.linalg.norm(ground_truth.camera_from_world[5, :3, 3] - ground_truth.camera_from_world[0, :3, 3])
    assert 0.5 < scale < 2.0
    turned = result.camera_from_world[:, :3, :3] @ np.swapaxes(ground_truth.camera_from_world[:, :3, :3], 1, 2)
    assert se3.rotation_angle_deg(turned).max() < 0.01


def test_weights_decide_between_contradicting_observations():
    ground_truth = exact_bundle(5)
    rows = ground_truth.camera_index == 5
    shifted = np.where(
        rows[:, None] & (ground_truth.point_index % 2 == 0)[:, None],
        ground_truth.points_px + 4.0,
        ground_truth.points_px,
    )
    weights = np.where(rows & (ground_truth.point_index % 2 == 0), 1e-9, 1.0)
    result = bundle_adjust(replace(ground_truth, points_px=shifted, weights=weights), THOROUGH)
    np.testing.assert_allclose(result.camera_from_world, ground_truth.camera_from_world, atol=1e-5)


def test_points_behind_a_camera_or_without_observations_are_harmless():
    ground_truth = exact_bundle(6)
    start = perturbed(ground_truth, 6)
    points = np.r_[start.points, [[0.0, 0.0, -5.0], [1.0, 1.0, 5.0]]]
    behind = replace(
        start,
        points=points,
        camera_index=np.r_[start.camera_index, [3, 4]],
        point_index=np.r_[start.point_index, [120, 120]],
        points_px=np.r_[start.points_px, [[300.0, 200.0], [310.0, 200.0]]],
        weights=np.ones(len(start.weights) + 2),
    )
    result = bundle_adjust(behind, THOROUGH)
    np.testing.assert_allclose(result.camera_from_world, ground_truth.camera_from_world, atol=1e-6)
    assert np.isinf(result.errors_px[-2:]).all()
    np.testing.assert_array_equal(result.points[-2:], points[-2:])


def test_points_of_one_observation_keep_their_distance():
    ground_truth = exact_bundle(7)
    once = np.r_[np.flatnonzero(ground_truth.point_index != 0), np.flatnonzero(ground_truth.point_index == 0)[:1]]
    problem = replace(
        ground_truth,
        **{name: getattr(ground_truth, name)[once] for name in ("camera_index", "point_index", "points_px", "weights")},
    )
    result = bundle_adjust(perturbed(problem, 7, point_sigma=0.05), THOROUGH)
    assert np.linalg.norm(result.points[0] - ground_truth.points[0]) < 1.0
    np.testing.assert_allclose(result.camera_from_world, ground_truth.camera_from_world, atol=1e-6)


def test_the_cost_never_rises_and_an_exact_start_ends_at_once():
    ground_truth = exact_bundle(8)
    costs = [
        bundle_adjust(perturbed(ground_truth, 8, 0.1, 0.5), BundleConfig(iterations=n, convergence=0.0)).final_cost
        for n in range(1, 8)
    ]
    assert costs == sorted(costs, reverse=True)
    result = bundle_adjust(ground_truth)
    assert result.converged
    assert result.iterations <= 2


def test_a_problem_that_makes_no_sense_raises():
    ground_truth = exact_bundle(9)
    with pytest.raises(GeometryError, match="one camera fixed"):
        replace(ground_truth, fixed_cameras=np.zeros(6, dtype=bool))
    with pytest.raises(GeometryError, match="from 0 to 119"):
        replace(ground_truth, point_index=ground_truth.point_index + 1)
    with pytest.raises(GeometryError, match="once only"):
        replace(ground_truth, camera_index=np.zeros_like(ground_truth.camera_index))
    with pytest.raises(GeometryError, match="points_px must be finite"):
        replace(ground_truth, points_px=ground_truth.points_px * np.nan)
    with pytest.raises(GeometryError, match="weights"):
        replace(ground_truth, weights=ground_truth.weights[1:])
    with pytest.raises(ConfigError, match="huber, cauchy"):
        BundleConfig(loss="square")


def test_many_cameras_are_solved_as_few_are(monkeypatch):
    problem = perturbed(exact_bundle(3, cameras=12), 3)
    observations = BundleObservations.of(problem)
    residuals = observations.residuals(problem.camera_from_world, problem.points)
    weight = np.ones(len(observations.weights))
    linear = Linearisation.of(observations, residuals, problem.camera_from_world, weight)
    dense = linear.solve(1e-3)
    monkeypatch.setattr("ros_matching.geometry.normal_equations._DENSE_CAMERAS", 0)
    for expected, found in zip(dense, linear.solve(1e-3), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
