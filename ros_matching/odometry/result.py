"""The result of the tracker for one frame."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field, replace

import numpy as np

from ros_matching.datatypes import Keyframe, ScaleState
from ros_matching.scale.scale_estimator import ScaleReport


class TrackingStatus(enum.Enum):
    """The state of the tracker; only TRACKING comes with a pose by images, and BRIDGED with one by the IMU."""

    INITIALIZING = "initializing"  # waiting for two views with enough parallax
    TRACKING = "tracking"
    LOST = "lost"  # relocalising in the maps
    BRIDGED = "bridged"  # as LOST, with a pose that the IMU continues for a moment


@dataclass(frozen=True)
class TrackingCounts:
    """Numbers of features, matches and map elements of a frame's result."""

    keypoints: int = 0  # in this image
    matches: int = 0  # with the reference keyframe
    inliers: int = 0  # matches that agree with the pose
    landmarks: int = 0  # in the local map
    keyframes: int = 0  # in the local map
    maps: int = 0  # started so far; after a loss a new one may differ in scale


@dataclass(frozen=True)
class TrackingResult:
    """The outcome of ``VisualOdometry.track(frame)``.

    ``world_from_camera`` (4, 4) with ``covariance`` (6, 6), and ``previous_from_current`` (4, 4), the pose of this
    camera in the previous frame's camera, with ``relative_covariance`` (6, 6), are ``None`` if unknown. The world is
    the camera frame of the first image. ``scale`` is the state of its unit of length, with the relative standard
    deviation ``scale_sigma`` (infinite if unknown). The covariances are in that unit and exclude it. ``scale_reason``
    is why the scale is not METRIC, empty without a scale source. If ``scale_change`` is not 1, all lengths of the map
    were multiplied by it about this camera after this frame: later results are in the new unit. ``calibration_doubt``
    is why the images contradict the calibration of the camera, empty if they do not.
    ``reference_points_px`` and ``tracked_points_px`` (M, 2) are the inlier matches with the reference keyframe, for
    visualisation.
    """

    frame_index: int
    stamp_ns: int
    status: TrackingStatus
    reason: str  # why the status is not TRACKING, or a remark on the pose; may be empty
    world_from_camera: np.ndarray | None = None
    covariance: np.ndarray | None = None
    previous_from_current: np.ndarray | None = None
    relative_covariance: np.ndarray | None = None
    scale: ScaleState = ScaleState.UP_TO_SCALE
    scale_source: str = ""
    scale_sigma: float = float("inf")
    scale_reason: str = ""
    scale_change: float = 1.0
    calibration_doubt: str = ""
    counts: TrackingCounts = field(default_factory=TrackingCounts)
    parallax_deg: float = float("nan")
    stage_ms: dict[str, float] = field(default_factory=dict)
    mapping_ms: dict[str, float] = field(default_factory=dict)  # of the update of a threaded back end in this frame
    map_id: int = 0  # of the map of the pose: poses of one map are consistent, between two the motion is a guess
    rotation_only: bool = False  # pure rotation since the reference: the position is not observable
    new_keyframes: tuple[Keyframe, ...] = ()  # in the order of their ids; the first two of a map together
    reference_points_px: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    tracked_points_px: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))

    def with_scale(self, report: ScaleReport, change: float = 1.0) -> TrackingResult:
        """Return the result with the state of the scale, and the factor on all lengths after it."""
        return replace(
            self,
            scale=report.state,
            scale_source=report.source,
            scale_sigma=report.std,
            scale_reason=report.reason,
            scale_change=change,
            new_keyframes=tuple(replace(keyframe, scale=report.state) for keyframe in self.new_keyframes),
        )

    def with_scale_uncertainty(self, unknown_variance: float) -> TrackingResult:
        """Return the result with covariances in metres, which include the uncertainty ``scale_sigma`` of lengths.

        If the scale is unknown (infinite ``scale_sigma``), ``unknown_variance`` is added in all directions, also for a
        translation of zero; with 0 the covariances remain in map units.
        """

        def widened(covariance: np.ndarray | None, pose: np.ndarray | None) -> np.ndarray | None:
            if covariance is None:
                return None
            return covariance_in_metres(covariance, pose[:3, 3], self.scale_sigma, unknown_variance)

        return replace(
            self,
            covariance=widened(self.covariance, self.world_from_camera),
            relative_covariance=widened(self.relative_covariance, self.previous_from_current),
        )


def covariance_in_metres(
    covariance: np.ndarray, translation: np.ndarray, scale_std: float, unknown_variance: float
) -> np.ndarray:
    """Return the covariance (6, 6) of a transform with the relative standard deviation ``scale_std`` of its length.

    An infinite ``scale_std`` adds ``unknown_variance`` in all directions.
    """
    covariance = covariance.copy()
    lengths = (
        np.outer(translation, translation) * scale_std**2 if math.isfinite(scale_std) else unknown_variance * np.eye(3)
    )
    covariance[:3, :3] += lengths
    return covariance
