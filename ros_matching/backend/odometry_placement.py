"""Placement of the odometry in the map that is kept: ``map_from_odom`` of each of its maps."""

from __future__ import annotations

import numpy as np

from ros_matching.atlas.known_place import KnownStart
from ros_matching.backend.slam_update import SlamUpdate
from ros_matching.geometry.se3 import invert, orthonormalized
from ros_matching.geometry.sim3 import invert_similarity, rigid_part


class OdometryPlacement:
    """The similarity ``map_from_odom`` of each map of the odometry, and whether it is known.

    ``numbers`` are those of odometry maps in the map that is kept, ``first_number`` above those of an earlier run.
    ``starts_in_map``: the map was made before, so the place of the odometry is not known at first. ``placed`` are the
    odometry maps whose place is known, ``guessed`` those that a single image has placed, in an unknown unit.
    """

    def __init__(
        self, first_number: int = 0, *, starts_in_map: bool = False, world_from_camera: np.ndarray | None = None
    ) -> None:
        self.starts_in_map = starts_in_map
        self.placed: frozenset[int] = frozenset()
        self.number = 0  # of the odometry's active map
        self._first_number = first_number
        self._guessed: frozenset[int] = frozenset()
        self._maps: dict[int, np.ndarray] = {}
        self._last_pose = np.eye(4) if world_from_camera is None else world_from_camera
        self._has_pose = False

    @property
    def map_from_odom(self) -> np.ndarray | None:
        """The similarity (4, 4) of the map from the odometry's world; ``None`` before the first pose."""
        return self._maps.get(self.number)

    @property
    def is_placed(self) -> bool:
        """True if the place of the active map of the odometry is known."""
        return self.number in self.placed

    @property
    def is_any_placed(self) -> bool:
        """True if the place of a map of this odometry, perhaps an earlier one, is known."""
        return not self.placed.isdisjoint(self._maps)

    @property
    def last_pose(self) -> np.ndarray:
        """The last pose (4, 4) of the camera in the odometry's world; before the first one, where it starts."""
        return self._last_pose

    def follow(self, map_id: int, start: KnownStart | None) -> bool:
        """Follow the odometry into its map ``map_id``; returns True if it has continued there at a known place.

        Another new map starts at the place that the odometry guesses.
        """
        number = map_id + self._first_number
        is_new = number not in self._maps
        enters = is_new and start is not None and start.number == map_id
        if enters:
            self._maps[number] = invert_similarity(start.world_from_map)
            self.placed |= {number}
        elif is_new:
            self._maps[number] = self._maps.get(self.number, np.eye(4))
            if not self.starts_in_map and not self.placed:
                self.placed = frozenset({number})
        self.number = number
        return enters

    def rescale(self, factor: float, center: np.ndarray) -> None:
        """Follow a change of the odometry's unit: all lengths were multiplied by a factor, about a centre (3,)."""
        before_from_after = np.eye(4)
        before_from_after[:3, :3] /= factor
        before_from_after[:3, 3] = center - center / factor
        self._maps[self.number] = self.map_from_odom @ before_from_after

    def apply(self, update: SlamUpdate) -> None:
        """Apply the corrections of the back end."""
        for number, new_from_old in update.corrections.items():
            if number in self._maps:
                self._maps[number] = new_from_old @ self._maps[number]

    def guess(self, number: int, world_from_camera: np.ndarray, map_from_camera: np.ndarray) -> None:
        """Place an odometry map by the poses (4, 4) of one image in both, unless its place is known."""
        if number in self.placed:
            return
        similarity = self._maps[number]
        moved = map_from_camera @ invert(rigid_part(similarity @ world_from_camera))
        self._maps[number] = moved @ similarity
        self._guessed = self._guessed | {number}

    def rigid(self, world_from_camera: np.ndarray | None) -> np.ndarray | None:
        """Return map_from_odom as a rigid transform (4, 4), exact at the last pose; ``None`` if it is unknown.

        ``world_from_camera`` is the pose of this frame, ``None`` without one.
        """
        if world_from_camera is not None:
            self._last_pose, self._has_pose = world_from_camera, True
        if self.map_from_odom is None or not self._has_pose:
            return None
        if self.starts_in_map and not self.placed and self.number not in self._guessed:
            return None
        return orthonormalized(rigid_part(self.map_from_odom @ self._last_pose) @ invert(self._last_pose))
