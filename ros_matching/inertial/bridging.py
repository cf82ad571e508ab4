"""Poses between the last image with a pose and the next: by the IMU alone, with a growing covariance.

The gyroscope carries the rotation. Where scale, gravity and velocity are known (``MotionState``), the accelerometer
carries the position; else it continues for a moment and stays, with a large uncertainty. A camera that stood still,
and whose IMU has been quiet since, has not moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import ImuNoise, ImuSamples
from ros_matching.geometry.se3 import pose_from, skew
from ros_matching.inertial.gyroscope import integrated_rotation
from ros_matching.inertial.imu import Imu, is_quiet
from ros_matching.inertial.motion_state import MotionState
from ros_matching.inertial.propagation import (
    ImagePose,
    PropagatedState,
    followed,
    propagate,
    propagated_to,
)
from ros_matching.inertial.rotation_agreement import agreeing

_COAST_S = 0.3  # for which an unknown motion continues
_SPEED_STD, _ACCELERATION_STD = 0.5, 1.0  # of an unknown motion: of its speed, and in typical depths a second squared
_STILL_SPEED = 0.02  # typical depths a second: slower, a camera stands
_STILL_STD = 0.001  # typical depths, of a camera that stands
_UNKNOWN_BIAS_STD = 0.01  # rad/s
_LARGEST_STEP_S = 10.0  # between the last known state and the last image
_ANCHOR_S = 0.7  # longest time before the last image in which its poses are wrong


@dataclass(frozen=True, eq=False)
class LastPose:
    """The last pose by images: ``world_from_camera`` (4, 4) and its ``covariance`` (6, 6), in map units.

    ``velocity`` (3,) is in map units a second along the world's axes, ``depth`` the typical depth. ``poses`` are the
    newest ones in a row, this one last.
    """

    stamp_ns: int
    world_from_camera: np.ndarray
    covariance: np.ndarray
    velocity: np.ndarray
    depth: float
    poses: Sequence[ImagePose] = ()


@dataclass(frozen=True, eq=False)
class BridgedPose:
    """A pose by the IMU, ``seconds`` after the last one by images, in map units.

    ``state`` is that of motion there, in a world in which this pose is exact; ``None`` if it is not known.
    """

    seconds: float
    world_from_camera: np.ndarray
    covariance: np.ndarray
    state: MotionState | None = None


@dataclass(frozen=True, eq=False)
class BridgedMotion:
    """Translation (3,) of the camera between two times by the IMU, in metres, with its covariance (3, 3)."""

    translation: np.ndarray
    covariance: np.ndarray


def bridge(
    imu: Imu, last: LastPose, stamp_ns: int, is_metric: bool, limit_s: float | None = None
) -> BridgedPose | None:
    """Return the pose at a stamp; ``None`` without samples or beyond ``limit_s``, which is ``bridge_s`` unless given.

    ``is_metric``: map units are metres.
    """
    seconds = (stamp_ns - last.stamp_ns) * 1e-9
    extrinsics = imu.imu_from_camera
    if extrinsics is None or not 0 < seconds <= (imu.config.bridge_s if limit_s is None else limit_s):
        return None
    anchor, state = _anchor(imu, last, is_metric=is_metric)
    samples = imu.between(anchor.stamp_ns, stamp_ns)
    if samples is None:
        return None
    noise = imu.noise_at(anchor.stamp_ns, stamp_ns)
    world_from_imu = anchor.world_from_camera[:3, :3] @ extrinsics[:3, :3].T
    moved = None if state is None else propagate(imu, world_from_imu, state, stamp_ns)
    center = anchor.world_from_camera[:3, 3].copy()
    if _stands(imu, last, samples):
        rotation = world_from_imu
        added = _isotropic((_STILL_STD * last.depth) ** 2, _rotation_variance(imu, noise, 0.0))
    elif moved is None or seconds > imu.config.bridge_s:
        rotation = world_from_imu @ integrated_rotation(samples, imu.gyroscope_bias)
        center = last.world_from_camera[:3, 3] + last.velocity * min(seconds, _COAST_S)
        std = _SPEED_STD * np.linalg.norm(last.velocity) * seconds + 0.5 * _ACCELERATION_STD * last.depth * seconds**2
        added = _isotropic(std**2, _rotation_variance(imu, noise, seconds))
    else:
        rotation = moved.rotation
        translation, added = _camera_motion(moved, world_from_imu, extrinsics[:3, 3])
        center += translation
    pose = pose_from(rotation @ extrinsics[:3, :3], center)
    state = None if moved is None else moved.relative_to_camera
    return BridgedPose(seconds, pose, last.covariance + added, state)


def bridged_motion(imu: Imu, start: BridgedPose, end_ns: int) -> BridgedMotion | None:
    """Return the translation of the camera from a bridged pose to a later time; ``None`` if it is not known."""
    extrinsics = imu.imu_from_camera
    if start.state is None or extrinsics is None:
        return None
    rotation = start.world_from_camera[:3, :3] @ extrinsics[:3, :3].T
    moved = propagate(imu, rotation, start.state, end_ns)
    if moved is None:
        return None
    translation, covariance = _camera_motion(moved, rotation, extrinsics[:3, 3])
    return BridgedMotion(translation, covariance[:3, :3])


def _anchor(imu: Imu, last: LastPose, *, is_metric: bool) -> tuple[ImagePose, MotionState | None]:
    """Return the newest pose by images that agrees with the IMU, and the state of motion there if it is known.

    The last images before a loss are often blurred, and their poses are wrong.
    """
    newest = ImagePose(last.stamp_ns, last.world_from_camera, last.covariance[:3, :3])
    state = _known_state(imu, last) if is_metric else None
    recent = [pose for pose in last.poses if last.stamp_ns - pose.stamp_ns <= _ANCHOR_S * 1e9]
    if state is None:
        if len(recent) < 2:
            return newest, None
        kept = agreeing(imu, [pose.stamp_ns for pose in recent], np.stack([pose.world_from_camera for pose in recent]))
        return recent[int(np.flatnonzero(kept)[-1])], None
    found = followed(imu, state, last.poses) if last.poses else None
    if found is not None and last.stamp_ns - found[0].stamp_ns <= _ANCHOR_S * 1e9:
        return found
    if state.stamp_ns == last.stamp_ns:
        return newest, state
    world_from_imu = last.world_from_camera[:3, :3] @ imu.imu_from_camera[:3, :3].T
    return newest, propagated_to(imu, world_from_imu, state, last.stamp_ns)


def _known_state(imu: Imu, last: LastPose) -> MotionState | None:
    """Return a known state, if it is not too old or later than the last image.

    The newest one may come from the poses that are wrong.
    """
    state = imu.state_before(last.stamp_ns - round(_ANCHOR_S * 1e9))
    if state is None or state.stamp_ns > last.stamp_ns or last.stamp_ns - state.stamp_ns > _LARGEST_STEP_S * 1e9:
        return None
    return state


def _camera_motion(
    moved: PropagatedState, rotation_before: np.ndarray, lever: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the translation (3,) of the camera, which is at ``lever`` in the IMU, and the covariance (6, 6)."""
    translation = moved.displacement + (moved.rotation - rotation_before) @ lever
    of_camera = np.eye(6)
    of_camera[:3, 3:] = -skew(moved.rotation @ lever)
    return translation, of_camera @ moved.covariance[:6, :6] @ of_camera.T


def _isotropic(position_variance: float, rotation_variance: float) -> np.ndarray:
    return np.diag(np.repeat([position_variance, rotation_variance], 3))


def _stands(imu: Imu, last: LastPose, samples: ImuSamples) -> bool:
    """Return True if the camera stood at the last image, and the IMU has been quiet since."""
    is_slow = np.linalg.norm(last.velocity) < _STILL_SPEED * last.depth
    return bool(is_slow and is_quiet(samples, imu.gyroscope_bias))


def _rotation_variance(imu: Imu, noise: ImuNoise, seconds: float) -> float:
    bias = _UNKNOWN_BIAS_STD**2 if imu.state is None else float(np.trace(imu.state.covariance[6:9, 6:9])) / 3
    return noise.gyroscope**2 * seconds + bias * seconds**2
