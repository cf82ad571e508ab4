"""The estimator of the scale that the settings ask for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ros_matching.errors import ConfigError
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.scale.config import ScaleConfig
from ros_matching.scale.depth_scale import DepthScaleSource
from ros_matching.scale.ground_scale import GroundScaleSource
from ros_matching.scale.scale_estimator import ScaleEstimator
from ros_matching.scale.scale_measurement import ScaleSource
from ros_matching.scale.stereo_scale import StereoScaleSource
from ros_matching.scale.wheel_scale import WheelOdometry, WheelScaleSource

_UP_IN_BASE = np.array([0.0, 0.0, 1.0])

Mount = Callable[[], "np.ndarray | None"]
"""Gives base_from_camera (4, 4), the camera (optical axes) on the robot (x ahead, z up), or ``None`` while unknown."""


def make_scale_estimator(
    config: ScaleConfig,
    matcher: MatchingPipeline,
    *,
    wheel_odometry: WheelOdometry | None = None,
    base_from_camera: Mount | None = None,
) -> ScaleEstimator:
    """The estimator for ``VisualOdometry``; ``config.source`` chooses what tells the scale.

    Depth images and partner images come with the frames. ``wheel_odometry`` is filled beside the tracker. Without
    ``base_from_camera`` the wheels' odometry is taken to be that of the camera itself, and the camera to look
    ``camera_pitch_deg`` below the horizon. Raises ``ConfigError`` where the anchor lacks what it needs.
    """
    return ScaleEstimator(config, _anchor(config, matcher, wheel_odometry, base_from_camera))


def _anchor(
    config: ScaleConfig, matcher: MatchingPipeline, wheel_odometry: WheelOdometry | None, base_from_camera: Mount | None
) -> ScaleSource | None:
    if config.source == "depth":
        return DepthScaleSource(config)
    if config.source == "stereo":
        return StereoScaleSource(config, matcher)
    if config.source == "wheel":
        if wheel_odometry is None:
            raise ConfigError("scale.source=wheel needs wheel odometry; give the positions of the robot by time")
        return WheelScaleSource(config, wheel_odometry, base_from_camera or (lambda: np.eye(4)))
    if config.source == "height":
        if not config.camera_height_m > 0:
            raise ConfigError("scale.source=height needs scale.camera_height_m, the camera's height over the ground")
        return GroundScaleSource(config, _down(config, base_from_camera))
    return None


def _down(config: ScaleConfig, base_from_camera: Mount | None) -> Callable[[], np.ndarray | None]:
    """The direction of gravity in the camera's axes (x right, y down, z forward)."""
    pitch = np.radians(config.camera_pitch_deg)
    if base_from_camera is None:
        return lambda: np.array([0.0, np.cos(pitch), np.sin(pitch)])

    def down() -> np.ndarray | None:
        mounting = base_from_camera()
        return None if mounting is None else -mounting[:3, :3].T @ _UP_IN_BASE

    return down
