import numpy as np
import pytest
from geometry_ground_truth import CAMERA, OTHER_CAMERA, TwoViews, examples, pose_errors_deg, seeds
from hypothesis import given
from hypothesis import strategies as st

from ros_matching.errors import GeometryError
from ros_matching.geometry import homography as hom
from ros_matching.geometry import se3

PLANE = np.array([0.06, -0.08, 0.25])  # n / d: points with PLANE @ point = 1, four units away and tilted


def true_homography(views: TwoViews) -> np.ndarray:
    motion = views.camera1_from_camera0[:3, :3] + np.outer(views.camera1_from_camera0[:3, 3], PLANE)
    matrix = views.camera1.matrix @ motion @ np.linalg.inv(views.camera0.matrix)
    return matrix / matrix[2, 2]


@examples
@given(seeds, st.sampled_from([CAMERA, OTHER_CAMERA]))
def test_matches_of_a_plane_give_its_homography(seed, camera1):
    views = TwoViews(seed, plane=PLANE, outliers=0.4, camera1=camera1)
    matrix, inliers = hom.estimate_homography(views.points0, views.points1, threshold_px=2.0)
    np.testing.assert_allclose(
        hom.map_points(matrix, views.points0[~views.wrong]), views.points1[~views.wrong], atol=0.05
    )
    np.testing.assert_allclose(
        hom.map_points(true_homography(views), views.points0), hom.map_points(matrix, views.points0), atol=0.2
    )
    assert inliers[~views.wrong].all()
    assert inliers[views.wrong].mean() < 0.05


@examples
@given(seeds)
def test_the_motion_of_a_plane_is_among_the_decompositions(seed):
    views = TwoViews(seed, plane=PLANE, noise_px=0.1, distance=0.8, camera1=OTHER_CAMERA)
    matrix, inliers = hom.estimate_homography(views.points0, views.points1)
    motions = hom.decompose_homography(matrix, *views.arguments, inliers)
    assert 1 <= len(motions) <= 2
    errors = [pose_errors_deg(motion.camera1_from_camera0, views.camera1_from_camera0) for motion in motions]
    assert min(max(error) for error in errors) < 1.5
    counts = [np.count_nonzero(np.isfinite(motion.points[:, 0])) for motion in motions]
    assert counts == sorted(counts, reverse=True)


def test_points_off_the_plane_disambiguate_the_two_motions():
    plane, scene = TwoViews(3, 300, plane=PLANE, distance=0.8), TwoViews(3, 300, distance=0.8)
    points0, points1 = np.r_[plane.points0, scene.points0], np.r_[plane.points1, scene.points1]
    matrix, inliers = hom.estimate_homography(points0, points1)
    best = hom.decompose_homography(matrix, points0, points1, CAMERA, CAMERA, inliers)[0]
    assert max(pose_errors_deg(best.camera1_from_camera0, plane.camera1_from_camera0)) < 0.1
    assert best.inliers.mean() > 0.95


def test_a_rotation_has_no_motion_to_decompose():
    views = TwoViews(4, distance=1e-12)
    matrix = hom.rotation_homography(views.camera1_from_camera0[:3, :3], CAMERA, CAMERA)
    inliers = hom.transfer_errors_px(matrix, views.points0, views.points1) < 1e-6
    assert inliers.all()
    assert hom.decompose_homography(matrix, *views.arguments, inliers) == []
    assert hom.decompose_homography(matrix, *views.arguments, ~inliers) == []


@examples
@given(seeds, st.sampled_from([0.0, 0.3, 0.6]), st.sampled_from([CAMERA, OTHER_CAMERA]))
def test_rotation_of_a_purely_rotating_camera(seed, outliers, camera1):
    views = TwoViews(seed, distance=1e-9, noise_px=0.3, outliers=outliers, camera1=camera1)
    rotation, inliers = hom.estimate_rotation(*views.arguments, threshold_px=2.0)
    assert se3.rotation_angle_deg(rotation @ views.camera1_from_camera0[:3, :3].T) < 0.05
    assert inliers[~views.wrong].mean() > 0.95
    assert inliers[views.wrong].mean() < 0.05 if views.wrong.any() else True


def test_two_exact_rays_determine_also_a_large_rotation():
    turn = se3.exp_so3(np.array([0.05, 0.5, 1.0]))
    rays = np.array([[0.2, 0.1, 1.0], [-0.3, 0.2, 1.0]])
    seen = rays @ turn.T
    assert (seen[:, 2] > 0).all()
    rotation, inliers = hom.estimate_rotation(CAMERA.project(rays), CAMERA.project(seen), CAMERA, CAMERA)
    np.testing.assert_allclose(rotation, turn, atol=1e-9)
    assert inliers.all()


def test_a_moving_camera_does_not_fit_a_rotation():
    views = TwoViews(5, distance=1.0)
    estimate = hom.estimate_rotation(*views.arguments, threshold_px=2.0)
    assert estimate is None or estimate[1].mean() < 0.3


def test_transfer_errors_are_infinite_beyond_the_line_at_infinity():
    matrix = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.01, 0.0, -1.0]])
    assert np.isinf(hom.transfer_errors_px(matrix, np.array([[100.0, 5.0]]), np.array([[1.0, 1.0]])))
    shift = np.array([[1.0, 0.0, 3.0], [0.0, 1.0, 4.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(hom.transfer_errors_px(shift, np.zeros((1, 2)), np.zeros((1, 2))), [5.0])


def test_too_few_or_degenerate_matches_give_none_and_unknown_ones_raise():
    views = TwoViews(6, plane=PLANE)
    assert hom.estimate_homography(views.points0[:3], views.points1[:3]) is None
    assert hom.estimate_rotation(views.points0[:1], views.points1[:1], CAMERA, CAMERA) is None
    line = np.column_stack([np.arange(30.0), np.arange(30.0)])
    assert hom.estimate_homography(line, line + 5.0) is None
    same = np.full((30, 2), 100.0)
    assert hom.estimate_homography(same, same) is None
    with pytest.raises(GeometryError, match="finite"):
        hom.estimate_rotation(views.points0 * np.nan, views.points1, CAMERA, CAMERA)
    with pytest.raises(GeometryError, match="finite"):
        hom.estimate_homography(views.points0 * np.nan, views.points1)
