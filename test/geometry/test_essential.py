import numpy as np
import pytest
from geometry_ground_truth import (
    CAMERA,
    OTHER_CAMERA,
    TwoViews,
    examples,
    numerical_jacobian,
    pose_errors_deg,
    random_pose,
    seeds,
)
from hypothesis import given
from hypothesis import strategies as st

from ros_matching.datatypes import ScaleState
from ros_matching.errors import GeometryError
from ros_matching.geometry import essential, pose_refinement, se3
from ros_matching.geometry.epipolar import essential_from_pose


@examples
@given(seeds, st.sampled_from([CAMERA, OTHER_CAMERA]))
def test_exact_matches_give_the_exact_pose(seed, camera1):
    views = TwoViews(seed, camera1=camera1)
    pose = essential.estimate_relative_pose(*views.arguments)
    np.testing.assert_allclose(pose.camera1_from_camera0, views.unit_pose, atol=1e-4)
    assert pose.inliers.all()
    assert pose.scale is ScaleState.UP_TO_SCALE


@examples
@given(seeds, st.sampled_from([CAMERA, OTHER_CAMERA]))
def test_wrong_matches_are_found_out_and_do_not_pull(seed, camera1):
    views = TwoViews(seed, 400, noise_px=0.4, outliers=0.4, camera1=camera1)
    pose = essential.estimate_relative_pose(*views.arguments)
    rotation_deg, direction_deg = pose_errors_deg(pose.camera1_from_camera0, views.camera1_from_camera0)
    assert rotation_deg < 0.3
    assert direction_deg < 3.0
    assert pose.inliers[~views.wrong].mean() > 0.95
    assert pose.inliers[views.wrong].mean() < 0.06


def test_wrong_matches_of_large_parallax_do_not_bias_a_small_motion():
    errors = []
    for seed in range(10):
        views = TwoViews(seed, 500, noise_px=0.5, outliers=0.5, distance=0.15)
        pose = essential.estimate_relative_pose(*views.arguments)
        errors.append(pose_errors_deg(pose.camera1_from_camera0, views.camera1_from_camera0)[1])
    assert np.median(errors) < 1.5


def normalised_error(pose, views) -> float:
    """Squared error over its covariance: five degrees of freedom, as the length of the translation is not one."""
    error = se3.local(pose.camera1_from_camera0, views.unit_pose)
    return error @ np.linalg.pinv(pose.covariance, rcond=1e-8) @ error


@pytest.mark.parametrize(("noise_px", "outliers"), [(0.2, 0.0), (0.5, 0.0), (0.5, 0.4), (1.0, 0.0)])
def test_errors_of_the_pose_match_its_covariance(noise_px, outliers):
    normalised = []
    for seed in range(60):
        views = TwoViews(seed, 300, noise_px=noise_px, outliers=outliers)
        pose = essential.refine_relative_pose(views.unit_pose, *views.arguments, threshold_px=1.5)
        assert np.linalg.matrix_rank(pose.covariance, tol=1e-14) == 5
        normalised.append(normalised_error(pose, views))
    assert 3.7 < np.mean(normalised) < 7.0  # chi square of five degrees of freedom, times 60: 4.2 to 5.9


def test_covariance_contains_the_ambiguity_of_a_plane():
    normalised, wrong = [], 0
    for seed in range(40):
        views = TwoViews(seed, 300, noise_px=0.5, plane=np.array([0.02, 0.05, 0.2]))
        pose = essential.estimate_relative_pose(*views.arguments, threshold_px=1.5)
        if pose is not None:
            wrong += pose_errors_deg(pose.camera1_from_camera0, views.camera1_from_camera0)[1] > 15
            normalised.append(normalised_error(pose, views))
    assert wrong >= 3
    assert np.mean(normalised) < 15


@examples
@given(seeds)
def test_derivatives_agree_with_differences(seed):
    views = TwoViews(seed, 20, noise_px=3.0, camera1=OTHER_CAMERA)
    rays = CAMERA.unproject(views.points0), OTHER_CAMERA.unproject(views.points1)

    def residual(step):
        moved = pose_refinement.move_relative_pose(views.unit_pose, step)
        return pose_refinement.sampson_residuals_and_jacobian(moved, *rays, CAMERA, OTHER_CAMERA)[0]

    _, jacobian = pose_refinement.sampson_residuals_and_jacobian(views.unit_pose, *rays, CAMERA, OTHER_CAMERA)
    np.testing.assert_allclose(jacobian.T, numerical_jacobian(residual, 5), rtol=1e-4, atol=1e-3)


@examples
@given(seeds)
def test_refinement_comes_back_from_a_perturbed_start(seed):
    views = TwoViews(seed, 200)
    start = se3.retract(views.unit_pose, np.random.default_rng(seed).normal(size=6) * 0.003)
    refined = essential.refine_relative_pose(start, *views.arguments, threshold_px=5.0, iterations=50)
    np.testing.assert_allclose(refined.camera1_from_camera0, views.unit_pose, atol=1e-4)


@examples
@given(seeds)
def test_one_of_the_four_poses_of_an_essential_matrix_is_true(seed):
    ground_truth = random_pose(np.random.default_rng(seed), 1.0, 1.0)
    poses = essential.poses_of_essential(-essential_from_pose(ground_truth))
    assert min(np.abs(pose - ground_truth).max() for pose in poses) < 1e-9
    assert all(np.linalg.det(pose[:3, :3]) == pytest.approx(1.0) for pose in poses)


def test_recovered_pose_comes_with_points_and_parallax():
    views = TwoViews(8, distance=1.0, outliers=0.2)
    matrix, inliers = essential.estimate_essential(*views.arguments)
    view = essential.recover_pose(matrix, *views.arguments, inliers)
    np.testing.assert_allclose(view.camera1_from_camera0, views.unit_pose, atol=1e-5)
    right = ~views.wrong
    np.testing.assert_allclose(view.points[right], views.points[right], rtol=1e-3)
    center1 = se3.invert(views.unit_pose)[:3, 3]
    expected = se3.angle_between_deg(views.points, views.points - center1)
    np.testing.assert_allclose(view.parallax_deg[right], expected[right], rtol=1e-3)
    assert np.isnan(view.points[~view.inliers]).all()


def test_matches_behind_a_camera_are_no_inliers():
    pose = np.eye(4)
    pose[0, 3] = -1.0  # camera 1 is to the right, so points move left
    points0 = np.full((3, 2), 300.0)
    points1 = points0 + np.array([[-40.0, 0.0], [40.0, 0.0], [0.3, 0.0]])
    view = essential.two_view_geometry(pose, points0, points1, CAMERA, CAMERA)
    np.testing.assert_array_equal(view.inliers, [True, False, True])  # the last one is noise at infinity
    np.testing.assert_array_equal(np.isfinite(view.points[:, 0]), [True, False, False])


def test_no_motion_pure_rotation_and_chance_give_none_or_little():
    still = TwoViews(9, distance=0.4)
    assert essential.estimate_relative_pose(still.points0, still.points0, CAMERA, CAMERA) is None
    turned = TwoViews(9, distance=1e-9, angle_rad=0.1)
    assert essential.estimate_relative_pose(*turned.arguments) is None
    chance = TwoViews(9, outliers=1.0)
    pose = essential.estimate_relative_pose(*chance.arguments)
    assert pose is None or pose.inliers.mean() < 0.2


def test_too_few_matches_give_none_and_unknown_ones_raise():
    views = TwoViews(10, count=10)
    few = views.points0[:4], views.points1[:4], CAMERA, CAMERA
    assert essential.estimate_essential(*few) is None
    assert essential.estimate_relative_pose(*few) is None
    assert essential.refine_relative_pose(views.unit_pose, *few) is None
    none = np.zeros((0, 2)), np.zeros((0, 2)), CAMERA, CAMERA
    assert essential.estimate_relative_pose(*none) is None
    with pytest.raises(GeometryError, match="points1 must be finite"):
        essential.estimate_relative_pose(views.points0, views.points1 * np.nan, CAMERA, CAMERA)
    with pytest.raises(GeometryError, match="must have a translation"):
        essential.refine_relative_pose(np.eye(4), *views.arguments)
    with pytest.raises(GeometryError, match="weights must have 10 rows"):
        essential.refine_relative_pose(views.unit_pose, *views.arguments, weights=np.ones(3))


def test_equal_input_has_equal_output():
    views = TwoViews(11, noise_px=0.5, outliers=0.5)
    first = essential.estimate_relative_pose(*views.arguments)
    second = essential.estimate_relative_pose(*views.arguments)
    np.testing.assert_array_equal(first.camera1_from_camera0, second.camera1_from_camera0)
    np.testing.assert_array_equal(first.inliers, second.inliers)


def test_a_scene_that_is_mostly_a_plane_does_not_mislead():
    """Six of seven points on a plane, four of ten matches wrong: essential matrices far off explain nearly as many."""
    errors = []
    for seed in range(24):
        flat = TwoViews(seed, 255, noise_px=0.7, outliers=0.4, plane=np.array([0.05, 0.1, 0.2]))
        other = TwoViews(seed, 45, noise_px=0.7, outliers=0.4)  # of the same seed: of the same motion
        points = [np.concatenate(both) for both in ((flat.points0, other.points0), (flat.points1, other.points1))]
        pose = essential.estimate_relative_pose(*points, CAMERA, CAMERA)
        errors.append(max(pose_errors_deg(pose.camera1_from_camera0, flat.unit_pose)))
    assert max(errors) < 5


def test_matches_of_known_standard_deviation_count_by_their_error(monkeypatch):
    """Of two motions, one explains more matches to a pixel, the other fewer, but as exactly as they are."""
    many, exact = TwoViews(3, 220, noise_px=0.5), TwoViews(4, 180, noise_px=0.05)
    points = [np.concatenate(both) for both in ((many.points0, exact.points0), (many.points1, exact.points1))]
    rival = essential.two_view_geometry(exact.unit_pose, *points, CAMERA, CAMERA)
    monkeypatch.setattr(essential, "_plane_motions", lambda *_: [rival])
    std_px = np.full(400, 0.05)
    for sigmas, ground_truth in ((None, many), (std_px * np.nan, many), (std_px, exact)):
        pose = essential.estimate_relative_pose(*points, CAMERA, CAMERA, std_px=sigmas)
        assert max(pose_errors_deg(pose.camera1_from_camera0, ground_truth.unit_pose)) < 2
