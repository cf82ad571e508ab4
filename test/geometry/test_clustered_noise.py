"""Sums over places of an image, of errors that neighbours share and of such that they do not."""

from __future__ import annotations

import numpy as np
import pytest

from ros_matching.geometry.clustered_noise import ClusterSums, clusters_of

WIDTH, HEIGHT, POINTS = 640, 480, 400


def fitted(errors: np.ndarray, jacobian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Influences (N, D) on a least squares fit by the residuals of errors (N,), and the fit's error (D,)."""
    inverse = np.linalg.inv(jacobian.T @ jacobian)
    fit = inverse @ jacobian.T @ errors
    residuals = errors - jacobian @ fit
    return residuals[:, None] * (jacobian @ inverse), fit


def smooth_errors(rng: np.random.Generator, points_px: np.ndarray, reach_px: float) -> np.ndarray:
    """Errors (N,) of variance one that are correlated within a distance: a sum of waves."""
    waves = rng.normal(size=(60, 2)) / reach_px
    return np.sqrt(2 / 60) * np.cos(points_px @ waves.T + rng.uniform(0, 2 * np.pi, 60)).sum(axis=1)


def claimed_share(reach_px: float | None, common: bool) -> float:
    """Claimed over true variance of a plane's fit to errors in an image, over many draws."""
    claimed, true = np.zeros((3, 3)), np.zeros((3, 3))
    for seed in range(150):
        rng = np.random.default_rng(seed)
        points_px = rng.uniform((0, 0), (WIDTH, HEIGHT), (POINTS, 2))
        own = rng.normal(size=POINTS)
        errors = own if reach_px is None else 0.8 * own + 0.6 * smooth_errors(rng, points_px, reach_px)
        jacobian = np.column_stack([np.ones(POINTS), points_px / WIDTH - 0.5])
        influences, fit = fitted(errors, jacobian)
        sums = ClusterSums.of(influences, clusters_of(points_px, WIDTH))
        squares = sums.squares()
        claimed += squares * (sums.common_factor(np.linalg.inv(squares)) if common else 1.0)
        true += np.outer(fit, fit)
    return float(np.trace(np.linalg.solve(true, claimed)) / 3)


def test_independent_errors_have_no_common_factor():
    assert claimed_share(None, common=False) == pytest.approx(1.0, abs=0.15)
    assert 0.9 < claimed_share(None, common=True) < 1.35


def test_correlated_errors_increase_the_factor():
    assert claimed_share(50.0, common=False) < 0.4
    assert 0.6 < claimed_share(50.0, common=True) < 1.2


def test_points_of_one_cluster_count_as_one():
    points_px = np.array([[3.0, 5.0], [4.0, 6.0], [300.0, 200.0]])
    places = clusters_of(points_px, WIDTH)
    np.testing.assert_array_equal(places[0], places[1])
    sums = ClusterSums.of(np.array([[1.0], [2.0], [4.0]]), places)
    assert sums.count == 2
    assert sums.squares() == pytest.approx(3.0**2 + 4.0**2)


def test_points_slightly_outside_the_image_belong_to_its_edge():
    np.testing.assert_array_equal(clusters_of(np.array([[-0.4, -1.0]]), WIDTH), [[0, 0]])


def test_nothing_has_nothing_in_common():
    assert ClusterSums.of(np.zeros((5, 2)), np.zeros((5, 2), np.intp)).common_factor(np.eye(2)) == 1.0
