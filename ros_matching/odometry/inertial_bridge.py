"""Bridge over images without a pose: what an IMU knows of the camera since the last pose by images."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from ros_matching.geometry.se3 import invert, rotation_angle_deg
from ros_matching.inertial.bridging import BridgedMotion, BridgedPose, LastPose, bridge, bridged_motion
from ros_matching.inertial.imu import Imu
from ros_matching.inertial.motion_state import MotionState
from ros_matching.inertial.propagation import ImagePose
from ros_matching.odometry.motion_model import ConstantVelocityModel

# Largest difference of a relocalised pose from the rotation by the gyroscope: at once, and in a second
_RELOCALIZED_DEG, _RELOCALIZED_DEG_S = 8.0, 1.5
_NEW_MAP_S = 10.0  # longest time over which the gyroscope carries the rotation to a new map
_MAX_POSES = 40  # newest poses in a row, for the velocity at the last one
_LEAST_VARIANCE = 1e-8  # of a translation by images: its covariance has an inverse so


@dataclass(frozen=True, eq=False)
class CarriedStart:
    """What the IMU knows of the first two views of a new map.

    ``pose`` is that of the first view. ``motion`` is the one between both in metres, ``state`` that of motion at the
    first view; ``None`` if not known.
    """

    pose: BridgedPose
    motion: BridgedMotion | None
    state: MotionState | None

    @property
    def turn_deg(self) -> float:
        """Largest error of the rotation of the pose."""
        return turn_limit_deg(self.pose.seconds)


class InertialBridge:
    """Keeps the last pose by images of one tracker, and continues it by the IMU; without an IMU nothing is known.

    The motion model, which follows the corrections of the map, has the pose itself.
    """

    def __init__(self, imu: Imu | None) -> None:
        self._imu = imu
        self._covariance: np.ndarray | None = None
        self._poses: deque[ImagePose] = deque(maxlen=_MAX_POSES)

    def reset(self) -> None:
        """Forget the last pose."""
        self._covariance = None
        self._poses.clear()

    def wait_for(self, stamp_ns: int) -> None:
        """Wait a moment for the samples up to the stamp of an image."""
        if self._imu is not None:
            self._imu.wait_for(stamp_ns)

    def add_motion(self, start_ns: int, end_ns: int, start_from_end: np.ndarray) -> None:
        """Add a rotation by images (3, 3) of the camera, for the bias of the gyroscope."""
        if self._imu is not None:
            self._imu.add_rotation(start_ns, end_ns, start_from_end)

    def add_pose(
        self, stamp_ns: int, world_from_camera: np.ndarray, covariance: np.ndarray, motion: np.ndarray | None
    ) -> None:
        """Add a pose by images (4, 4) with its covariance (6, 6).

        ``motion`` (6, 6) is the covariance of the motion from the pose before, along the axes of that camera; ``None``
        if this pose does not continue it.
        """
        self._covariance = covariance
        if self._imu is None:
            return
        if motion is None:
            self._poses.clear()
            self._poses.append(ImagePose(stamp_ns, world_from_camera, covariance[:3, :3]))
            return
        before = self._poses[-1].world_from_camera[:3, :3] if self._poses else world_from_camera[:3, :3]
        in_world = before @ motion[:3, :3] @ before.T + _LEAST_VARIANCE * np.eye(3)
        self._poses.append(ImagePose(stamp_ns, world_from_camera, in_world))

    def rescale(self, factor: float) -> None:
        """Multiply all lengths by ``factor``; the newest pose stays."""
        if not self._poses or self._covariance is None:
            return
        newest = self._poses[-1].world_from_camera[:3, 3]
        self._poses = deque((_rescaled(pose, factor, newest) for pose in self._poses), maxlen=_MAX_POSES)

    def rotation_since(self, model: ConstantVelocityModel, stamp_ns: int) -> np.ndarray | None:
        """Return current_from_last (3, 3) of the camera by the gyroscope since the last pose; ``None`` if unknown."""
        return None if self._imu is None else self._imu.camera_rotation(model.stamp_ns, stamp_ns)

    def agrees(
        self, model: ConstantVelocityModel, camera_from_world: np.ndarray, stamp_ns: int, turn_deg: float = 0.0
    ) -> bool:
        """Return False if a pose contradicts the rotation by the gyroscope since the last one.

        ``turn_deg`` is the largest rotation between the worlds of both poses.
        """
        rotation = self.rotation_since(model, stamp_ns)
        if rotation is None:
            return True
        predicted = rotation @ model.world_from_camera[:3, :3].T
        limit_deg = turn_deg + turn_limit_deg((stamp_ns - model.stamp_ns) * 1e-9)
        return bool(rotation_angle_deg(camera_from_world[:3, :3] @ predicted.T) < limit_deg)

    def pose_at(
        self,
        model: ConstantVelocityModel,
        stamp_ns: int,
        depth: float,
        *,
        is_metric: bool,
        limit_s: float | None = None,
    ) -> BridgedPose | None:
        """Return the pose at a stamp since the last one by images; ``None`` if it cannot be known.

        ``depth`` is the typical depth, ``is_metric``: map units are metres; ``limit_s`` replaces ``imu.bridge_s``.
        """
        if self._imu is None or self._covariance is None or not depth > 0:
            return None
        last = LastPose(
            model.stamp_ns, model.world_from_camera, self._covariance, model.velocity, depth, self._followed(model)
        )
        return bridge(self._imu, last, stamp_ns, is_metric, limit_s)

    def _followed(self, model: ConstantVelocityModel) -> tuple[ImagePose, ...]:
        """Return the newest poses in the world of the last one, which corrections of the map may have moved."""
        if not self._poses or self._poses[-1].stamp_ns != model.stamp_ns:
            return ()
        moved = model.world_from_camera @ invert(self._poses[-1].world_from_camera)
        return tuple(replace(pose, world_from_camera=moved @ pose.world_from_camera) for pose in self._poses)

    def start_of_map(
        self, model: ConstantVelocityModel, first_ns: int, second_ns: int, depth: float, *, is_metric: bool
    ) -> CarriedStart | None:
        """Return what is known of a new map's first views, at two stamps; ``None`` if nothing is."""
        limit_s = None if self._imu is None or not self._imu.config.bridge_s else _NEW_MAP_S
        pose = self.pose_at(model, first_ns, depth, is_metric=is_metric, limit_s=limit_s)
        if pose is None:
            return None
        return CarriedStart(pose, bridged_motion(self._imu, pose, second_ns), pose.state)


def turn_limit_deg(seconds: float) -> float:
    """Return the largest error of a rotation by the gyroscope over some seconds."""
    return _RELOCALIZED_DEG + _RELOCALIZED_DEG_S * seconds


def _rescaled(pose: ImagePose, factor: float, fixed: np.ndarray) -> ImagePose:
    moved = pose.world_from_camera.copy()
    moved[:3, 3] = fixed + factor * (moved[:3, 3] - fixed)
    return replace(pose, world_from_camera=moved, covariance=factor**2 * pose.covariance)
