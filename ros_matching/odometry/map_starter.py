"""Start of a map: from two views, or at a known place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ros_matching.atlas.atlas import Atlas
from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.known_place import KnownStart, OfferedPlace
from ros_matching.datatypes import Features, Frame
from ros_matching.geometry.se3 import invert
from ros_matching.geometry.sim3 import rigid_part
from ros_matching.odometry.active_map import ActiveMap
from ros_matching.odometry.camera_motion import CameraMotion
from ros_matching.odometry.frame_localization import FrameLocalization
from ros_matching.odometry.map_initializer import InitialMap, InitialPose, MapInitializer
from ros_matching.odometry.pure_rotation import RotationOnlyPose
from ros_matching.odometry.relocalization import Relocalizer
from ros_matching.odometry.two_view_initializer import InitializationPending
from ros_matching.uncertainty.pose_uncertainty import PoseUncertainty


class MapStarter:
    """Starts maps, and makes them the active one.

    ``known_start`` is the last start at a known place.
    """

    def __init__(
        self,
        atlas: Atlas,
        active: ActiveMap,
        motion: CameraMotion,
        uncertainty: PoseUncertainty,
        initializer: MapInitializer,
        relocalizer: Relocalizer,
        config: TrackingConfig,
    ) -> None:
        self._atlas = atlas
        self._active = active
        self._motion = motion
        self._uncertainty = uncertainty
        self._initializer = initializer
        self._relocalizer = relocalizer
        self._config = config
        self.reset()

    def reset(self, world_from_camera: np.ndarray | None = None) -> None:
        """Start a new world with the next image, at its origin or at a pose (4, 4)."""
        self._initializer.reset(world_from_camera)
        self._offered: OfferedPlace | None = None
        self.known_start: KnownStart | None = None

    def reset_reference(self) -> None:
        """Take the next image as the first of two views."""
        self._initializer.reset_reference()

    def offer(self, offered: OfferedPlace) -> None:
        """Start a map at a known place if the next frame is localised there."""
        self._offered = offered

    def at_offered_place(self, features: Features) -> FrameLocalization | None:
        """Start a map at the place that was offered if the image is localised there."""
        offered, self._offered = self._offered, None
        if offered is None:
            return None
        place, world_from_map = offered.place, offered.world_from_map
        local_map = place.local_map(self._config.max_keyframes, self._atlas.next_keyframe_id)
        found = self._relocalizer.relocalize(local_map, features)
        if found is None:
            return None
        if world_from_map is None:
            world_from_map = offered.world_from_camera @ found.camera_from_world
        local_map.transform(world_from_map)
        world_from_camera = rigid_part(world_from_map @ invert(found.camera_from_world))
        local_map.keyframes[-1].unit = 1.0  # its measurements are in the unit of the world
        self._active.start_at_place(local_map, place.scale_variance)
        self.known_start = KnownStart(place, self._atlas.number, world_from_map)
        self._initializer.reset()
        self._motion.interrupt()
        return FrameLocalization(replace(found, camera_from_world=invert(world_from_camera)), is_relocalized=True)

    @property
    def is_at_known_place(self) -> bool:
        """True if the active map began at a known place, and no frame has a pose in it yet."""
        start = self.known_start
        return start is not None and start.number == self._atlas.number and not self._motion.has_previous

    def from_views(self, frame: Frame, features: Features) -> InitialMap | InitializationPending:
        """Try to start a map with this frame as the second view."""
        outcome = self._initializer.add(frame, features, self._pose_after_loss, self._atlas.next_keyframe_id)
        if isinstance(outcome, InitialMap):
            self._active.start(outcome)
            self._motion.interrupt()
        return outcome

    def pose_by_rotation(self, pending: InitializationPending) -> RotationOnlyPose | None:
        """Return the pose of the last image, before the first map, if the camera only rotated since the first one."""
        continues = self._initializer.has_poses
        rotated = self._initializer.pose_by_rotation(pending)
        if rotated is not None:
            self._active.start_without_landmarks(continues=continues)
        return rotated

    def _pose_after_loss(self, first: Frame, second: Frame) -> InitialPose | None:
        """Return the pose of the first view of a new map after a loss; ``None`` for the first map."""
        if self._active.local_map is None:
            return None
        depth = self._active.local_map.typical_depth
        carried = self._motion.carried_start(first.stamp_ns, second.stamp_ns, depth)
        if carried is None:
            pose = self._motion.last_world_from_camera
            return InitialPose(pose, depth, self._uncertainty.drift_after_loss(pose[:3, 3], depth))
        pose = carried.pose.world_from_camera
        drift = self._uncertainty.drift_after_loss(pose[:3, 3], depth, carried.pose.covariance)
        return InitialPose(pose, depth, drift, carried.turn_deg, carried)
