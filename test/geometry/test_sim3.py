"""Similarity transforms."""

from __future__ import annotations

import numpy as np
import pytest

from ros_matching.geometry.se3 import exp_so3, pose_from, transform
from ros_matching.geometry.sim3 import (
    align_points,
    compose_similarity_covariance,
    invert_similarity,
    invert_similarity_covariance,
    local_similarity,
    retract_similarity,
    rigid_part,
    scale_of,
    similarity_from,
)

A = similarity_from(pose_from(exp_so3(np.array([0.3, -0.5, 0.2])), np.array([1.0, 2.0, -0.5])), 1.7)
B = similarity_from(pose_from(exp_so3(np.array([-0.1, 0.4, 0.6])), np.array([-0.3, 0.7, 2.0])), 0.6)


def test_scale_and_rigid_part_compose_to_the_similarity():
    assert scale_of(A @ B) == pytest.approx(1.7 * 0.6)
    np.testing.assert_allclose(similarity_from(rigid_part(A), scale_of(A)), A, atol=1e-12)


def test_the_inverse_undoes_a_similarity():
    np.testing.assert_allclose(invert_similarity(A) @ A, np.eye(4), atol=1e-12)


def test_local_is_the_inverse_of_retract():
    delta = np.array([0.1, -0.2, 0.3, 0.05, -0.02, 0.01, 0.2])
    np.testing.assert_allclose(local_similarity(A, retract_similarity(A, delta)), delta, atol=1e-12)


def jacobian_of(function) -> np.ndarray:
    """Numerical Jacobian (7, 7) of the error of a similarity by that of another."""
    step = 1e-6
    columns = [(local_similarity(function(np.zeros(7)), function(step * unit))) / step for unit in np.eye(7)]
    return np.column_stack(columns)


def test_covariances_follow_the_numerical_jacobians():
    rng = np.random.default_rng(0)
    first, second = (root @ root.T for root in rng.normal(size=(2, 7, 7)))
    inverse = jacobian_of(lambda delta: invert_similarity(retract_similarity(A, delta)))
    np.testing.assert_allclose(
        invert_similarity_covariance(A, first), inverse @ first @ inverse.T, rtol=1e-4, atol=1e-3
    )
    left = jacobian_of(lambda delta: retract_similarity(A, delta) @ B)
    right = jacobian_of(lambda delta: A @ retract_similarity(B, delta))
    expected = left @ first @ left.T + right @ second @ right.T
    np.testing.assert_allclose(compose_similarity_covariance(A, first, B, second), expected, rtol=1e-4, atol=1e-3)


def test_aligned_points_give_the_similarity():
    points = np.random.default_rng(1).normal(size=(20, 3))
    np.testing.assert_allclose(align_points(transform(A, points), points), A, atol=1e-9)
