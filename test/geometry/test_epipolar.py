import numpy as np
import pytest
from geometry_ground_truth import CAMERA, OTHER_CAMERA, TwoViews, examples, seeds
from hypothesis import given

from ros_matching.errors import GeometryError
from ros_matching.geometry import epipolar


def fundamental_of(views: TwoViews) -> np.ndarray:
    essential = epipolar.essential_from_pose(views.camera1_from_camera0)
    return epipolar.fundamental_from_essential(essential, views.camera0, views.camera1)


@examples
@given(seeds)
def test_exact_matches_have_no_distance(seed):
    views = TwoViews(seed, camera1=OTHER_CAMERA)
    fundamental = fundamental_of(views)
    assert epipolar.sampson_distance_px(fundamental, views.points0, views.points1).max() < 1e-8
    assert epipolar.symmetric_epipolar_distance_px(fundamental, views.points0, views.points1).max() < 1e-8


def test_a_sideways_motion_has_horizontal_epipolar_lines():
    views = TwoViews(0)
    pose = np.eye(4)
    pose[0, 3] = 0.2
    essential = epipolar.essential_from_pose(pose)
    fundamental = epipolar.fundamental_from_essential(essential, CAMERA, CAMERA)
    points1 = views.points0 + np.array([30.0, 3.0])  # three pixels off the line in each image
    sampson = epipolar.sampson_distance_px(fundamental, views.points0, points1)
    symmetric = epipolar.symmetric_epipolar_distance_px(fundamental, views.points0, points1)
    np.testing.assert_allclose(sampson, 3.0 / np.sqrt(2.0))
    np.testing.assert_allclose(symmetric, 3.0 * np.sqrt(2.0))


def test_essential_survives_the_way_through_pixels():
    views = TwoViews(1, camera1=OTHER_CAMERA)
    essential = epipolar.essential_from_pose(views.camera1_from_camera0)
    back = epipolar.essential_from_fundamental(-3.0 * fundamental_of(views), views.camera0, views.camera1)
    np.testing.assert_allclose(-back * np.sign(np.sum(-back * essential)), essential, atol=1e-9)
    np.testing.assert_allclose(np.linalg.svd(back)[1], [1.0, 1.0, 0.0], atol=1e-12)


@examples
@given(seeds)
def test_eight_points_give_the_exact_matrix_with_rank_two_and_a_fixed_sign(seed):
    views = TwoViews(seed, count=40, distance=1.0, camera1=OTHER_CAMERA)
    fundamental = epipolar.weighted_eight_point(views.points0, views.points1)
    ground_truth = fundamental_of(views)
    ground_truth /= np.linalg.norm(ground_truth) * np.sign(ground_truth.flat[np.argmax(np.abs(ground_truth))])
    np.testing.assert_allclose(fundamental, ground_truth, atol=1e-6)
    assert np.linalg.svd(fundamental)[1][2] < 1e-12

    rays0, rays1 = views.camera0.unproject(views.points0), views.camera1.unproject(views.points1)
    essential = epipolar.weighted_eight_point(rays0[:, :2], rays1[:, :2], essential=True)
    expected = epipolar.essential_from_pose(views.camera1_from_camera0)
    np.testing.assert_allclose(np.abs(np.sum(essential * expected)), 2.0, atol=1e-6)


def test_exactly_eight_matches_are_enough_and_seven_are_not():
    views = TwoViews(2, count=8, distance=1.0)
    fundamental = epipolar.weighted_eight_point(views.points0, views.points1)
    assert epipolar.sampson_distance_px(fundamental, views.points0, views.points1).max() < 1e-6
    assert epipolar.weighted_eight_point(views.points0[:7], views.points1[:7]) is None
    weights = np.r_[np.ones(7), 0.0]
    assert epipolar.weighted_eight_point(views.points0, views.points1, weights) is None


def test_points_of_zero_weight_are_ignored():
    views = TwoViews(3, count=100, outliers=0.4, distance=1.0)
    fundamental = epipolar.weighted_eight_point(views.points0, views.points1, (~views.wrong).astype(float))
    distance = epipolar.sampson_distance_px(fundamental, views.points0, views.points1)
    assert distance[~views.wrong].max() < 1e-6
    unweighted = epipolar.weighted_eight_point(views.points0, views.points1)
    right = views.points0[~views.wrong], views.points1[~views.wrong]
    assert np.median(epipolar.sampson_distance_px(unweighted, *right)) > 1.0


def test_eight_points_see_no_single_solution_in_a_plane_a_line_or_a_point():
    plane = TwoViews(4, plane=np.array([0.05, 0.1, 0.25]))
    assert epipolar.weighted_eight_point(plane.points0, plane.points1) is None
    line = np.column_stack([np.arange(20.0), 2.0 * np.arange(20.0)])
    assert epipolar.weighted_eight_point(line, line + 5.0) is None
    assert epipolar.weighted_eight_point(np.ones((20, 2)), np.ones((20, 2))) is None


def test_bad_input_raises():
    with pytest.raises(GeometryError, match="translation other than zero"):
        epipolar.essential_from_pose(np.eye(4))
    with pytest.raises(GeometryError, match="finite"):
        epipolar.weighted_eight_point(np.full((9, 2), np.nan), np.ones((9, 2)))
    with pytest.raises(GeometryError, match="9 rows"):
        epipolar.sampson_distance_px(np.eye(3), np.ones((9, 2)), np.ones((8, 2)))
    with pytest.raises(GeometryError, match="none below zero"):
        epipolar.weighted_eight_point(np.ones((9, 2)), np.ones((9, 2)), -np.ones(9))
