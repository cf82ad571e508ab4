"""What is known of one pose, and of two."""

from __future__ import annotations

import numpy as np

from ros_matching.uncertainty.pose_estimate import PoseEstimate, difference_noise


def estimate(seed: int) -> PoseEstimate:
    rng = np.random.default_rng(seed)
    places = np.stack(np.unravel_index(np.arange(0, 1600, 8), (40, 40)), axis=1)
    influences = rng.normal(size=(len(places), 6))
    return PoseEstimate(np.eye(4), 1, np.arange(len(places)), places, influences, np.zeros((6, 0)), np.zeros((6, 6)))


def test_the_noise_of_a_motion_is_what_two_poses_do_not_share():
    apart = difference_noise(estimate(0), estimate(1), np.eye(6), np.eye(6))
    np.testing.assert_allclose(np.trace(apart), np.trace(estimate(0).noise + estimate(1).noise), rtol=0.2)


def test_the_same_image_twice_does_not_make_the_motion_certain():
    twice = difference_noise(estimate(0), estimate(0), np.eye(6), np.eye(6))
    smallest, largest = np.linalg.eigvalsh(twice)[[0, -1]]
    assert smallest > 0
    assert largest < 0.01 * np.linalg.eigvalsh(estimate(0).noise)[0]
