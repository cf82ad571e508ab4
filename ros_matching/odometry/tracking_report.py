"""Results of frames: what the tracker reports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ros_matching.atlas.atlas import Atlas
from ros_matching.atlas.keyframes import Localization
from ros_matching.datatypes import Features, Frame, ScaleState
from ros_matching.inertial.bridging import BridgedPose
from ros_matching.odometry.camera_motion import CameraPose
from ros_matching.odometry.failure_reason import unusable_image
from ros_matching.odometry.map_initializer import InitialMap
from ros_matching.odometry.pure_rotation import RotationOnlyPose
from ros_matching.odometry.result import TrackingCounts, TrackingResult, TrackingStatus
from ros_matching.odometry.two_view_initializer import InitializationPending


class TrackingReporter:
    """Makes the results of frames in the active map of an atlas."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas

    def tracked(
        self, frame: Frame, features: Features, localization: Localization, pose: CameraPose, reason: str
    ) -> TrackingResult:
        """Result of a frame that was localised in the map."""
        return replace(
            self._with_pose(frame, pose),
            reason=reason,
            counts=self._counts(features, len(localization.matches), localization.inliers),
            rotation_only=localization.rotation_only,
            reference_points_px=localization.matches.points0,
            tracked_points_px=localization.matches.points1,
        )

    def started(self, initial: InitialMap, pose: CameraPose, scale: ScaleState) -> TrackingResult:
        """Result of the second view of a new map; ``scale`` is the state of its unit of length."""
        keyframe, views = initial.keyframe, initial.views
        geometry, matches = views.geometry, views.matches
        reason = ""
        if self._atlas.number > 1:
            reason = f"started map {self._atlas.number} after a loss: {_known_of(initial, scale)}"
        return replace(
            self._with_pose(keyframe.frame, pose),
            reason=reason,
            counts=self._counts(views.features1, len(matches), len(keyframe.observed)),
            parallax_deg=float(np.nanmedian(geometry.parallax_deg)),
            reference_points_px=matches.points0[geometry.inliers],
            tracked_points_px=matches.points1[geometry.inliers],
        )

    def initializing(
        self, frame: Frame, features: Features, pending: InitializationPending, *, few_matches: bool
    ) -> TrackingResult:
        """Result of a frame that cannot start a map; with ``few_matches`` the image itself may be unusable."""
        fault = unusable_image(frame, features) if few_matches else ""
        return TrackingResult(
            frame.index,
            frame.stamp_ns,
            TrackingStatus.INITIALIZING,
            fault or pending.reason,
            counts=self._counts(features, pending.matches),
            parallax_deg=pending.parallax_deg,
        )

    def rotated(self, result: TrackingResult, rotated: RotationOnlyPose) -> TrackingResult:
        """Add the pose of a pure rotation to the result of a frame before the first map."""
        previous_from_current, relative_covariance = rotated.motion or (None, None)
        return replace(
            result,
            status=TrackingStatus.TRACKING,
            world_from_camera=rotated.world_from_camera,
            covariance=rotated.covariance,
            previous_from_current=previous_from_current,
            relative_covariance=relative_covariance,
            counts=replace(result.counts, inliers=rotated.inliers, maps=self._atlas.maps_started),
            map_id=self._atlas.maps_started,
            rotation_only=rotated.rotation_only,
        )

    def lost(self, frame: Frame, features: Features, reason: str, bridged: BridgedPose | None) -> TrackingResult:
        """Result of a frame without a pose by images; ``bridged`` is that by the IMU."""
        result = TrackingResult(frame.index, frame.stamp_ns, TrackingStatus.LOST, reason, counts=self._counts(features))
        if bridged is None:
            return result
        return replace(
            result,
            status=TrackingStatus.BRIDGED,
            reason=f"continued by the IMU for {bridged.seconds:.2f} s: {reason}",
            world_from_camera=bridged.world_from_camera,
            covariance=bridged.covariance,
            map_id=self._atlas.number,
        )

    def _with_pose(self, frame: Frame, pose: CameraPose) -> TrackingResult:
        return TrackingResult(
            frame.index,
            frame.stamp_ns,
            TrackingStatus.TRACKING,
            "",
            map_id=self._atlas.number,
            world_from_camera=pose.world_from_camera,
            covariance=pose.covariance,
            previous_from_current=pose.previous_from_current,
            relative_covariance=pose.relative_covariance,
        )

    def _counts(self, features: Features, matches: int = 0, inliers: int = 0) -> TrackingCounts:
        active = self._atlas.active
        return TrackingCounts(
            keypoints=len(features),
            matches=matches,
            inliers=inliers,
            landmarks=0 if active is None else len(active),
            keyframes=0 if active is None else len(active.keyframes),
            maps=self._atlas.maps_started,
        )


def _known_of(initial: InitialMap, scale: ScaleState) -> str:
    """Return what is known of a new map after a loss."""
    if initial.carried is None:
        return "its pose and its scale are guesses"
    if scale is ScaleState.UP_TO_SCALE:
        return "its pose is by the IMU, its scale is a guess"
    return "its pose and its scale are by the IMU"
