"""The nouns that compute something, and what they refuse."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ros_matching.datatypes import ImageTransform, Matches, ScaleState
from ros_matching.errors import DataTypeError

REGION = (1.5, 1.5, 158.5, 118.5)
HOMOGRAPHY = np.array([[1.1, 0.05, -7.0], [-0.02, 0.95, 4.0], [4e-4, -3e-4, 1.0]])


def grid(columns: int, rows: int) -> np.ndarray:
    """Pixels over the region, (rows, columns, 2)."""
    x, y = np.meshgrid(np.linspace(*REGION[::2], columns), np.linspace(*REGION[1::2], rows))
    return np.stack([x, y], axis=2)


def bent() -> np.ndarray:
    return grid(3, 3) + np.random.default_rng(4).normal(0, 6, (3, 3, 2))


def test_homography_maps_as_opencv_does() -> None:
    points = grid(7, 5).reshape(-1, 2)
    transform = ImageTransform(HOMOGRAPHY, REGION)
    np.testing.assert_allclose(transform.map_points(points), cv2.perspectiveTransform(points[None], HOMOGRAPHY)[0])


def test_a_homography_is_independent_of_its_sign() -> None:
    points = grid(7, 5).reshape(-1, 2)
    expected = ImageTransform(HOMOGRAPHY, REGION).map_points(points)
    np.testing.assert_allclose(ImageTransform(-2 * HOMOGRAPHY, REGION).map_points(points), expected)


def test_points_beyond_the_horizon_are_unknown() -> None:
    horizon_at_x_200 = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 200, 0, 1]])
    mapped = ImageTransform(horizon_at_x_200, REGION).map_points(np.array([[199.0, 5], [200, 5], [201, 5]]))
    assert np.isfinite(mapped).all(axis=1).tolist() == [True, False, False]


def test_spline_passes_through_its_control_points() -> None:
    transform = ImageTransform(np.eye(3), REGION, spline=bent())
    np.testing.assert_allclose(transform.map_points(grid(3, 3).reshape(-1, 2)), bent().reshape(-1, 2), atol=1e-9)


def test_spline_of_an_affine_transform_is_that_transform() -> None:
    affine = np.array([[0.9, 0.2, 5.0], [-0.1, 1.2, -3.0], [0, 0, 1]])
    by_matrix = ImageTransform(affine, REGION)
    control = by_matrix.map_points(grid(3, 3).reshape(-1, 2)).reshape(3, 3, 2)
    points = np.concatenate([grid(9, 7).reshape(-1, 2), [[-50.0, 400.0]]])
    spline = ImageTransform(np.eye(3), REGION, control)
    np.testing.assert_allclose(spline.map_points(points), by_matrix.map_points(points), atol=1e-8)


def test_spline_comes_before_the_matrix() -> None:
    points = grid(7, 5).reshape(-1, 2)
    both = ImageTransform(HOMOGRAPHY, REGION, spline=bent())
    in_turn = ImageTransform(HOMOGRAPHY, REGION).map_points(
        ImageTransform(np.eye(3), REGION, bent()).map_points(points)
    )
    np.testing.assert_allclose(both.map_points(points), in_turn)


@pytest.mark.parametrize(
    ("matrix", "region", "spline", "message"),
    [
        (np.eye(4), REGION, None, r"\(3, 3\)"),
        (np.eye(3), REGION, np.zeros((9, 2)), r"\(3, 3, 2\)"),
        (np.eye(3), (1, 5, 1, 9), None, "region0"),
        (np.full((3, 3), np.nan), REGION, None, "finite"),
        (np.eye(3), REGION, np.full((3, 3, 2), np.inf), "finite"),
    ],
)
def test_invalid_transforms_are_refused(
    matrix: np.ndarray, region: tuple[float, ...], spline: np.ndarray | None, message: str
) -> None:
    with pytest.raises(DataTypeError, match=message):
        ImageTransform(matrix, region, spline)


def test_metres_and_a_unit_that_was_metres_are_one_unit():
    assert ScaleState.METRIC.shares_unit(ScaleState.ANCHORED)
    assert ScaleState.ANCHORED.shares_unit(ScaleState.METRIC)
    assert ScaleState.UP_TO_SCALE.shares_unit(ScaleState.UP_TO_SCALE)
    assert not ScaleState.UP_TO_SCALE.shares_unit(ScaleState.METRIC)
    assert not ScaleState.METRIC.shares_unit(ScaleState.UP_TO_SCALE)


def test_weights_of_matches_combine_score_and_standard_deviation():
    points, rows = np.zeros((3, 2)), np.arange(3)
    matches = Matches(points, points, np.array([1.0, 1.0, 0.5]), rows, rows, np.array([0.2, 0.4, 0.4]))
    assert matches.weights / matches.weights[0] == pytest.approx([1, 0.25, 0.125])
    unknown = Matches(points, points, np.array([1.0, 1.0, 0.5]), rows, rows)
    np.testing.assert_array_equal(unknown.weights, unknown.scores)
