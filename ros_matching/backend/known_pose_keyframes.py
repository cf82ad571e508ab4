"""Keyframes of a camera whose poses are known: ``KnownPoseKeyframes(matcher).add(frame, pose)``.

Selects keyframes and triangulates their sparse points like ``VisualOdometry``, with given poses: from ground truth,
another odometry, or structure from motion.
"""

from __future__ import annotations

import numpy as np

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import NO_LANDMARK, MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.backend.local_mapping import LocalMapper
from ros_matching.datatypes import Frame, Keyframe, ScaleState
from ros_matching.geometry.checks import as_pose
from ros_matching.geometry.se3 import invert, rotation_angle_deg
from ros_matching.geometry.triangulation import parallax_deg, reprojection_errors_px, triangulate
from ros_matching.matching.masked_features import extract_features
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.stages import StageTimer


class KnownPoseKeyframes:
    """Makes keyframes of frames with known poses.

    A frame becomes one after a large rotation or parallax since the last one: the settings ``keyframe_rotation_deg``
    and ``keyframe_parallax_deg`` of the tracker. Each is delivered when the next one is added, with the points that
    both triangulate.
    """

    def __init__(
        self, matcher: MatchingPipeline, config: TrackingConfig | None = None, scale: ScaleState = ScaleState.METRIC
    ) -> None:
        self._matcher = matcher
        self._config = config or TrackingConfig()
        self._mapper = LocalMapper(matcher, self._config, StageTimer())
        self._scale = scale
        self._map: LocalMap | None = None

    def add(self, frame: Frame, world_from_camera: np.ndarray) -> Keyframe | None:
        """Process the next frame; if it becomes a keyframe, returns the keyframe before it."""
        camera_from_world = invert(as_pose("world_from_camera", world_from_camera))
        if self._map is None:
            self._map = LocalMap(frame.camera, self._config.max_keyframes)
        if self._map.keyframes and not self._is_far(frame, camera_from_world):
            return None
        features = extract_features(self._matcher, frame)
        nothing = np.full(len(features), NO_LANDMARK)
        keyframe = self._map.add_keyframe(frame, features, camera_from_world, nothing)
        if len(self._map.keyframes) < 2:
            return None
        self._mapper.extend(self._map, keyframe)
        self._map.remove_unsupported()
        return self._map.exported(self._map.keyframes[-2], self._scale)

    def finish(self) -> Keyframe | None:
        """Return the last keyframe, at the end of the sequence; ``None`` if there is none."""
        if self._map is None:
            return None
        return self._map.exported(self._map.keyframes[-1], self._scale)

    def current_keyframes(self) -> tuple[Keyframe, ...]:
        """Return the current state of the newest keyframes: it changes after they were delivered."""
        return () if self._map is None else tuple(self._map.exported(k, self._scale) for k in self._map.keyframes)

    def _is_far(self, frame: Frame, camera_from_world: np.ndarray) -> bool:
        """Return True if the camera has rotated or moved far since the last keyframe."""
        last = self._map.keyframes[-1]
        if rotation_angle_deg(camera_from_world @ invert(last.camera_from_world)) > self._config.keyframe_rotation_deg:
            return True
        observed = self._recently_observed()
        if observed is None:
            observed = self._triangulated(frame, camera_from_world)
        if not len(observed):
            return False
        center = invert(camera_from_world)[:3, 3]
        return float(np.median(parallax_deg(observed, last.center, center))) > self._config.keyframe_parallax_deg

    def _recently_observed(self) -> np.ndarray | None:
        """The landmarks (N, 3) of the newest keyframe that observes any."""
        newest: MapKeyframe | None = next((k for k in reversed(self._map.keyframes) if len(k.observed)), None)
        return None if newest is None else self._map.positions_of(newest.observed)

    def _triangulated(self, frame: Frame, camera_from_world: np.ndarray) -> np.ndarray:
        """Triangulate points (N, 3) from a frame and the last keyframe, before there are landmarks."""
        last, camera = self._map.keyframes[-1], self._map.camera
        features = extract_features(self._matcher, frame)
        matches = self._matcher.match(last.features, features, camera, camera)
        poses = last.camera_from_world, camera_from_world
        points = triangulate(camera, camera, *poses, matches.points0, matches.points1)
        error_px = reprojection_errors_px(points, matches.points1, camera, camera_from_world)
        return points[error_px < self._config.threshold_px(camera)]
