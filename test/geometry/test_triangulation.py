import numpy as np
import pytest
from geometry_ground_truth import CAMERA, OTHER_CAMERA, TwoViews, examples, random_pose, seeds
from hypothesis import given
from scipy.optimize import minimize

from ros_matching.errors import GeometryError
from ros_matching.geometry import epipolar, se3
from ros_matching.geometry import triangulation as tri


@examples
@given(seeds)
def test_exact_matches_give_back_their_points_in_the_world(seed):
    views = TwoViews(seed, camera1=OTHER_CAMERA)
    camera0_from_world = random_pose(np.random.default_rng(seed), 1.0, 5.0)
    camera1_from_world = views.camera1_from_camera0 @ camera0_from_world
    points = tri.triangulate(CAMERA, OTHER_CAMERA, camera0_from_world, camera1_from_world, views.points0, views.points1)
    expected = se3.transform(se3.invert(camera0_from_world), views.points)
    np.testing.assert_allclose(points, expected, rtol=1e-6, atol=1e-6)


def test_noisy_matches_move_by_the_least_squared_distance():
    views = TwoViews(5, count=12, noise_px=2.0, camera1=OTHER_CAMERA)
    essential = epipolar.essential_from_pose(views.camera1_from_camera0)
    fundamental = epipolar.fundamental_from_essential(essential, CAMERA, OTHER_CAMERA)
    corrected = tri.correct_matches(fundamental, views.points0, views.points1)
    assert epipolar.sampson_distance_px(fundamental, *corrected).max() < 1e-6
    moved = np.sum((corrected[0] - views.points0) ** 2 + (corrected[1] - views.points1) ** 2, axis=1)
    points = tri.triangulate_relative(*views.arguments[2:], views.camera1_from_camera0, views.points0, views.points1)
    for row, point in enumerate(points):

        def cost(x, row=row):
            error0 = CAMERA.project(x[None])[0] - views.points0[row]
            error1 = OTHER_CAMERA.project(se3.transform(views.camera1_from_camera0, x[None]))[0] - views.points1[row]
            return error0 @ error0 + error1 @ error1

        best = minimize(cost, point, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-9})
        assert moved[row] == pytest.approx(best.fun, abs=1e-3)
        assert cost(point) == pytest.approx(moved[row], abs=1e-6)


def test_points_behind_a_camera_or_at_infinity_are_unknown():
    pose = np.eye(4)
    pose[0, 3] = -1.0  # camera 1 is to the right
    center = np.array([[CAMERA.cx, CAMERA.cy]])
    ahead = tri.triangulate_relative(CAMERA, CAMERA, pose, center, center - np.array([50.0, 0.0]))
    np.testing.assert_allclose(ahead, [[0.0, 0.0, 10.0]])
    behind = tri.triangulate_relative(CAMERA, CAMERA, pose, center, center + np.array([50.0, 0.0]))
    infinite = tri.triangulate_relative(CAMERA, CAMERA, pose, center, center)
    assert np.isnan(behind).all()
    assert np.isnan(infinite).all()


def test_cameras_at_one_position_give_no_depth():
    views = TwoViews(0, count=5)
    points = tri.triangulate(CAMERA, CAMERA, np.eye(4), np.eye(4), views.points0, views.points0)
    assert points.shape == (5, 3)
    assert np.isnan(points).all()


def test_a_point_at_both_epipoles_is_unknown_and_no_points_are_no_points():
    pose = np.eye(4)
    pose[2, 3] = -1.0  # straight ahead
    center = np.array([[CAMERA.cx, CAMERA.cy]])
    assert np.isnan(tri.triangulate_relative(CAMERA, CAMERA, pose, center, center)).all()
    assert tri.triangulate_relative(CAMERA, CAMERA, pose, np.zeros((0, 2)), np.zeros((0, 2))).shape == (0, 3)


def test_parallax_is_the_angle_at_the_point():
    points = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 1e6], [np.nan, 0.0, 1.0]])
    angles = tri.parallax_deg(points, np.array([-1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]))
    np.testing.assert_allclose(angles, [90.0, np.degrees(2e-6), np.nan], rtol=1e-9)


def test_reprojection_errors_are_infinite_behind_the_camera():
    points = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, -2.0], [np.nan, np.nan, np.nan]])
    observed = np.tile([CAMERA.cx + 3.0, CAMERA.cy - 4.0], (3, 1))
    errors = tri.reprojection_errors_px(points, observed, CAMERA, np.eye(4))
    np.testing.assert_allclose(errors, [5.0, np.inf, np.inf])


def test_unknown_pixels_and_poses_raise():
    pixels = np.array([[1.0, np.nan]])
    with pytest.raises(GeometryError, match="points0 must be finite"):
        tri.triangulate(CAMERA, CAMERA, np.eye(4), np.eye(4), pixels, pixels)
    with pytest.raises(GeometryError, match="camera1_from_world must be a finite"):
        tri.triangulate(CAMERA, CAMERA, np.eye(4), np.full((4, 4), np.nan), np.ones((1, 2)), np.ones((1, 2)))
