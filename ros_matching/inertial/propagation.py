"""Propagation of the state of motion by IMU samples, with its covariance, and its update by poses of images.

An error-state Kalman filter (Sola, "Quaternion kinematics for the error-state Kalman filter", 2017) with the rotation
error on the left, in the axes of the world:

    R = Exp(dr) R_hat,   dv' = -[R f]x dr - R db_a + g d(down),   dr' = -R db_g,   dp' = dv.

The covariance is propagated in steps of several samples: it varies slowly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ros_matching.datatypes import ImuNoise
from ros_matching.geometry.se3 import exp_so3, pose_from, skew
from ros_matching.inertial.alignment_states import tangents
from ros_matching.inertial.gyroscope import integrated_rotation
from ros_matching.inertial.imu import Imu
from ros_matching.inertial.motion_state import MotionState
from ros_matching.inertial.rotation_agreement import rotations_agree

# Rows of the error state: displacement, rotation, and those of ``MotionState.covariance``
_POSITION, _ROTATION, _VELOCITY = slice(0, 3), slice(3, 6), slice(6, 9)
_FORCE_BIAS, _RATE_BIAS, _GRAVITY, _STATE = slice(9, 12), slice(12, 15), slice(15, 17), slice(6, 17)
_SIZE = 17
_SAMPLES_A_STEP = 10
# Factor on the variances of a state that is carried to a new map: errors of the map before are not white
_CARRIED = 3.0
_GATE = 4.5  # standard deviations of a translation by images, beyond which it is an outlier


@dataclass(frozen=True, eq=False)
class PropagatedState:
    """State after some samples: ``rotation`` (3, 3) world_from_imu, and the ``displacement`` (3,) of the IMU in metres.

    ``covariance`` (17, 17) is that of displacement, rotation, velocity, biases of accelerometer and gyroscope, and
    gravity (2).
    """

    state: MotionState
    rotation: np.ndarray
    displacement: np.ndarray
    covariance: np.ndarray

    @property
    def relative_to_camera(self) -> MotionState:
        """The state in a world in which the rotation at this time is exact, as in a map that starts here."""
        state, jacobian = self.state, np.zeros((11, _SIZE))
        jacobian[:, _STATE] = np.eye(11)
        jacobian[:3, _ROTATION] = skew(state.velocity)
        jacobian[9:, _ROTATION] = tangents(state.down).T @ skew(state.down)
        return replace(state, covariance=_CARRIED * jacobian @ self.covariance @ jacobian.T)


@dataclass(frozen=True, eq=False)
class ImagePose:
    """A pose by images: world_from_camera (4, 4) in metres, and the covariance (3, 3) of its translation.

    The covariance is that since the pose before, along the axes of the world.
    """

    stamp_ns: int
    world_from_camera: np.ndarray
    covariance: np.ndarray


def propagate(
    imu: Imu, rotation: np.ndarray, state: MotionState, end_ns: int, position: np.ndarray | None = None
) -> PropagatedState | None:
    """Propagate a state with the exact rotation (3, 3) world_from_imu to a later stamp; ``None`` without samples.

    ``position`` (3, 3) is the covariance of the position at the start, zero unless given.
    """
    samples = imu.between(state.stamp_ns, end_ns)
    if samples is None:
        return None
    noise, gravity_m_s2 = imu.noise_at(state.stamp_ns, end_ns), imu.config.gravity_m_s2
    seconds = np.diff(samples.stamps_ns) * 1e-9
    rates = 0.5 * (samples.gyroscope[1:] + samples.gyroscope[:-1]) - state.bias[3:]
    forces = samples.accelerometer - state.bias[:3]
    displacement, velocity, gravity = np.zeros(3), state.velocity.copy(), gravity_m_s2 * state.down
    covariance = np.zeros((_SIZE, _SIZE))
    covariance[_STATE, _STATE] = state.covariance
    if position is not None:
        covariance[_POSITION, _POSITION] = position
    by_gravity = gravity_m_s2 * tangents(state.down)
    step_s, mean_force = 0.0, np.zeros(3)
    for row, turned in enumerate(exp_so3(rates * seconds[:, None])):
        following, duration = rotation @ turned, seconds[row]
        force = 0.5 * (rotation @ forces[row] + following @ forces[row + 1])
        displacement += velocity * duration + 0.5 * (force + gravity) * duration**2
        velocity += (force + gravity) * duration
        rotation = following
        step_s, mean_force = step_s + duration, mean_force + force * duration
        if (row + 1) % _SAMPLES_A_STEP == 0 or row + 1 == len(seconds):
            covariance = _grown(covariance, rotation, mean_force / max(step_s, 1e-9), by_gravity, noise, step_s)
            step_s, mean_force = 0.0, np.zeros(3)
    moved = replace(state, stamp_ns=end_ns, velocity=velocity, covariance=covariance[_STATE, _STATE])
    return PropagatedState(moved, rotation, displacement, covariance)


def _grown(
    covariance: np.ndarray,
    rotation: np.ndarray,
    force: np.ndarray,
    by_gravity: np.ndarray,
    noise: ImuNoise,
    seconds: float,
) -> np.ndarray:
    """Return the covariance (17, 17) after some time with a mean ``force`` (3,) along the axes of the world."""
    transition = np.eye(_SIZE)
    transition[_POSITION, _VELOCITY] = seconds * np.eye(3)
    transition[_ROTATION, _RATE_BIAS] = -seconds * rotation
    for rows, factor in ((_VELOCITY, seconds), (_POSITION, 0.5 * seconds**2)):
        transition[rows, _ROTATION] = -factor * skew(force)
        transition[rows, _FORCE_BIAS] = -factor * rotation
        transition[rows, _GRAVITY] = factor * by_gravity
    covariance = transition @ covariance @ transition.T
    for axis in range(3):
        position, velocity = axis, 6 + axis
        covariance[position, position] += noise.accelerometer**2 * seconds**3 / 3
        covariance[velocity, velocity] += noise.accelerometer**2 * seconds
        covariance[position, velocity] += 0.5 * noise.accelerometer**2 * seconds**2
        covariance[velocity, position] += 0.5 * noise.accelerometer**2 * seconds**2
        covariance[3 + axis, 3 + axis] += noise.gyroscope**2 * seconds
        covariance[9 + axis, 9 + axis] += noise.accelerometer_walk**2 * seconds
        covariance[12 + axis, 12 + axis] += noise.gyroscope_walk**2 * seconds
    return covariance


def followed(imu: Imu, state: MotionState, poses: Sequence[ImagePose]) -> tuple[ImagePose, MotionState] | None:
    """Follow poses by images in the order of time with a state from their beginning; ``None`` without samples.

    Returns the pose at the newest image that agrees with the IMU, by both, and the state there. Images that do not
    agree, as blurred ones, are left out. Over so short a time the gyroscope is more accurate than an image.
    """
    extrinsics = imu.imu_from_camera
    later = [pose for pose in poses if pose.stamp_ns >= state.stamp_ns]
    if extrinsics is None or not later:
        return None
    camera_from_imu, lever = extrinsics[:3, :3].T, extrinsics[:3, 3]
    stamp_ns, start = later[0].stamp_ns, later[0].world_from_camera
    rotation, center = start[:3, :3] @ camera_from_imu, start[:3, 3]
    if state.stamp_ns < stamp_ns:
        state = propagated_to(imu, rotation, state, stamp_ns)
    position = np.zeros((3, 3))
    for pose in later[1:]:
        predicted = None if state is None else propagate(imu, rotation, state, pose.stamp_ns, position)
        if predicted is None:
            return None
        by_images = pose.world_from_camera[:3, :3] @ camera_from_imu
        if not rotations_agree(by_images, predicted.rotation, rotation, (pose.stamp_ns - stamp_ns) * 1e-9):
            continue
        moved = (predicted.rotation - rotation) @ lever
        updated = _updated(predicted, pose.world_from_camera[:3, 3] - center - moved, pose.covariance)
        if updated is not None:
            stamp_ns, rotation = pose.stamp_ns, predicted.rotation
            state, displacement, position = updated
            center = center + displacement + moved
    world_from_camera = pose_from(rotation @ extrinsics[:3, :3], center)
    return ImagePose(stamp_ns, world_from_camera, position), state


def propagated_to(imu: Imu, rotation: np.ndarray, state: MotionState, end_ns: int) -> MotionState | None:
    """Return a state at a later stamp, where the rotation (3, 3) world_from_imu is known; ``None`` without samples."""
    samples = imu.between(state.stamp_ns, end_ns)
    if samples is None:
        return None
    start = rotation @ integrated_rotation(samples, state.bias[3:]).T
    moved = propagate(imu, start, state, end_ns)
    return None if moved is None else moved.state


def _updated(
    predicted: PropagatedState, displacement: np.ndarray, covariance: np.ndarray
) -> tuple[MotionState, np.ndarray, np.ndarray] | None:
    """Update by a measured displacement (3,) of the IMU with its covariance (3, 3); ``None`` if it is an outlier.

    Returns the state, and the displacement by both with its covariance.
    """
    state, of_position = predicted.state, predicted.covariance[:, _POSITION]
    innovation = displacement - predicted.displacement
    total = predicted.covariance[_POSITION, _POSITION] + covariance
    if innovation @ np.linalg.solve(total, innovation) > _GATE**2:
        return None
    gain = np.linalg.solve(total, of_position.T).T
    step, remaining = gain @ innovation, predicted.covariance - gain @ of_position.T
    change = step[_STATE]
    down = state.down + tangents(state.down) @ change[9:]
    state = replace(
        state,
        velocity=state.velocity + change[:3],
        bias=state.bias + change[3:9],
        down=down / np.linalg.norm(down),
        covariance=0.5 * (remaining[_STATE, _STATE] + remaining[_STATE, _STATE].T),
    )
    position = 0.5 * (remaining[_POSITION, _POSITION] + remaining[_POSITION, _POSITION].T)
    return state, predicted.displacement + step[_POSITION], position
