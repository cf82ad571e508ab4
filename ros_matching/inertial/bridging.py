"""Poses between the last image with a pose and the next: by the IMU alone, with a growing covariance.

The gyroscope carries the rotation. Where scale, gravity and velocity are known (``MotionState``), the accelerometer
carries the position; else it continues for a moment and stays, with a large uncertainty. A camera that stood still,
and whose IMU has been quiet since, has not moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import ImuNoise, ImuSamples
from ros_matching.geometry.se3 import exp_so3, pose_from
from ros_matching.inertial.alignment_states import tangents
from ros_matching.inertial.gyroscope import integrated_rotation
from ros_matching.inertial.imu import Imu, is_quiet
from ros_matching.inertial.motion_state import MotionState

_COAST_S = 0.3  # for which an unknown motion continues
_SPEED_STD, _ACCELERATION_STD = 0.5, 1.0  # of an unknown motion: of its speed, and in typical depths a second squared
_STILL_SPEED = 0.02  # typical depths a second: slower, a camera stands
_STILL_STD = 0.001  # typical depths, of a camera that stands
_UNKNOWN_BIAS_STD = 0.01  # rad/s
_LARGEST_STEP_S = 10.0  # between the last known state and the last image


@dataclass(frozen=True, eq=False)
class LastPose:
    """The last pose by images: ``world_from_camera`` (4, 4) and its ``covariance`` (6, 6), in map units.

    ``velocity`` (3,) is in map units a second along the world's axes, ``depth`` the typical depth.
    """

    stamp_ns: int
    world_from_camera: np.ndarray
    covariance: np.ndarray
    velocity: np.ndarray
    depth: float


@dataclass(frozen=True, eq=False)
class BridgedPose:
    """A pose by the IMU, ``seconds`` after the last one by images, in map units."""

    seconds: float
    world_from_camera: np.ndarray
    covariance: np.ndarray


def bridge(imu: Imu, last: LastPose, stamp_ns: int, is_metric: bool) -> BridgedPose | None:
    """Return the pose at a stamp; ``None`` without samples or beyond ``bridge_s``.

    ``is_metric``: map units are metres.
    """
    seconds = (stamp_ns - last.stamp_ns) * 1e-9
    extrinsics = imu.imu_from_camera
    if extrinsics is None or not 0 < seconds <= imu.config.bridge_s:
        return None
    samples = imu.between(last.stamp_ns, stamp_ns)
    if samples is None:
        return None
    lever, noise = extrinsics[:3, 3], imu.noise_at(last.stamp_ns, stamp_ns)
    world_from_imu = last.world_from_camera[:3, :3] @ extrinsics[:3, :3].T
    state = _at_last(imu, last, world_from_imu) if is_metric else None
    center = last.world_from_camera[:3, 3].copy()
    if _stands(imu, last, samples):
        rotation = world_from_imu
        variances = _rotation_variance(imu, noise, 0.0), (_STILL_STD * last.depth) ** 2
    elif state is None:
        rotation = world_from_imu @ integrated_rotation(samples, imu.gyroscope_bias)
        center += last.velocity * min(seconds, _COAST_S)
        std = _SPEED_STD * np.linalg.norm(last.velocity) * seconds + 0.5 * _ACCELERATION_STD * last.depth * seconds**2
        variances = _rotation_variance(imu, noise, seconds), std**2
    else:
        gravity = imu.config.gravity_m_s2 * state.down
        rotation, _, moved = propagated(samples, world_from_imu, state.velocity, state.bias, gravity)
        center += moved + world_from_imu @ -lever + rotation @ lever
        variances = _rotation_variance(imu, noise, seconds), _position_variance(imu, noise, state, seconds)
    covariance = last.covariance + np.diag(np.repeat([variances[1], variances[0]], 3))
    return BridgedPose(seconds, pose_from(rotation @ extrinsics[:3, :3], center), covariance)


def propagated(
    samples: ImuSamples, rotation: np.ndarray, velocity: np.ndarray, bias: np.ndarray, gravity: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Integrate samples from a rotation (3, 3) world_from_imu and velocity (3,); returns both and the displacement."""
    seconds = np.diff(samples.stamps_ns) * 1e-9
    rates = 0.5 * (samples.gyroscope[1:] + samples.gyroscope[:-1]) - bias[3:]
    forces = samples.accelerometer - bias[:3]
    moved, velocity = np.zeros(3), velocity.copy()
    for row, step in enumerate(exp_so3(rates * seconds[:, None])):
        following = rotation @ step
        acceleration = 0.5 * (rotation @ forces[row] + following @ forces[row + 1]) + gravity
        moved += velocity * seconds[row] + 0.5 * acceleration * seconds[row] ** 2
        velocity += acceleration * seconds[row]
        rotation = following
    return rotation, velocity, moved


def _at_last(imu: Imu, last: LastPose, world_from_imu: np.ndarray) -> MotionState | None:
    """Return the newest known state with the velocity at the last image."""
    state = imu.state
    if state is None or state.stamp_ns > last.stamp_ns or last.stamp_ns - state.stamp_ns > _LARGEST_STEP_S * 1e9:
        return None
    if state.stamp_ns == last.stamp_ns:
        return state
    samples = imu.between(state.stamp_ns, last.stamp_ns)
    if samples is None:
        return None
    start = world_from_imu @ integrated_rotation(samples, state.bias[3:]).T
    gravity = imu.config.gravity_m_s2 * state.down
    _, velocity, _ = propagated(samples, start, state.velocity, state.bias, gravity)
    return MotionState(
        last.stamp_ns, state.down, velocity, state.bias, state.covariance, state.log_scale, state.log_scale_std
    )


def _stands(imu: Imu, last: LastPose, samples: ImuSamples) -> bool:
    """Return True if the camera stood at the last image, and the IMU has been quiet since."""
    is_slow = np.linalg.norm(last.velocity) < _STILL_SPEED * last.depth
    return bool(is_slow and is_quiet(samples, imu.gyroscope_bias))


def _rotation_variance(imu: Imu, noise: ImuNoise, seconds: float) -> float:
    bias = _UNKNOWN_BIAS_STD**2 if imu.state is None else float(np.trace(imu.state.covariance[6:9, 6:9])) / 3
    return noise.gyroscope**2 * seconds + bias * seconds**2


def _position_variance(imu: Imu, noise: ImuNoise, state: MotionState, seconds: float) -> float:
    """Largest variance of a direction: by velocity, bias, gravity, rotation and noise."""
    gravity = imu.config.gravity_m_s2
    by_state = np.zeros((3, 11))
    by_state[:, :3] = seconds * np.eye(3)
    by_state[:, 3:6] = 0.5 * seconds**2 * np.eye(3)
    by_state[:, 9:] = 0.5 * seconds**2 * gravity * tangents(state.down)
    known = float(np.linalg.eigvalsh(by_state @ state.covariance @ by_state.T)[-1])
    by_rotation = (gravity * seconds**2 / 6) ** 2 * _rotation_variance(imu, noise, seconds)
    return known + by_rotation + noise.accelerometer**2 * seconds**3 / 3
