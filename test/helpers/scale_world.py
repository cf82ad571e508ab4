"""A small local map of known scale, for tests of the scale sources."""

from __future__ import annotations

import numpy as np
from point_world import CAMERA, PointWorld, cloud, walk

from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.local_map import LocalMap
from ros_matching.datatypes import Features, Frame, Matches
from ros_matching.geometry.se3 import invert, pose_from, transform
from ros_matching.scale.scale_measurement import LocalizedView

METRES = 2.5  # in one map unit


def frame_of(index: int, stamp_ns: int | None = None, **extra) -> Frame:
    stamp_ns = 1_000_000_000 * (index + 1) if stamp_ns is None else stamp_ns
    return Frame(index, stamp_ns, np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8), CAMERA, **extra)


def add_keyframe(local_map: LocalMap, points: np.ndarray, pose: np.ndarray, **extra):
    """Add a keyframe at a true pose (4, 4), in metres, that observes the points (P, 3), in metres, inside its image."""
    if not len(local_map):
        local_map.append_landmarks(points / METRES, np.zeros((len(points), 1)))
    camera_from_world = invert(pose_from(pose[:3, :3], pose[:3, 3] / METRES))
    ids, pixels = local_map.visible(camera_from_world)
    features = Features(pixels, np.ones(len(ids)), np.zeros((len(ids), 1)), "points")
    frame = frame_of(len(local_map.keyframes), **extra)
    return local_map.add_keyframe(frame, features, camera_from_world, ids.copy())


def walked_map(count: int = 4, speed: float = 0.4, points: np.ndarray | None = None) -> tuple[LocalMap, np.ndarray]:
    """A map with keyframes along a walk, and their true poses (N, 4, 4)."""
    points = cloud(1500) if points is None else points
    local_map, poses = LocalMap(CAMERA, 40), walk(count, speed)
    for pose in poses:
        add_keyframe(local_map, points, pose)
    local_map.remove_unsupported()
    return local_map, poses


def view_of(local_map: LocalMap, **extra) -> LocalizedView:
    """View of the newest keyframe; ``extra`` are further fields of its frame."""
    keyframe = local_map.keyframes[-1]
    frame = frame_of(keyframe.frame.index, **extra)
    return LocalizedView(frame, keyframe.features, keyframe.camera_from_world, keyframe.landmark_ids)


def true_points(local_map: LocalMap, view: LocalizedView) -> np.ndarray:
    """The landmarks of a view (N, 3) in its camera, in metres."""
    return METRES * transform(view.camera_from_world, local_map.positions_of(view.landmark_ids))


def depth_image(local_map: LocalMap, view: LocalizedView, noise: float = 0.01, seed: int = 0) -> np.ndarray:
    """Depth image in metres around the landmarks of a view, NaN elsewhere; nearer landmarks occlude farther ones."""
    rng = np.random.default_rng(seed)
    z = true_points(local_map, view)[:, 2] * (1 + noise * rng.normal(size=len(view.landmark_ids)))
    depth = np.full((CAMERA.height, CAMERA.width), np.nan, np.float32)
    for row in np.argsort(-z):
        u, v = np.round(view.features.keypoints_px[row]).astype(int)
        depth[max(v - 2, 0) : v + 3, max(u - 2, 0) : u + 3] = z[row]
    return depth


class RightCameraWorld(PointWorld):
    """Observes the landmarks of a view in the right camera, with ``right_from_camera`` (4, 4) in metres."""

    def __init__(self, local_map: LocalMap, view: LocalizedView, right_from_camera: np.ndarray, noise_px: float = 0.3):
        self.compose()
        self._pixels = CAMERA.project(transform(right_from_camera, true_points(local_map, view)))
        self._pixels = self._pixels + np.random.default_rng(0).normal(0, noise_px, self._pixels.shape)

    def extract(self, image: np.ndarray) -> Features:
        return Features(self._pixels, np.ones(len(self._pixels)), np.zeros((len(self._pixels), 1)), "points")

    def match_points(self, features0: Features, features1: Features) -> Matches:
        rows = np.flatnonzero(np.isfinite(features1.keypoints_px).all(axis=1))
        scores = np.ones(len(rows))
        return Matches(features0.keypoints_px[rows], features1.keypoints_px[rows], scores, rows, rows)


def without_landmarks(view: LocalizedView) -> LocalizedView:
    return LocalizedView(
        view.frame, view.features, view.camera_from_world, np.full(len(view.landmark_ids), NO_LANDMARK, np.intp)
    )
