"""Noise of pose estimates, and of the motion between two."""

from __future__ import annotations

import numpy as np

from ros_matching.uncertainty.pose_estimate import PoseEstimate, difference_noise


def estimate(seed: int) -> PoseEstimate:
    rng = np.random.default_rng(seed)
    clusters = np.stack(np.unravel_index(np.arange(0, 1600, 8), (40, 40)), axis=1)
    influences = rng.normal(size=(len(clusters), 6))
    return PoseEstimate(
        np.eye(4),
        1,
        np.arange(len(clusters)),
        clusters,
        influences,
        np.zeros((6, 0)),
        np.zeros((6, 6)),
        np.zeros((6, 4)),
    )


def test_independent_noise_of_two_poses_adds_up_in_the_motion():
    apart = difference_noise(estimate(0), estimate(1), np.eye(6), np.eye(6))
    np.testing.assert_allclose(np.trace(apart), np.trace(estimate(0).noise + estimate(1).noise), rtol=0.2)


def test_the_motion_between_identical_images_has_a_covariance():
    twice = difference_noise(estimate(0), estimate(0), np.eye(6), np.eye(6))
    smallest, largest = np.linalg.eigvalsh(twice)[[0, -1]]
    assert smallest > 0
    assert largest < 0.01 * np.linalg.eigvalsh(estimate(0).noise)[0]
