"""Construction of the scale estimator from the settings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ros_matching.errors import ConfigError
from ros_matching.inertial.imu import Imu
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.scale.config import ScaleConfig
from ros_matching.scale.depth_scale import DepthScaleSource
from ros_matching.scale.ground_scale import GroundScaleSource
from ros_matching.scale.imu_scale import ImuScaleSource
from ros_matching.scale.scale_estimator import ScaleEstimator
from ros_matching.scale.scale_measurement import ScaleSource
from ros_matching.scale.stereo_scale import StereoScaleSource
from ros_matching.scale.wheel_scale import WheelOdometry, WheelScaleSource

_UP_IN_BASE = np.array([0.0, 0.0, 1.0])

Extrinsics = Callable[[], "np.ndarray | None"]
"""Returns base_from_camera (4, 4), of the camera (optical axes) on the robot (x forward, z up); ``None`` if unknown."""


def make_scale_estimator(
    config: ScaleConfig,
    matcher: MatchingPipeline,
    *,
    wheel_odometry: WheelOdometry | None = None,
    base_from_camera: Extrinsics | None = None,
    imu: Imu | None = None,
    threaded: bool = False,
) -> ScaleEstimator:
    """Make the estimator for ``VisualOdometry`` with the scale source ``config.source``.

    Depth images and right images are part of the frames. The caller adds positions to ``wheel_odometry``. Without
    ``base_from_camera`` wheel positions are those of the camera, and the camera is pitched ``camera_pitch_deg`` below
    the horizon. ``threaded``: a source that takes long measures in a thread. Raises ``ConfigError`` where an input of
    the source is missing.
    """
    return ScaleEstimator(config, _source(config, matcher, wheel_odometry, base_from_camera, imu, threaded))


def _source(
    config: ScaleConfig,
    matcher: MatchingPipeline,
    wheel_odometry: WheelOdometry | None,
    base_from_camera: Extrinsics | None,
    imu: Imu | None,
    threaded: bool,
) -> ScaleSource | None:
    if config.source == "depth":
        return DepthScaleSource(config)
    if config.source == "stereo":
        return StereoScaleSource(config, matcher)
    if config.source == "wheel":
        if wheel_odometry is None:
            raise ConfigError("scale.source=wheel needs wheel odometry; add the stamped positions of the robot")
        return WheelScaleSource(config, wheel_odometry, base_from_camera or (lambda: np.eye(4)))
    if config.source == "height":
        if not config.camera_height_m > 0:
            raise ConfigError(
                "scale.source=height needs scale.camera_height_m, the height of the camera above the ground"
            )
        return GroundScaleSource(config, _down(config, base_from_camera))
    if config.source == "imu":
        if imu is None:
            raise ConfigError(
                "scale.source=imu needs an IMU, which ros-matching track and slam (--imu) and vo_node (imu_topic) "
                "take; see docs/imu.md"
            )
        return ImuScaleSource(config, imu, threaded=threaded)
    return None


def _down(config: ScaleConfig, base_from_camera: Extrinsics | None) -> Callable[[], np.ndarray | None]:
    """Return a function for the direction of gravity in the camera axes (x right, y down, z forward)."""
    pitch = np.radians(config.camera_pitch_deg)
    if base_from_camera is None:
        return lambda: np.array([0.0, np.cos(pitch), np.sin(pitch)])

    def down() -> np.ndarray | None:
        extrinsics = base_from_camera()
        return None if extrinsics is None else -extrinsics[:3, :3].T @ _UP_IN_BASE

    return down
