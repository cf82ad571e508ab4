"""A lost camera: its return to a map, and what is known of its frames until then."""

from __future__ import annotations

import numpy as np

from ros_matching.atlas.atlas import Atlas
from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import Localization
from ros_matching.datatypes import Features, Frame
from ros_matching.geometry.se3 import invert
from ros_matching.inertial.bridging import BridgedPose
from ros_matching.odometry.active_map import ActiveMap
from ros_matching.odometry.camera_motion import CameraMotion
from ros_matching.odometry.failure_reason import failure_reason
from ros_matching.odometry.frame_localization import FrameLocalization, FrameLocalizer
from ros_matching.odometry.localization import LocalizationQuery, Localizer
from ros_matching.odometry.motion_model import Prediction
from ros_matching.odometry.relocalization import Relocalizer

_TRIED_INACTIVE = 2  # keyframes of an inactive map that a lost frame is matched with
_BRIDGED_JUMP_DEG = 5.0  # a pose farther from the one that the IMU has continued is a jump


class LostCamera:
    """Localises the frames of a lost camera in the active map, or in an inactive one.

    ``frames`` counts the frames since the last pose by images; zero while the camera is tracked.
    """

    def __init__(
        self,
        atlas: Atlas,
        active: ActiveMap,
        motion: CameraMotion,
        frame_localizer: FrameLocalizer,
        localizer: Localizer,
        relocalizer: Relocalizer,
        config: TrackingConfig,
    ) -> None:
        self._atlas = atlas
        self._active = active
        self._motion = motion
        self._frame_localizer = frame_localizer
        self._localizer = localizer
        self._relocalizer = relocalizer
        self._config = config
        self.frames = 0

    def return_to_map(self, frame: Frame, features: Features) -> FrameLocalization | None:
        """Localise a frame near the pose by the IMU, in the whole active map, or in the next inactive map."""
        found = self._by_bridge(frame, features) or self._frame_localizer.relocalize(frame, features)
        found = found or self._return_to_inactive(frame, features)
        return None if found is None else FrameLocalization(found, is_relocalized=True)

    def add(self, frame: Frame, features: Features) -> str:
        """Count another frame without a pose; returns the likely reason and what to do."""
        self.frames += 1
        return (
            f"{failure_reason(frame, features, self._active.reference.frame)}; lost for {self.frames} frame(s): "
            "return to a mapped place, or move the camera sideways slowly to start a new map"
        )

    def bridged(self, stamp_ns: int) -> BridgedPose | None:
        """Return the pose at a stamp by the IMU since the last pose by images; ``None`` if it cannot be known."""
        return self._motion.bridged(stamp_ns, self._active.local_map.typical_depth)

    def _by_bridge(self, frame: Frame, features: Features) -> Localization | None:
        """Localise near the pose that the IMU has continued since the last image with a pose."""
        bridged, local_map = self.bridged(frame.stamp_ns), self._active.local_map
        if bridged is None:
            return None
        predicted = invert(bridged.world_from_camera)
        visible, _ = local_map.visible(predicted)
        if len(visible) < self._config.recovery_min_inliers:
            return None
        reference = local_map.keyframes[int(np.argmax(local_map.shared_counts(visible)))]
        query = LocalizationQuery(
            local_map, features, reference, predicted, self._config.recovery_min_inliers, is_rotation_measured=True
        )
        found = self._localizer.localize(query)
        jump_deg = _BRIDGED_JUMP_DEG + np.degrees(3 * np.sqrt(bridged.covariance[3:, 3:].diagonal().max()))
        return found if self._frame_localizer.is_plausible(found, Prediction(predicted, jump_deg)) else None

    def _return_to_inactive(self, frame: Frame, features: Features) -> Localization | None:
        """Continue in an inactive map if the image is localised there."""
        inactive = self._atlas.next_inactive()
        found = inactive and self._relocalizer.relocalize(inactive.local_map, features, tried=_TRIED_INACTIVE)
        if not found or not self._motion.agrees(found.camera_from_world, frame.stamp_ns, inactive.turn_deg):
            return None
        self._active.resume(inactive, found.reference)
        return found
