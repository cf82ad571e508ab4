"""Localisation of a frame in the active map while the camera is tracked."""

from __future__ import annotations

from dataclasses import dataclass

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import Localization
from ros_matching.datatypes import Features, Frame
from ros_matching.odometry.active_map import ActiveMap
from ros_matching.odometry.camera_motion import CameraMotion
from ros_matching.odometry.localization import LocalizationQuery, Localizer
from ros_matching.odometry.map_exchange import MapExchange
from ros_matching.odometry.motion_model import Prediction, is_jump
from ros_matching.odometry.relocalization import Relocalizer


@dataclass(frozen=True, eq=False)
class FrameLocalization:
    """A localised frame; ``is_relocalized`` if the motion since the last pose is unknown."""

    localization: Localization
    is_relocalized: bool = False


class FrameLocalizer:
    """Localises frames near the prediction of the motion model, else without a prediction."""

    def __init__(
        self,
        active: ActiveMap,
        motion: CameraMotion,
        exchange: MapExchange,
        localizer: Localizer,
        relocalizer: Relocalizer,
        config: TrackingConfig,
    ) -> None:
        self._active = active
        self._motion = motion
        self._exchange = exchange
        self._localizer = localizer
        self._relocalizer = relocalizer
        self._config = config

    def localize(self, frame: Frame, features: Features) -> FrameLocalization | None:
        """Localise a frame after one with a pose; ``None`` if the camera is lost."""
        found, prediction = self._by_prediction(frame, features)
        while self._depends_on_update(found):
            # Wait for new landmarks before track or scale are lost
            self._exchange.update(wait=True)
            found, prediction = self._by_prediction(frame, features)
        if found is not None:
            return FrameLocalization(found)
        found = self.relocalize(frame, features)
        # A jump from the prediction means that the motion since the last pose is unknown
        return None if found is None else FrameLocalization(found, not self.is_plausible(found, prediction))

    def is_weak(self, found: Localization) -> bool:
        """Return True if so few landmarks determine a pose that the next one depends on new ones.

        Chains of poses by few landmarks lose the scale. With more landmarks a keyframe can be mapped later.
        """
        return found.inliers < max(self._config.keyframe_inliers, self._config.min_inliers)

    def _depends_on_update(self, found: Localization | None) -> bool:
        """Return True if a frame is not localised, or by few landmarks, while more of them are on the way."""
        if found is None:
            return not self._exchange.is_idle
        return self.is_weak(found) and self._exchange.awaits_adjustment

    def relocalize(self, frame: Frame, features: Features) -> Localization | None:
        """Localise a frame without a prediction; with an IMU not against its rotation since the last pose."""
        found = self._relocalizer.relocalize(self._active.local_map, features)
        if found is None or not self._motion.agrees(found.camera_from_world, frame.stamp_ns):
            return None
        return found

    def is_plausible(self, found: Localization | None, prediction: Prediction) -> bool:
        """Return True if a frame is localised near a prediction."""
        depth = self._active.local_map.typical_depth
        return found is not None and not is_jump(prediction, found.camera_from_world, depth)

    def _by_prediction(self, frame: Frame, features: Features) -> tuple[Localization | None, Prediction]:
        """Localise near the prediction of the motion model; returns the pose or ``None``, and the prediction."""
        prediction, is_measured = self._motion.predict(frame.stamp_ns)
        query = LocalizationQuery(
            self._active.local_map,
            features,
            self._active.reference,
            prediction.camera_from_world,
            self._config.min_inliers,
            is_rotation_measured=is_measured,
        )
        found = self._localizer.localize(query)
        return found if self.is_plausible(found, prediction) else None, prediction
