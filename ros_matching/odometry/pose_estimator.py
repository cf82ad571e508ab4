"""Estimates of poses in the active map with their covariances, from what images and keyframes observe."""

from __future__ import annotations

import numpy as np

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import NO_LANDMARK, Localization, MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.atlas.map_update import MapAdjuster
from ros_matching.uncertainty.pose_estimate import PoseEstimate
from ros_matching.uncertainty.pose_uncertainty import PoseUncertainty


class PoseEstimator:
    """Applies ``uncertainty`` to localised images and mapped keyframes."""

    def __init__(self, config: TrackingConfig, uncertainty: PoseUncertainty, adjuster: MapAdjuster) -> None:
        self._config = config
        self._uncertainty = uncertainty
        self._adjuster = adjuster

    def start_map(self, local_map: LocalMap, keyframe: MapKeyframe, drift: np.ndarray) -> None:
        """Start with a new map, adjusted around a keyframe; ``drift`` (7, 7) is that of its first keyframe."""
        self._uncertainty.start_map(local_map.keyframes[0], drift)
        adjusted = self._adjuster.adjusted_window(local_map, keyframe)
        if adjusted is not None:
            self._uncertainty.update(local_map, adjusted)

    def of_image(self, local_map: LocalMap, localization: Localization) -> PoseEstimate:
        """Return the estimate of the pose of an image."""
        pose = localization.camera_from_world
        if localization.covariance is not None:
            return self._uncertainty.estimate_with_covariance(pose, localization.covariance)
        estimate = self._by_landmarks(
            local_map, pose, localization.landmark_ids, localization.points_px, localization.weights
        )
        return estimate if localization.rival is None else self._uncertainty.with_rival(estimate, localization.rival)

    def of_keyframe(
        self, local_map: LocalMap, keyframe: MapKeyframe, before: Localization | None = None
    ) -> PoseEstimate:
        """Return the estimate of a mapped keyframe; ``before`` is its localisation before the mapping."""
        pose, covariance = keyframe.camera_from_world, None if before is None else before.covariance
        if covariance is not None:
            return self._uncertainty.estimate_with_covariance(pose, covariance)
        points_px = keyframe.features.keypoints_px
        estimate = self._by_landmarks(local_map, pose, keyframe.landmark_ids, points_px, keyframe.weights)
        if before is None or before.rival is None:
            return estimate
        return self._uncertainty.with_rival(estimate, before.rival)

    def _by_landmarks(
        self,
        local_map: LocalMap,
        camera_from_world: np.ndarray,
        landmark_ids: np.ndarray,
        points_px: np.ndarray,
        weights: np.ndarray,
    ) -> PoseEstimate:
        """Return the estimate of a pose by the landmarks that its keypoints (K,) observe."""
        rows = np.flatnonzero(landmark_ids != NO_LANDMARK)
        threshold_px = self._config.threshold_px(local_map.camera)
        return self._uncertainty.estimate(
            local_map, camera_from_world, landmark_ids[rows], points_px[rows], threshold_px, weights[rows]
        )
