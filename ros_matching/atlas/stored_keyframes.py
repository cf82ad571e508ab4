"""Keyframes and constraints of a map that is kept: immutable, in host memory, without their images."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np

from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.datatypes.arrays import check_pose, check_shape
from ros_matching.geometry.se3 import invert
from ros_matching.geometry.sim3 import rigid_part, scale_of, similarity_from


@dataclass(frozen=True, eq=False)
class StoredKeyframe:
    """A keyframe in a ``SlamMap``.

    ``map_from_camera`` (4, 4) is its pose, in the unit of the map. ``scale`` is the length in the map of one unit of
    its odometry map, to which the measurements of its edges refer. ``keypoints_px`` (K, 2) float32 and ``descriptors``
    (K, D), float16 or uint8, are its features, ``landmark_ids`` (K,) int64 the landmark that each keypoint observes
    (``NO_LANDMARK`` for none), and ``weights`` (K,) float32 the relative inverse variances of these observations.
    ``jpeg`` is a reduced image, empty if not kept. ``place_descriptor`` (P,) float32 has unit length; P is 0 until it
    is computed. ``measured_scale`` is the ``scale`` that a scale source measured, with the relative standard deviation
    ``scale_std``, infinite without a measurement. ``map_number`` is that of its odometry map: edges between different
    ones are loops, or begin where the odometry continued at a known place or merged two maps. ``down`` (3,) is the
    direction of gravity in the camera as an IMU measured it, with the standard deviation ``down_std`` of its two angles
    in radians: zeros and infinite without a measurement.
    """

    id: int
    stamp_ns: int
    map_from_camera: np.ndarray
    scale: float
    keypoints_px: np.ndarray
    descriptors: np.ndarray
    landmark_ids: np.ndarray
    weights: np.ndarray
    jpeg: bytes
    place_descriptor: np.ndarray
    map_number: int
    measured_scale: float = 1.0
    scale_std: float = float("inf")
    down: np.ndarray = field(default_factory=lambda: np.zeros(3))
    down_std: float = float("inf")

    def __post_init__(self) -> None:
        check_pose("StoredKeyframe.map_from_camera", self.map_from_camera)
        count = len(self.keypoints_px)
        check_shape("StoredKeyframe.keypoints_px", self.keypoints_px, (count, 2))
        check_shape("StoredKeyframe.descriptors", self.descriptors, (count, self.descriptors.shape[-1]))
        check_shape("StoredKeyframe.landmark_ids", self.landmark_ids, (count,))
        check_shape("StoredKeyframe.weights", self.weights, (count,))
        check_shape("StoredKeyframe.down", self.down, (3,))

    @property
    def camera_from_map(self) -> np.ndarray:
        """The inverse of the pose, (4, 4)."""
        return invert(self.map_from_camera)

    @property
    def center(self) -> np.ndarray:
        """The camera centre (3,) in the map."""
        return self.map_from_camera[:3, 3]

    @property
    def map_from_local(self) -> np.ndarray:
        """The similarity (4, 4) of the map from camera coordinates in the unit of the odometry map."""
        return similarity_from(self.map_from_camera, self.scale)

    @property
    def observed(self) -> np.ndarray:
        """Ids of the observed landmarks."""
        return self.landmark_ids[self.landmark_ids != NO_LANDMARK]

    @property
    def nbytes(self) -> int:
        """Memory of the arrays and the image."""
        arrays = self.keypoints_px, self.descriptors, self.landmark_ids, self.weights, self.place_descriptor
        return sum(array.nbytes for array in arrays) + self.map_from_camera.nbytes + len(self.jpeg)


class EdgeKind(enum.Enum):
    """Origin of a constraint between two keyframes."""

    ODOMETRY = "odometry"  # consecutive keyframes of one odometry map
    COVISIBILITY = "covisibility"  # other keyframes that were in the local map together
    LOOP = "loop"  # a recognised place


@dataclass(frozen=True, eq=False)
class Edge:
    """A measured constraint between keyframes ``first`` and ``second``, by id.

    ``first_from_second`` (4, 4) is the similarity between their camera coordinates, each in the unit of the odometry
    map of its keyframe: 1 is the scale of an error-free measurement within one odometry map. ``covariance`` (7, 7) is
    over ``(dt, dr, ds)`` of ``geometry.sim3``.
    """

    kind: EdgeKind
    first: int
    second: int
    first_from_second: np.ndarray
    covariance: np.ndarray

    def __post_init__(self) -> None:
        check_shape("Edge.first_from_second", self.first_from_second, (4, 4))
        check_pose("Edge.first_from_second, its rigid part,", rigid_part(self.first_from_second))
        check_shape("Edge.covariance", self.covariance, (7, 7))

    @property
    def scale(self) -> float:
        """Length in the unit of ``first`` of one unit of ``second``."""
        return float(scale_of(self.first_from_second))


@dataclass(frozen=True, eq=False)
class CulledKeyframe:
    """A keyframe removed as redundant: its pose ``parent_from_camera`` (4, 4) relative to one that was kept.

    The translation is in the unit of the parent's odometry map; ``scale`` is the length in that unit of one unit of the
    culled keyframe.
    """

    parent: int
    parent_from_camera: np.ndarray
    scale: float
