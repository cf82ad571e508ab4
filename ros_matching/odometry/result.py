"""The result of the tracker for one frame."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field, replace

import numpy as np

from ros_matching.datatypes import Keyframe, ScaleState
from ros_matching.scale.scale_estimator import ScaleReport


class TrackingStatus(enum.Enum):
    """The state of the tracker; only TRACKING comes with a pose."""

    INITIALIZING = "initializing"  # waiting for two views with enough parallax
    TRACKING = "tracking"
    LOST = "lost"  # trying to recover against recent keyframes


@dataclass(frozen=True)
class TrackingCounts:
    """How many of what a frame's result rests on."""

    keypoints: int = 0  # in this image
    matches: int = 0  # with the reference keyframe
    inliers: int = 0  # that agree with the pose
    landmarks: int = 0  # in the local map
    keyframes: int = 0  # in the local map
    maps: int = 0  # begun so far; after a loss a new one may differ in scale


@dataclass(frozen=True)
class TrackingResult:
    """The outcome of ``VisualOdometry.track(frame)``.

    ``world_from_camera`` (4, 4) with ``covariance`` (6, 6), and ``previous_from_current`` (4, 4), the pose of this
    camera in the previous frame's camera, with ``relative_covariance`` (6, 6), are ``None`` unless known. The world is
    the first image's camera frame; its unit is told by ``scale``, with the relative uncertainty ``scale_sigma``
    (infinite when unknown), which the covariances leave out, being in that unit; ``scale_reason`` says why it is not
    METRIC though an anchor was asked for. A ``scale_change`` other than 1 tells that after this frame all lengths of
    the map were multiplied by it about this camera, which stays where it is: the results that follow are in the new
    unit. ``reference_points_px`` and ``tracked_points_px`` (M, 2) are the inlying correspondences with the reference
    keyframe, for drawing.
    """

    frame_index: int
    stamp_ns: int
    status: TrackingStatus
    reason: str  # why the status is not TRACKING, or what to know about a pose; empty when there is nothing to say
    world_from_camera: np.ndarray | None = None
    covariance: np.ndarray | None = None
    previous_from_current: np.ndarray | None = None
    relative_covariance: np.ndarray | None = None
    scale: ScaleState = ScaleState.UP_TO_SCALE
    scale_source: str = ""
    scale_sigma: float = float("inf")
    scale_reason: str = ""
    scale_change: float = 1.0
    counts: TrackingCounts = field(default_factory=TrackingCounts)
    parallax_deg: float = float("nan")
    stage_ms: dict[str, float] = field(default_factory=dict)
    mapping_ms: dict[str, float] = field(default_factory=dict)  # of a back end in a thread, whose update came in
    map_id: int = 0  # of the map that the pose is in: poses of one fit together, between two the motion is a guess
    rotation_only: bool = False  # the camera was seen to turn only: its position is that of before, and so uncertain
    new_keyframes: tuple[Keyframe, ...] = ()  # in the order of their ids: both views that a map begins with, else one
    reference_points_px: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    tracked_points_px: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))

    def with_scale(self, report: ScaleReport, change: float = 1.0) -> TrackingResult:
        """The result with the scale of its lengths, and the factor by which they change after it."""
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
        """The same with covariances that hold for metres: what ``scale_sigma`` adds to the lengths is in them.

        Of a unit that is unknown (infinite ``scale_sigma``) no length says anything in metres: ``unknown_variance`` is
        added in all directions, also where a translation is zero. With 0 they stay covariances in that unit.
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
    covariance: np.ndarray, translation: np.ndarray, sigma: float, unknown_variance: float
) -> np.ndarray:
    """The covariance (6, 6) of a transform with what the unit's relative uncertainty ``sigma`` adds along its length.

    An infinite ``sigma`` adds ``unknown_variance`` in all directions.
    """
    covariance = covariance.copy()
    lengths = np.outer(translation, translation) * sigma**2 if math.isfinite(sigma) else unknown_variance * np.eye(3)
    covariance[:3, :3] += lengths
    return covariance
