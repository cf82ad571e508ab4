"""A map with all that a map may contain, and the comparison of two maps."""

from __future__ import annotations

import numpy as np

from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import Edge, EdgeKind, StoredKeyframe
from ros_matching.datatypes import Camera, ScaleState
from ros_matching.geometry.se3 import exp_so3, pose_from
from ros_matching.geometry.sim3 import invert_similarity

MAP_CAMERA = Camera(width=640, height=480, fx=500, fy=505, cx=320, cy=240)


def made_map(
    keyframes: int = 140, keypoints: int = 30, seed: int = 0, camera: Camera = MAP_CAMERA, extractor: str = "points"
) -> SlamMap:
    """A ring of keyframes with random features; every tenth is culled, and one loop is closed."""
    rng = np.random.default_rng(seed)
    slam_map = SlamMap(camera, extractor, "hash", ScaleState.METRIC)
    slam_map.down, slam_map.down_std = np.array([0.0, 0.6, 0.8]), 0.002
    for id in range(keyframes):
        landmarks = 10 * id + np.arange(keypoints)
        new = landmarks[~slam_map.landmarks.known(landmarks)]
        slam_map.landmarks.put(new, rng.normal(0, 1, (len(new), 3)), id)
        landmarks[rng.integers(0, keypoints, 3)] = -1
        slam_map.put_keyframe(
            StoredKeyframe(
                id=id,
                stamp_ns=10**18 + id,
                map_from_camera=pose_from(exp_so3(rng.normal(0, 1, 3)), rng.normal(0, 10, 3)),
                scale=float(rng.uniform(0.5, 2)),
                keypoints_px=rng.uniform(0, 480, (keypoints, 2)).astype(np.float32),
                descriptors=rng.normal(0, 1, (keypoints, 16)).astype(np.float16),
                landmark_ids=landmarks,
                weights=rng.uniform(0.5, 2, keypoints).astype(np.float32),
                jpeg=rng.bytes(int(rng.integers(0, 50))),
                place_descriptor=rng.normal(0, 1, 8).astype(np.float32) if id % 3 else np.zeros(0, np.float32),
                map_number=id // 70,
                measured_scale=float(rng.uniform(0.5, 2)),
                scale_std=0.1 if id % 2 else float("inf"),
                down=np.array([0.0, 1.0, 0.0]) if id % 2 else np.zeros(3),
                down_std=0.01 if id % 2 else float("inf"),
            )
        )
        slam_map.count_covisibility(id, range(max(id - 4, 0), id))
    for first, second, kind in [
        *((id, id + 1, EdgeKind.ODOMETRY) for id in range(keyframes - 1)),
        (0, keyframes - 1, EdgeKind.LOOP),
    ]:
        one, other = slam_map.keyframe(first), slam_map.keyframe(second)
        covariance = np.diag(rng.uniform(0.1, 1, 7))
        slam_map.put_edge(
            Edge(kind, first, second, invert_similarity(one.map_from_local) @ other.map_from_local, covariance)
        )
    for id in range(5, keyframes - 1, 10):
        slam_map.cull(id)
    return slam_map


def assert_same(first: SlamMap, second: SlamMap) -> None:
    assert (first.camera, first.extractor, first.fingerprint, first.unit) == (
        second.camera,
        second.extractor,
        second.fingerprint,
        second.unit,
    )
    assert first.ids == second.ids
    np.testing.assert_array_equal(first.down, second.down)
    assert first.down_std == second.down_std
    for one, other in zip(first.keyframes, second.keyframes, strict=True):
        for name in ("stamp_ns", "scale", "measured_scale", "scale_std", "down_std", "jpeg", "map_number"):
            assert getattr(one, name) == getattr(other, name)
        for name in (
            "map_from_camera",
            "down",
            "keypoints_px",
            "descriptors",
            "landmark_ids",
            "weights",
            "place_descriptor",
        ):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype
    for name in ("ids", "positions", "anchors", "observers"):
        np.testing.assert_array_equal(getattr(first.landmarks, name), getattr(second.landmarks, name))
    assert first.covisibility() == second.covisibility()
    assert len(first.edges) == len(second.edges)
    for one, other in zip(first.edges, second.edges, strict=True):
        assert (one.kind, one.first, one.second) == (other.kind, other.first, other.second)
        np.testing.assert_array_equal(one.first_from_second, other.first_from_second)
        np.testing.assert_array_equal(one.covariance, other.covariance)
    assert first.culled.keys() == second.culled.keys()
    for id in first.culled:
        np.testing.assert_array_equal(first.pose_of(id)[0], second.pose_of(id)[0])
        assert first.pose_of(id)[1] == second.pose_of(id)[1]
