"""Search for the place of a camera in the whole map, by single images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.atlas.known_place import KnownPlace, OfferedPlace
from ros_matching.backend.localization_back_end import LocalizationBackEnd
from ros_matching.backend.odometry_placement import OdometryPlacement
from ros_matching.backend.scheduler import Scheduler
from ros_matching.backend.slam_back_end import SlamBackEnd
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.backend.slam_update import SlamUpdate
from ros_matching.datatypes import Features, Frame
from ros_matching.geometry.se3 import invert
from ros_matching.geometry.sim3 import invert_similarity

_LOCALIZED_NS = 3 * 10**8  # after an image was localised in a thread, the next one
_LOST_NS = 5 * 10**8  # after a lost image was localised in the whole map, or not, the next one


@dataclass(frozen=True, eq=False)
class _SearchedImage:
    """The last image that was searched for: its odometry map, and its pose (4, 4) there, ``None`` without one."""

    stamp_ns: int
    number: int
    world_from_camera: np.ndarray | None


class PlaceSearch:
    """Has images localised while the place of the odometry in the map is unknown, or the camera is lost.

    With a place, the odometry can continue there. ``count`` keyframes around the place are offered to it.
    """

    def __init__(
        self,
        back_end: SlamBackEnd | LocalizationBackEnd,
        scheduler: Scheduler[SlamUpdate],
        placement: OdometryPlacement,
        config: SlamConfig,
        count: int,
    ) -> None:
        self._back_end = back_end
        self._scheduler = scheduler
        self._placement = placement
        self._config = config
        self._count = count
        self._searched: _SearchedImage | None = None
        self._localized: tuple[int, np.ndarray] | None = None  # stamp and map_from_camera of the last localised image

    def is_due(self, stamp_ns: int, *, is_lost: bool) -> bool:
        """Return True if the image with a stamp should be localised in the whole map."""
        if not self._placement.is_placed and self._placement.starts_in_map:
            return True
        if not is_lost or not self._config.close_loops or not self._back_end.keyframes:
            return False
        return self._searched is None or not 0 <= stamp_ns - self._searched.stamp_ns < _LOST_NS

    def submit(self, frame: Frame, features: Features | None, world_from_camera: np.ndarray | None) -> bool:
        """Have an image localised if the back end is idle; in a thread not at once after another.

        ``world_from_camera`` (4, 4) is its pose by the odometry, ``None`` without one. Returns True if
        it was submitted.
        """
        if features is None or not self._scheduler.is_idle:
            return False
        since = None if self._localized is None else frame.stamp_ns - self._localized[0]
        if since is not None and 0 <= since < _LOCALIZED_NS and not self._scheduler.runs_in_frame:
            return False
        self._searched = _SearchedImage(frame.stamp_ns, self._placement.number, world_from_camera)
        self._scheduler.submit(lambda _: self._back_end.localize_frame(frame, features, self._count))
        return True

    def offer(self, found: KnownPlace, *, is_tracking: bool, guesses: bool) -> OfferedPlace | None:
        """Return the place of the searched image for the odometry; ``None`` if that is placed and tracks.

        Until it continues there, an odometry with poses is placed by the image if ``guesses``; its unit is unknown.
        """
        searched, map_from_camera = self._searched, invert(found.camera_from_world)
        self._localized = searched.stamp_ns, map_from_camera
        if self._placement.is_placed and is_tracking:
            return None
        offered = OfferedPlace(found, self._odom_from_map(found), self._placement.last_pose)
        if guesses and searched.world_from_camera is not None:
            self._placement.guess(searched.number, searched.world_from_camera, map_from_camera)
        return offered

    def pose_at(self, stamp_ns: int) -> np.ndarray | None:
        """Return ``map_from_camera`` (4, 4) of the image with a stamp if it is the last one that was localised."""
        return None if self._localized is None or self._localized[0] != stamp_ns else self._localized[1]

    def _odom_from_map(self, found: KnownPlace) -> np.ndarray | None:
        """Return the similarity (4, 4) for an odometry that continues at a known place; ``None`` if it is undefined.

        An odometry that was placed before returns in its world. Else the image keeps its pose, if it has one, and the
        odometry takes the unit of the map.
        """
        if self._placement.is_any_placed:
            return invert_similarity(self._placement.map_from_odom)
        pose = self._searched.world_from_camera
        return None if pose is None else pose @ found.camera_from_world
