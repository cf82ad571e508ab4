"""Motion of a camera: the last pose by images, and its continuation by a motion model and an IMU."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ros_matching.atlas.map_update import MapCorrection
from ros_matching.datatypes import ScaleState
from ros_matching.geometry.se3 import invert
from ros_matching.inertial.bridging import BridgedPose
from ros_matching.inertial.imu import Imu
from ros_matching.odometry.inertial_bridge import CarriedStart, InertialBridge
from ros_matching.odometry.motion_model import ConstantVelocityModel, Prediction
from ros_matching.scale.scale_estimator import ScaleEstimator
from ros_matching.uncertainty.pose_estimate import PoseEstimate
from ros_matching.uncertainty.pose_uncertainty import PoseUncertainty, jump_covariance


@dataclass(frozen=True, eq=False)
class CameraPose:
    """Pose ``world_from_camera`` (4, 4) of a frame with its ``covariance`` (6, 6).

    ``previous_from_current`` (4, 4) with ``relative_covariance`` (6, 6) is the motion since the previous frame; both
    are ``None`` if unknown.
    """

    world_from_camera: np.ndarray
    covariance: np.ndarray
    previous_from_current: np.ndarray | None
    relative_covariance: np.ndarray | None


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """The last frame with a pose: the reported pose, and its estimate in the current map."""

    stamp_ns: int
    world_from_camera: np.ndarray
    estimate: PoseEstimate

    def corrected(self, correction: MapCorrection) -> TrackedFrame:
        """Return the frame after an update of the map."""
        pose = correction.applied_to(self.estimate.camera_from_world)
        return replace(self, estimate=replace(self.estimate, camera_from_world=pose))


class CameraMotion:
    """Keeps the last pose, predicts the next one, and derives the motion between both.

    Without an IMU (``None``) the prediction has constant velocity, and nothing is known after a loss.
    """

    def __init__(self, imu: Imu | None, uncertainty: PoseUncertainty, scale: ScaleEstimator) -> None:
        self._imu = imu
        self._bridge = InertialBridge(imu)
        self._uncertainty = uncertainty
        self._scale = scale
        self.reset()

    def reset(self) -> None:
        """Forget all poses."""
        self._last: TrackedFrame | None = None
        self._model: ConstantVelocityModel | None = None
        self._bridge.reset()
        if self._imu is not None:
            self._imu.reset()

    def wait_for(self, stamp_ns: int) -> None:
        """Wait a moment for the samples of the IMU up to the stamp of an image."""
        self._bridge.wait_for(stamp_ns)

    @property
    def has_previous(self) -> bool:
        """True if the last pose is in the active map, so that the motion from there is known."""
        return self._last is not None

    @property
    def last_world_from_camera(self) -> np.ndarray:
        """The last pose (4, 4), in the active map as it is now."""
        return self._model.world_from_camera

    def interrupt(self) -> None:
        """Forget the last pose in the map: the motion from there to the next one is unknown."""
        self._last = None

    # Prediction

    def predict(self, stamp_ns: int) -> tuple[Prediction, bool]:
        """Predict the pose at a stamp; the second value is True if the IMU has measured the rotation."""
        rotation = self._bridge.rotation_since(self._model, stamp_ns)
        return self._model.predict_with_rotation(stamp_ns, rotation), rotation is not None

    def agrees(self, camera_from_world: np.ndarray, stamp_ns: int, turn_deg: float = 0.0) -> bool:
        """Return False if a pose contradicts the gyroscope; see ``InertialBridge.agrees``."""
        return self._bridge.agrees(self._model, camera_from_world, stamp_ns, turn_deg)

    def bridged(self, stamp_ns: int, depth: float) -> BridgedPose | None:
        """Return the pose at a stamp by the IMU since the last pose by images; ``None`` if it cannot be known.

        ``depth`` is the typical depth of the scene in map units.
        """
        if self._model is None:
            return None
        return self._bridge.pose_at(self._model, stamp_ns, depth, is_metric=self._is_metric)

    def carried_start(self, first_ns: int, second_ns: int, depth: float) -> CarriedStart | None:
        """Return what the IMU knows of the first two views of a new map, at two stamps; ``None`` if nothing."""
        return self._bridge.start_of_map(self._model, first_ns, second_ns, depth, is_metric=self._is_metric)

    @property
    def _is_metric(self) -> bool:
        return self._scale.report.state is ScaleState.METRIC

    # New poses

    def motion_to(self, estimate: PoseEstimate) -> tuple[np.ndarray, np.ndarray] | None:
        """Return previous_from_current and its covariance in the map; ``None`` without a previous pose in it."""
        if self._last is None:
            return None
        motion = self._last.estimate.camera_from_world @ invert(estimate.camera_from_world)
        return motion, self._uncertainty.relative_covariance(self._last.estimate, estimate)

    def add(
        self, stamp_ns: int, estimate: PoseEstimate, motion: tuple[np.ndarray, np.ndarray] | None = None
    ) -> CameraPose:
        """Add the pose of a frame; ``motion`` is that since the previous frame, before an update moved this one."""
        last, relative, relative_cov, elapsed_ns = self._last, None, None, 0
        world_from_camera = invert(estimate.camera_from_world)
        if motion is not None:
            relative = invert(last.world_from_camera) @ world_from_camera
            relative_cov = motion[1] + jump_covariance(motion[0], relative)
            elapsed_ns = stamp_ns - last.stamp_ns
            self._bridge.add_motion(last.stamp_ns, stamp_ns, motion[0][:3, :3])
        covariance = self._uncertainty.world_covariance(estimate)
        self._bridge.add_pose(stamp_ns, world_from_camera, covariance, relative_cov)
        current_from_previous = None if relative is None else invert(relative)
        self._last = TrackedFrame(stamp_ns, world_from_camera, estimate)
        self._model = ConstantVelocityModel(stamp_ns, world_from_camera, current_from_previous, elapsed_ns)
        return CameraPose(world_from_camera, covariance, relative, relative_cov)

    # Changes of the map

    def correct(self, correction: MapCorrection, is_merged: bool) -> None:
        """Move the last pose with the map; after a merge the motion from there is unknown."""
        if self._last is not None:
            self._last = None if is_merged else self._last.corrected(correction)
        if self._model is not None:
            moved = invert(correction.applied_to(invert(self._model.world_from_camera)))
            self._model = self._model.moved_to(moved, correction.scale_change)

    def rescale(self, factor: float) -> None:
        """Multiply all lengths by ``factor``, about the camera of the last pose."""
        self._last = replace(self._last, estimate=self._last.estimate.rescaled(factor))
        self._model = self._model.rescaled(factor)
        self._bridge.rescale(factor)
