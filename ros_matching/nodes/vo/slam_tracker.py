"""SLAM as the tracker of ``VoPipeline``: the map stays when the odometry is reset."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from ros_matching.atlas.map_storage import require_same_camera
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.backend.slam_back_end import EventKind
from ros_matching.datatypes import Frame, Keyframe
from ros_matching.errors import MapError, NodeError
from ros_matching.odometry.result import TrackingResult, TrackingStatus
from ros_matching.slam import Slam, SlamResult, SlamStatus


class SlamTracker:
    """Tracks in the map that ``make`` was given. ``reset`` starts a new odometry, to be localised in the same map.

    ``snapshot`` may be called from any thread, the other methods by the pipeline's worker.
    """

    def __init__(self, make: Callable[[SlamMap | None], Slam], slam_map: SlamMap | None) -> None:
        self._make = make
        self._lock = threading.Lock()  # over the choice of the map
        self._slam = make(slam_map)
        self.earlier_map = slam_map if slam_map is not None and len(slam_map) else None
        self.last: SlamResult | None = None
        self.loops = 0
        self._pose: np.ndarray | None = None  # the last one, of the odometry

    def track(self, frame: Frame) -> TrackingResult:
        """Track the next frame; one of another camera than the map's is refused with the reason."""
        slam_map = self._slam.slam_map
        if slam_map is not None:
            try:
                require_same_camera(slam_map, frame.camera)
            except MapError as error:
                self.last = None
                return TrackingResult(frame.index, frame.stamp_ns, TrackingStatus.INITIALIZING, str(error))
        self.last = self._slam.track(frame)
        if self.last.tracking.world_from_camera is not None:
            self._pose = self.last.tracking.world_from_camera
        self.loops += sum(event.kind is EventKind.LOOP_CLOSED for event in self.last.events)
        return self.last.tracking

    def keyframe_poses(self) -> dict[int, np.ndarray]:
        """Return the current poses of recent keyframes in the odometry's world, by id."""
        return self._slam.keyframe_poses()

    @property
    def map_from_odom(self) -> np.ndarray | None:
        """The similarity (4, 4) of the map from the odometry's world; ``None`` if unknown."""
        return None if self.last is None or self.last.map_from_odom is None else self._slam.map_from_odom

    @property
    def is_localized(self) -> bool:
        """True if the camera's place in the map is known, and not a guess."""
        last = self.last
        return last is not None and last.keyframes > 0 and last.status is SlamStatus.TRACKING

    def suggest_pose(self, map_from_camera: np.ndarray) -> None:
        """Search for the camera near a pose (4, 4) first, while it is not localised."""
        self._slam.suggest_pose(map_from_camera)

    def snapshot(self) -> SlamMap:
        """Return a copy of the map. Raises ``NodeError`` while there is none."""
        with self._lock:
            slam_map = self._slam.snapshot()
        if slam_map is None or not len(slam_map):
            raise NodeError("there is no map yet: no keyframe has been stored")
        return slam_map

    def reset(self) -> None:
        """Start a new odometry in the same map."""
        self.replace_map(self._slam.snapshot())

    def replace_map(self, slam_map: SlamMap | None, *, continues: bool = False) -> None:
        """Start a new odometry in another map; ``None`` starts a new map.

        If it ``continues``, it begins at the last pose, as if the camera did not move in between.
        """
        with self._lock:
            self._slam.close()
            self._slam = self._make(slam_map)
            if continues and self._pose is not None:
                self._slam.start_at(self._pose)
            self.earlier_map = slam_map if slam_map is not None and len(slam_map) else None
        self.last, self.loops = None, 0

    def finish(self) -> tuple[Keyframe, ...]:
        """Wait for the keyframes that are being mapped and stored, and return them; the map is not adjusted again."""
        return self._slam.finish(adjust=False)

    def close(self) -> None:
        """End the threads."""
        self._slam.close()
