"""Map initialisation from two views, after pure rotation or after a loss."""

from __future__ import annotations

import math
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
from ros_matching.odometry.inertial_bridge import CarriedStart
from ros_matching.odometry.pure_rotation import RotationOnlyPose, RotationTracker, small_motion_from
from ros_matching.odometry.two_view_initializer import (
    InitializationPending,
    InitialReconstruction,
    TwoViewInitializer,
)
from ros_matching.stages import StageTimer

# Of a motion by an IMU, against the direction between two views: standard deviations, and as a fraction of the length
_ACROSS_STDS, _ACROSS_FRACTION = 3.0, 0.1
_MAX_SCALE_STD = 0.2  # relative, of a scale by that motion


@dataclass(frozen=True, eq=False)
class InitialPose:
    """Pose (4, 4) of the first camera of a map, with the covariance (7, 7) ``drift``, and the typical depth there.

    After a loss ``turn_deg`` is the largest error of its rotation, and ``carried`` what an IMU knows.
    """

    world_from_camera: np.ndarray
    depth: float
    drift: np.ndarray
    turn_deg: float = UNKNOWN_TURN_DEG
    carried: CarriedStart | None = None


@dataclass(frozen=True, eq=False)
class InitialMap:
    """A new map from two ``views``, of which ``keyframe`` is the newer.

    ``drift`` (7, 7) is the covariance of the older one; ``continues`` if poses before the map are in its world. After a
    loss ``turn_deg`` is the largest error of its rotation, and ``carried`` what an IMU knows. ``scale_std`` is the
    relative standard deviation of the scale by that, infinite if it does not determine it.
    """

    local_map: LocalMap
    keyframe: MapKeyframe
    views: InitialReconstruction
    drift: np.ndarray
    continues: bool
    turn_deg: float = UNKNOWN_TURN_DEG
    carried: CarriedStart | None = None
    scale_std: float = math.inf


class MapInitializer:
    """Tries to start a map with each image; until then estimates the pose of a camera that only rotates."""

    def __init__(
        self, matcher: MatchingPipeline, adjuster: MapAdjuster, config: TrackingConfig, stages: StageTimer
    ) -> None:
        self._config = config
        self._adjuster = adjuster
        self._initializer = TwoViewInitializer(matcher, config, stages)
        self._rotation = RotationTracker()

    def reset(self, world_from_camera: np.ndarray | None = None) -> None:
        """Start a new world with the next image, at its origin or at a pose (4, 4)."""
        self._initializer.reset()
        self._rotation.reset(world_from_camera)

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
        after_loss: Callable[[Frame, Frame], InitialPose | None],
        first_keyframe_id: int,
    ) -> InitialMap | InitializationPending:
        """Try this frame as the second view of a map; ``after_loss`` returns the pose of the first view after a loss.

        Its arguments are both views; it returns ``None`` for the first map.
        """
        views = self._initializer.add(frame, features)
        if isinstance(views, InitializationPending):
            return views
        # The unit of poses before the map is the typical depth of the scene, not of the landmarks
        lost = after_loss(views.frame0, views.frame1)
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
        scale_std = _scale_by_motion(local_map, start.carried)
        drift = start.drift.copy()
        if math.isfinite(scale_std):
            drift[6] = drift[:, 6] = 0.0  # stated as that of the scale
        return InitialMap(local_map, keyframe, views, drift, continues, start.turn_deg, start.carried, scale_std)

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


def _scale_by_motion(local_map: LocalMap, carried: CarriedStart | None) -> float:
    """Scale a map of two views by the motion between them; returns the relative standard deviation, or infinity.

    A motion that contradicts the direction between the views, or is too uncertain, leaves the map as it is.
    """
    if carried is None or carried.motion is None:
        return math.inf
    first, second = local_map.keyframes[0], local_map.keyframes[-1]
    baseline = second.center - first.center
    length = float(np.linalg.norm(baseline))
    if not length > 0:
        return math.inf
    direction, motion = baseline / length, carried.motion
    metres = float(direction @ motion.translation)
    variance = float(direction @ motion.covariance @ direction)
    # The direction between two views is itself uncertain, by a fraction of the length
    across = motion.translation - metres * direction
    allowed = _ACROSS_STDS**2 * (np.trace(motion.covariance) + (_ACROSS_FRACTION * metres) ** 2)
    if not metres > 0 or across @ across > allowed or variance > (_MAX_SCALE_STD * metres) ** 2:
        return math.inf
    local_map.rescale(metres / length, first.center)
    return math.sqrt(variance) / metres
