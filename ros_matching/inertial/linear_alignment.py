"""Linear solution of the visual-inertial alignment, with which the nonlinear one starts."""

from __future__ import annotations

import numpy as np

from ros_matching.geometry.se3 import log_so3
from ros_matching.inertial.alignment_states import AlignmentInput, AlignmentStates
from ros_matching.inertial.config import ImuConfig
from ros_matching.inertial.motion_state import MotionState

ROTATION_STD = 0.001
"""Standard deviation in rad of the rotation between two keyframes by images."""

_LEAST_DEPTH_M, _LIKELY_DEPTH_M, _MOST_DEPTH_M = 0.05, 2.0, 500.0  # typical depth with the linear solution


_ROW_STD = 0.05  # of an equation, in m/s: the weight of what is known before against what the images measure


def linear_solution(given: AlignmentInput, config: ImuConfig) -> AlignmentStates | None:
    """Solve for velocities, gravity, scale and accelerometer bias with the rotations of images.

    The bias of the gyroscope is that by which the rotations of gyroscope and images agree.
    """
    parts, count = given.preintegrations, len(given.centers)
    dt = np.array([part.seconds for part in parts])
    rotations = np.stack([part.rotation for part in parts])
    jacobians = np.stack([part.jacobian for part in parts])
    first_bias = np.stack([part.bias for part in parts])
    seen = np.swapaxes(given.rotations[:-1], 1, 2) @ given.rotations[1:]
    bias = given.bias.copy()
    errors = log_so3(np.swapaxes(rotations, 1, 2) @ seen)
    by_rate = jacobians[:, :3, 3:]
    weight = 1.0 / (ROTATION_STD**2 + config.gyroscope_noise**2 * dt)
    known = np.diag(given.bias_std[3:] ** -2.0)
    normal = np.einsum("n,nji,njk->ik", weight, by_rate, by_rate) + known
    # The parts may have been integrated with different biases
    by_images = errors + np.einsum("nij,nj->ni", by_rate, first_bias[:, 3:])
    bias[3:] = np.linalg.solve(normal, np.einsum("n,nji,nj->i", weight, by_rate, by_images) + known @ bias[3:])
    moved = bias - first_bias
    position = np.stack([part.position for part in parts]) + np.einsum("nij,nj->ni", jacobians[:, 3:6], moved)
    velocity = np.stack([part.velocity for part in parts]) + np.einsum("nij,nj->ni", jacobians[:, 6:], moved)
    before, after = given.rotations[:-1], given.rotations[1:]
    columns = 3 * count
    rows = np.zeros((6 * len(dt) + 3 + (0 if given.first is None else 6), columns + 7))
    values = np.zeros(len(rows))
    for k, seconds in enumerate(dt):
        top, low = slice(6 * k, 6 * k + 3), slice(6 * k + 3, 6 * k + 6)
        i, j = slice(3 * k, 3 * k + 3), slice(3 * k + 3, 3 * k + 6)
        weight = 1.0 / (0.1 + seconds)
        rows[top, i] = -weight * seconds * np.eye(3)
        rows[top, columns : columns + 3] = -weight * 0.5 * seconds**2 * np.eye(3)
        rows[top, columns + 3] = weight * (given.centers[k + 1] - given.centers[k])
        rows[top, columns + 4 :] = -weight * before[k] @ jacobians[k, 3:6, :3]
        values[top] = weight * (before[k] @ position[k] + (after[k] - before[k]) @ given.lever)
        rows[low, i], rows[low, j] = -weight * np.eye(3), weight * np.eye(3)
        rows[low, columns : columns + 3] = -weight * seconds * np.eye(3)
        rows[low, columns + 4 :] = -weight * before[k] @ jacobians[k, 6:, :3]
        values[low] = weight * (before[k] @ velocity[k])
    end = 6 * len(dt)
    rows[end : end + 3, columns + 4 :] = _ROW_STD / given.bias_std[:3, None] * np.eye(3)
    if given.first is not None:
        _add_known_state(rows[end + 3 :], values[end + 3 :], given.first, columns, config.gravity_m_s2)
    found = np.linalg.lstsq(rows, values, rcond=1e-10)[0]
    gravity, scale = found[columns : columns + 3], found[columns + 3]
    if not np.linalg.norm(gravity) > 1.0 or not np.isfinite(found).all():
        return None
    down = gravity / np.linalg.norm(gravity)
    bias[:3] += np.clip(found[columns + 4 :], -2 * given.bias_std[:3], 2 * given.bias_std[:3])
    # Where the motion does not determine the scale, start with a likely one
    if not _LEAST_DEPTH_M < scale * given.depth < _MOST_DEPTH_M:
        scale = _LIKELY_DEPTH_M / given.depth
    return AlignmentStates(
        given.rotations.copy(),
        given.centers.copy(),
        found[:columns].reshape(-1, 3),
        bias,
        down,
        float(np.log(scale)),
    )


def _add_known_state(
    rows: np.ndarray, values: np.ndarray, first: MotionState, columns: int, gravity_m_s2: float
) -> None:
    """Fill equations (6) for the velocity of the first keyframe and for gravity."""
    speed_std = np.sqrt(np.diag(first.covariance)[:3])
    gravity_std = gravity_m_s2 * float(np.sqrt(np.diag(first.covariance)[9:].max()))
    rows[:3, :3] = _ROW_STD / speed_std[:, None] * np.eye(3)
    values[:3] = _ROW_STD / speed_std * first.velocity
    rows[3:, columns : columns + 3] = _ROW_STD / gravity_std * np.eye(3)
    values[3:] = _ROW_STD / gravity_std * gravity_m_s2 * first.down
