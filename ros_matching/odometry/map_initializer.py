"""Map initialisation from two views, after pure rotation or after a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import NO_LANDMARK, MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.atlas.map_update import UNKNOWN_TURN_DEG, MapAdjuster
from ros_matching.datatypes import Features, Frame
from ros_matching.geometry.se3 import invert, transform
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.odometry.pure_rotation import RotationOnlyPose, RotationTracker, small_motion_from
from ros_matching.odometry.two_view_initializer import (
    InitializationPending,
    InitialReconstruction,
    TwoViewInitializer,
)
from ros_matching.stages import StageTimer


@dataclass(frozen=True, eq=False)
class InitialPose:
    """Pose (4, 4) of the first camera of a map, with the covariance (7, 7) ``drift``, and the typical depth there.

    ``turn_deg`` is the largest error of its rotation after a loss.
    """

    world_from_camera: np.ndarray
    depth: float
    drift: np.ndarray
    turn_deg: float = UNKNOWN_TURN_DEG


@dataclass(frozen=True, eq=False)
class InitialMap:
    """A new map from two ``views``, of which ``keyframe`` is the newer.

    ``drift`` (7, 7) is the covariance of the older one; ``continues`` if poses before the map are in its world.
    ``turn_deg`` is the largest error of its rotation after a loss.
    """

    local_map: LocalMap
    keyframe: MapKeyframe
    views: InitialReconstruction
    drift: np.ndarray
    continues: bool
    turn_deg: float = UNKNOWN_TURN_DEG


class MapInitializer:
    """Tries to start a map with each image; until then estimates the pose of a camera that only rotates."""

    def __init__(
        self, matcher: MatchingPipeline, adjuster: MapAdjuster, config: TrackingConfig, stages: StageTimer
    ) -> None:
        self._config = config
        self._adjuster = adjuster
        self._initializer = TwoViewInitializer(matcher, config, stages)
        self._rotation = RotationTracker()

    def reset(self) -> None:
        """Start a new world with the next image."""
        self._initializer.reset()
        self._rotation.reset()

    def reset_reference(self) -> None:
        """Take the next image as the first view."""
        self._initializer.reset()

    @property
    def has_poses(self) -> bool:
        """True if there are poses by pure rotation, which a first map continues."""
        return self._rotation.has_poses

    def add(
        self,
        frame: Frame,
        features: Features,
        after_loss: Callable[[Frame], InitialPose | None],
        first_keyframe_id: int,
    ) -> InitialMap | InitializationPending:
        """Try this frame as the second view of a map; ``after_loss`` returns the pose of the first view after a loss.

        It returns ``None`` for the first map.
        """
        views = self._initializer.add(frame, features)
        if isinstance(views, InitializationPending):
            return views
        # The unit of poses before the map is the typical depth of the scene, not of the landmarks
        lost = after_loss(views.frame0)
        start = lost or InitialPose(self._rotation.world_from_reference, views.landmark_depth, self._rotation.drift)
        local_map = LocalMap(views.frame1.camera, self._config.max_keyframes, first_keyframe_id)
        keyframe = self._fill(local_map, views, start)
        if keyframe is None:
            rotation = small_motion_from(views.geometry)
            return InitializationPending(
                "too few landmarks remain after the adjustment of the initial map",
                len(views.matches),
                rotation=rotation,
            )
        self._initializer.reset()
        continues = lost is None and self.has_poses
        return InitialMap(local_map, keyframe, views, start.drift, continues, start.turn_deg)

    def _fill(self, local_map: LocalMap, views: InitialReconstruction, start: InitialPose) -> MapKeyframe | None:
        """Add two views to an empty map; returns the second, ``None`` if too few landmarks remain."""
        geometry = views.geometry
        first_from_world = invert(start.world_from_camera)
        keyframe0, keyframe1 = (
            local_map.add_keyframe(frame, features, pose, np.full(len(features), NO_LANDMARK))
            for frame, features, pose in (
                (views.frame0, views.features0, first_from_world),
                (views.frame1, views.features1, geometry.camera1_from_camera0 @ first_from_world),
            )
        )
        positions = transform(start.world_from_camera, geometry.points[views.points])
        local_map.add_landmarks(positions, keyframe0, keyframe1, views.matches.select(views.points))
        self._adjuster.adjust(local_map, keyframe1)
        if len(local_map) < self._config.init_min_points:
            return None
        local_map.scale_to_depth(start.depth)
        return keyframe1

    def pose_by_rotation(self, pending: InitializationPending) -> RotationOnlyPose | None:
        """Return the pose of the last image, before the first map, if the camera only rotated."""
        return self._rotation.track(pending.rotation, becomes_reference=pending.new_reference)
