"""Insertion of keyframes into the active map."""

from __future__ import annotations

import numpy as np

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import Localization
from ros_matching.atlas.map_update import NewKeyframe
from ros_matching.datatypes import Features, Frame
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.odometry.active_map import ActiveMap
from ros_matching.odometry.keyframe_policy import needs_keyframe
from ros_matching.odometry.map_exchange import MapExchange
from ros_matching.stages import StageTimer


class KeyframeInserter:
    """Inserts localised frames as keyframes, submits them to the back end, and keeps the reference keyframe."""

    def __init__(
        self,
        matcher: MatchingPipeline,
        active: ActiveMap,
        exchange: MapExchange,
        config: TrackingConfig,
        stages: StageTimer,
    ) -> None:
        self._matcher = matcher
        self._active = active
        self._exchange = exchange
        self._config = config
        self._stages = stages

    def needs_keyframe(self, localization: Localization, features: Features) -> bool:
        """Return True if a frame should become a keyframe, and the one before has its landmarks.

        Else the next frame may: keyframes that follow each other without landmarks of their own lose accuracy. A frame
        with few landmarks has waited for them.
        """
        if self._exchange.awaits_adjustment:
            return False
        local_map = self._active.local_map
        return needs_keyframe(local_map, localization, self._config, lambda: self._overlap(localization, features))

    def insert(self, frame: Frame, features: Features, localization: Localization) -> int:
        """Add a keyframe, the new reference, to the map and submit it to the back end; returns its id."""
        keyframe = self._active.local_map.add_keyframe(
            frame,
            features.with_keypoints(localization.points_px),
            localization.camera_from_world,
            localization.landmark_ids.copy(),
            localization.weights.copy(),
        )
        self._exchange.submit(NewKeyframe(keyframe.id, {localization.reference.id: localization.matches}))
        self._active.refer_to(keyframe.id)
        return keyframe.id

    def choose_reference(self, localization: Localization) -> None:
        """Refer to the keyframe that shares most landmarks with a frame; the newer one of equals."""
        local_map = self._active.local_map
        shared = local_map.shared_counts(localization.observed)
        self._active.refer_to(local_map.keyframes[len(shared) - 1 - int(np.argmax(shared[::-1]))].id)

    def _overlap(self, localization: Localization, features: Features) -> float | None:
        """The visible fraction of the reference's image; ``None`` where the matcher cannot estimate it."""
        with self._stages("match"):
            overlaps = self._matcher.overlap_estimator.estimate(localization.reference.features, [features])
        return None if overlaps is None else float(overlaps[0])
