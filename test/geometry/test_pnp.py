import numpy as np
import pytest
from geometry_ground_truth import CAMERA, examples, numerical_jacobian, random_points, random_pose, seeds
from hypothesis import given
from hypothesis import strategies as st

from ros_matching.errors import GeometryError
from ros_matching.geometry import pnp, se3


def observe(seed: int, count: int = 200, noise_px: float = 0.0, outliers: float = 0.0, origin: float = 3.0):
    """World points, their pixels, the mask of wrong ones, and the pose of the camera."""
    random = np.random.default_rng(seed)
    camera_from_world = random_pose(random, 1.0, origin)
    local = random_points(random, count)
    pixels = CAMERA.project(local) + noise_px * random.normal(size=(count, 2))
    wrong = random.random(count) < outliers
    pixels[wrong] = random.uniform([0.0, 0.0], [639.0, 479.0], (np.count_nonzero(wrong), 2))
    return se3.transform(se3.invert(camera_from_world), local), pixels, wrong, camera_from_world


@examples
@given(seeds, st.integers(6, 60))
def test_exact_points_give_the_exact_pose_without_a_start(seed, count):
    points, pixels, _, ground_truth = observe(seed, count)
    estimate = pnp.estimate_pnp(points, pixels, CAMERA)
    np.testing.assert_allclose(estimate.camera_from_world, ground_truth, atol=1e-6)
    assert estimate.inliers.all()
    assert estimate.rmse_px < 1e-3


@examples
@given(seeds, st.sampled_from([0.0, 0.3, 0.6]))
def test_wrong_points_are_found_out_and_do_not_pull(seed, outliers):
    points, pixels, wrong, ground_truth = observe(seed, 300, noise_px=0.5, outliers=outliers)
    estimate = pnp.estimate_pnp(points, pixels, CAMERA, threshold_px=2.5)
    error = se3.local(ground_truth, estimate.camera_from_world)
    assert np.abs(error[3:]).max() < np.radians(0.2)
    assert np.linalg.norm(se3.local(se3.invert(ground_truth), se3.invert(estimate.camera_from_world))[:3]) < 0.02
    assert estimate.inliers[~wrong].mean() > 0.99
    assert estimate.inliers[wrong].mean() < 0.03 if wrong.any() else True


@examples
@given(seeds)
def test_refinement_comes_from_a_distant_start(seed):
    points, pixels, wrong, ground_truth = observe(seed, outliers=0.2)
    random = np.random.default_rng(seed)
    start = random_pose(random, 0.05, 0.3) @ ground_truth  # about five degrees and 10 % of the distance
    estimate = pnp.refine_pose(start, points, pixels, CAMERA, 2.0, iterations=20)
    np.testing.assert_allclose(estimate.camera_from_world, ground_truth, atol=1e-4)
    assert estimate.inliers[~wrong].all()


@pytest.mark.parametrize("seed", range(6))
def test_points_that_are_wrong_together_do_not_draw_a_good_prediction_away(seed):
    """As landmarks of a keyframe far behind a camera that drives ahead: 60 % lie nearer to the image's middle."""
    random = np.random.default_rng(seed)
    ground_truth, local = random_pose(random, 1.0, 3.0), random_points(random, 120)
    pixels = CAMERA.project(local) + 0.5 * random.normal(size=(120, 2))
    wrong = np.arange(120) % 20 >= 8
    towards = (CAMERA.cx, CAMERA.cy) - pixels[wrong]
    pixels[wrong] += towards * random.uniform(0.02, 0.1, (72, 1)) + random.normal(size=(72, 2))
    prediction = se3.retract(ground_truth, np.array([5e-3, 0, 5e-3, 5e-4, 0, 0]))
    points = se3.transform(se3.invert(ground_truth), local)
    estimate = pnp.estimate_pnp(points, pixels, CAMERA, threshold_px=1.25, initial=prediction)
    assert np.linalg.norm(se3.local(se3.invert(ground_truth), se3.invert(estimate.camera_from_world))[:3]) < 0.01


def test_a_wrong_prediction_does_not_win():
    points, pixels, _, ground_truth = observe(1, noise_px=0.5, outliers=0.3)
    for angle in (0.0, 0.5, 3.0):
        start = random_pose(np.random.default_rng(2), angle, 20.0)
        estimate = pnp.estimate_pnp(points, pixels, CAMERA, initial=start)
        assert se3.rotation_angle_deg(estimate.camera_from_world @ se3.invert(ground_truth)) < 0.2
    again = pnp.estimate_pnp(points, pixels, CAMERA, initial=start)
    np.testing.assert_array_equal(again.camera_from_world, estimate.camera_from_world)


@examples
@given(seeds)
def test_derivatives_agree_with_differences(seed):
    points, pixels, _, ground_truth = observe(seed, 20, noise_px=5.0)
    _, jacobian = pnp.residuals_and_jacobian(ground_truth, points, pixels, CAMERA)

    def residual(step):
        moved = se3.pose_from(se3.exp_so3(step[3:]), step[:3]) @ ground_truth
        return pnp.residuals_and_jacobian(moved, points, pixels, CAMERA)[0]

    np.testing.assert_allclose(np.moveaxis(jacobian, 0, -1), numerical_jacobian(residual, 6), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("origin", [1.0, 1000.0])
def test_errors_of_the_camera_match_its_covariance(origin):
    normalised = []
    for seed in range(60):
        points, pixels, _, ground_truth = observe(seed, 100, noise_px=1.0, origin=origin)
        estimate = pnp.refine_pose(ground_truth, points, pixels, CAMERA, threshold_px=5.0)
        error = se3.local(se3.invert(estimate.camera_from_world), se3.invert(ground_truth))
        normalised.append(error @ np.linalg.solve(estimate.covariance, error))
    assert 5.0 < np.mean(normalised) < 7.5  # chi square of six degrees of freedom


def test_points_of_zero_weight_are_ignored():
    points, pixels, _, ground_truth = observe(4, 100)
    shifted = pixels.copy()
    shifted[:50] += (1.5, 0.0)
    weights = np.r_[np.full(50, 1e-6), np.ones(50)]
    estimate = pnp.refine_pose(ground_truth, points, shifted, CAMERA, 2.0, weights)
    np.testing.assert_allclose(estimate.camera_from_world, ground_truth, atol=1e-4)


def test_points_behind_the_camera_do_not_pull_and_are_no_inliers():
    points, pixels, _, ground_truth = observe(5, 100)
    mirrored = se3.transform(se3.invert(ground_truth), -se3.transform(ground_truth, points[:30]))
    estimate = pnp.refine_pose(ground_truth, np.r_[points, mirrored], np.r_[pixels, pixels[:30]], CAMERA, 2.0)
    np.testing.assert_allclose(estimate.camera_from_world, ground_truth, atol=1e-6)
    assert estimate.inliers.sum() == 100


def test_one_wrong_landmark_close_to_the_camera_does_not_decide_on_its_position():
    points, pixels, _, ground_truth = observe(8, 200, noise_px=0.5)
    random = np.random.default_rng(8)
    for _ in range(10):
        shifted = ground_truth.copy()
        shifted[:3, 3] += random.choice([-0.015, 0.015], 3) * (1.0, 1.0, 0.0)
        near = np.array([[*random.uniform(-0.03, 0.03, 2), 0.1]])  # fits the shifted pose only, and that exactly
        world = np.r_[points, se3.transform(se3.invert(shifted), near)]
        seen = np.r_[pixels, CAMERA.project(near)]
        estimate = pnp.refine_pose(shifted, world, seen, CAMERA, 3.0)
        error = se3.local(se3.invert(estimate.camera_from_world), se3.invert(ground_truth))
        assert np.linalg.norm(error[:3]) < 0.004
        assert not estimate.inliers[-1]
        assert np.abs(error[:3]).max() < 4.0 * np.sqrt(np.diag(estimate.covariance)[:3].max())


def test_degenerate_points_give_no_pose():
    points, pixels, _, ground_truth = observe(6, 50)
    assert pnp.estimate_pnp(points[:3], pixels[:3], CAMERA) is None
    assert pnp.estimate_pnp(np.zeros((0, 3)), np.zeros((0, 2)), CAMERA, initial=ground_truth) is None
    line = np.outer(np.linspace(2.0, 5.0, 30), [0.1, 0.0, 1.0]) + np.array([0.3, 0.2, 0.0])
    assert pnp.refine_pose(np.eye(4), line, CAMERA.project(line), CAMERA, 2.0) is None
    assert pnp.refine_pose(np.eye(4), np.tile([0.0, 0.0, 3.0], (9, 1)), np.full((9, 2), 300.0), CAMERA, 2.0) is None
    random = np.random.default_rng(0)
    estimate = pnp.estimate_pnp(points, random.uniform(0.0, 480.0, (50, 2)), CAMERA)
    assert estimate is None or estimate.inliers.sum() < 10


def test_unknown_input_raises():
    points, pixels, _, ground_truth = observe(7, 10)
    with pytest.raises(GeometryError, match="points_world must be finite"):
        pnp.estimate_pnp(points * np.nan, pixels, CAMERA)
    with pytest.raises(GeometryError, match="camera_from_world"):
        pnp.refine_pose(ground_truth * np.nan, points, pixels, CAMERA, 2.0)
    with pytest.raises(GeometryError, match="10 rows"):
        pnp.estimate_pnp(points, pixels[:5], CAMERA)
