"""A wavy wall before which a camera walks, with exact depth, and an estimator that knows it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ros_matching.datatypes import Camera, DepthMap, Frame, Keyframe, ScaleState
from ros_matching.geometry.se3 import exp_so3, pose_from
from ros_matching.networks.pbs_mvsnet.estimator import DepthPyramid, feature_camera

CAMERA = Camera(160, 120, 140.0, 140.0, 79.5, 59.5)
WALL = 4.0


def wall_depth(camera: Camera, world_from_camera: np.ndarray) -> np.ndarray:
    """The depth (h, w) of the plane z = 4 of the world."""
    v, u = np.mgrid[: camera.height, : camera.width]
    rays = camera.unproject(np.column_stack([u.ravel(), v.ravel()])) @ world_from_camera[:3, :3].T
    return ((WALL - world_from_camera[2, 3]) / rays[:, 2]).reshape(u.shape)


def pose(x: float, y: float = 0.0, z: float = 0.0, turn: float = 0.0) -> np.ndarray:
    return pose_from(exp_so3(np.array([0.0, turn, 0.0])), np.array([x, y, z]))


def view(number: int, world_from_camera: np.ndarray, points: int = 100, seed: int = 0) -> Keyframe:
    """A keyframe of the wall, with its number as grey level and exact sparse points."""
    depth = wall_depth(CAMERA, world_from_camera)
    rng = np.random.default_rng((seed, number))
    u, v = rng.integers(0, CAMERA.width, points), rng.integers(0, CAMERA.height, points)
    image = np.full((CAMERA.height, CAMERA.width, 3), number % 256, np.uint8)
    frame = Frame(number, number + 1, image, CAMERA, depth=depth.astype(np.float32))
    pixels = np.column_stack([u, v]).astype(np.float64)
    return Keyframe(number, frame, world_from_camera, pixels, depth[v, u], ScaleState.METRIC)


def walk(count: int, step: float = 0.2) -> list[Keyframe]:
    """Keyframes along the wall, a little up and down."""
    return [view(number, pose(step * number, 0.1 * (number % 2))) for number in range(count)]


class KnownDepth:
    """The exact depth, times ``factor`` of the keyframe's id; ``calls`` records the arguments."""

    def __init__(self, factor=lambda id: 1.0, confidence: float = 1.0) -> None:
        self._factor, self._confidence = factor, confidence
        self.calls: list[tuple[int, list[int], tuple[float, float]]] = []

    def estimate_pyramid(
        self, reference: Keyframe, sources: Sequence[Keyframe], depth_range: tuple[float, float]
    ) -> DepthPyramid:
        self.calls.append((reference.id, [source.id for source in sources], depth_range))
        camera = feature_camera(reference.frame.camera)
        depth = self._factor(reference.id) * wall_depth(camera, reference.world_from_camera)
        return DepthPyramid(
            (DepthMap(depth, np.full(depth.shape, self._confidence), camera),), reference.world_from_camera
        )
