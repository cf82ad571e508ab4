"""A known place: an image localised in a map that was kept, with what that map knows around it.

The tracker continues from it at once, in the unit of that map, without two views with parallax of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ros_matching.atlas.keyframes import MapKeyframe
from ros_matching.atlas.local_map import LocalMap
from ros_matching.datatypes import Features, Frame

if TYPE_CHECKING:
    from ros_matching.datatypes import Array


@dataclass(frozen=True, eq=False)
class KnownPlace:
    """An image with the pose ``camera_from_world`` (4, 4), localised by the keyframe ``place``.

    ``keyframes`` are that one and others around it, restored, by increasing id. All are in the frame of the map.
    ``ids`` (N,), increasing, ``positions`` (N, 3) and ``descriptors`` (N, D) are the landmarks that these observe;
    ``landmark_ids`` (K,) are those that the keypoints of the image observe. ``scale_variance`` is that of the unit of
    the map, as a relative error; infinite if it is not the metre.
    """

    place: int
    frame: Frame
    features: Features
    camera_from_world: np.ndarray
    landmark_ids: np.ndarray
    keyframes: tuple[MapKeyframe, ...]
    ids: np.ndarray
    positions: np.ndarray
    descriptors: Array
    scale_variance: float = float("inf")

    def local_map(self, max_keyframes: int, keyframe_id: int) -> LocalMap:
        """Return a local map of these keyframes, with the image as the newest one, of id ``keyframe_id``."""
        local_map = LocalMap.restored(
            self.frame.camera,
            max_keyframes,
            keyframe_id,
            [keyframe.copy() for keyframe in self.keyframes],
            (self.ids, self.positions, self.descriptors),
        )
        local_map.add_keyframe(self.frame, self.features, self.camera_from_world, self.landmark_ids.copy())
        local_map.remove_unsupported()
        return local_map


@dataclass(frozen=True, eq=False)
class OfferedPlace:
    """A known place where the odometry continues if the next image is localised there.

    ``world_from_map`` (4, 4) is a similarity. If it is ``None``, that image gets the pose ``world_from_camera`` (4, 4)
    and the map keeps its unit.
    """

    place: KnownPlace
    world_from_map: np.ndarray | None
    world_from_camera: np.ndarray


@dataclass(frozen=True, eq=False)
class KnownStart:
    """The start of map ``number`` of the odometry at a known place; ``world_from_map`` (4, 4) is a similarity."""

    place: KnownPlace
    number: int
    world_from_map: np.ndarray
