"""Search for the landmarks of covisible keyframes in keyframes of a map."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from loop_world import hall, ring
from point_world import CAMERA, PointWorld

from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import Edge, EdgeKind, StoredKeyframe
from ros_matching.backend.map_adjustment import MapAdjustment
from ros_matching.backend.neighbour_search import NeighbourLandmarks
from ros_matching.geometry.se3 import invert, transform

COUNT = 8
SPLIT = 10_000_000  # added to the id of a landmark that a later keyframe observes again


@pytest.fixture
def world() -> PointWorld:
    poses = ring(COUNT, turns=0.1)
    poses = invert(poses[0]) @ poses
    points = transform(invert(ring(COUNT, turns=0.1)[0]), hall(3000))
    return PointWorld(points, poses, noise_px=0.3, outliers=0.0)


def broken_map(world: PointWorld) -> SlamMap:
    """Keyframes at the true poses: a third of their keypoints has no landmark, and the second half new landmarks."""
    slam_map = SlamMap(CAMERA, "points", "points")
    rng = np.random.default_rng(0)
    for id, frame in enumerate(world.frames()):
        features = world.extract(frame.image)
        true = np.argmax(features.descriptors @ world._descriptors.T, axis=1)
        ids = true.astype(np.int64) + SPLIT * (id >= COUNT // 2)
        ids[rng.random(len(ids)) < 1 / 3] = NO_LANDMARK
        new = ids[(ids != NO_LANDMARK) & ~slam_map.landmarks.known(ids)]
        slam_map.landmarks.put(new, world.points[new % SPLIT], id)
        slam_map.put_keyframe(
            StoredKeyframe(
                id, id, world.poses[id], 1.0, features.keypoints_px.astype(np.float32),
                features.descriptors.astype(np.float16), ids, np.ones(len(ids), np.float32), b"",
                np.zeros(0, np.float32), 1,
            )
        )  # fmt: skip
        slam_map.count_covisibility(id, slam_map.ids)
        if id:
            measured = invert(world.poses[id - 1]) @ world.poses[id]
            slam_map.put_edge(Edge(EdgeKind.ODOMETRY, id - 1, id, measured, 1e-4 * np.eye(7)))
    return slam_map


def observed_points(slam_map: SlamMap, world: PointWorld, id: int) -> tuple[np.ndarray, np.ndarray]:
    """Points that a keyframe should observe and does, by landmark and by keypoint."""
    keyframe = slam_map.keyframe(id)
    rows = np.flatnonzero(keyframe.landmark_ids != NO_LANDMARK)
    true = np.argmax(keyframe.descriptors[rows].astype(np.float64) @ world._descriptors.T, axis=1)
    return keyframe.landmark_ids[rows] % SPLIT, true


def test_keyframes_observe_the_landmarks_of_their_neighbours(world):
    slam_map = broken_map(world)
    before = len(slam_map.keyframe(1).observed)
    found = NeighbourLandmarks.find(slam_map, world, 1)
    assert len(slam_map.keyframe(1).observed) == before  # the map is not changed by the search
    found.apply(slam_map)
    landmarks, points = observed_points(slam_map, world, 1)
    assert len(landmarks) > 1.2 * before
    np.testing.assert_array_equal(landmarks, points)
    counts = {id: int(np.isin(slam_map.keyframe(id).observed, slam_map.keyframe(1).observed).sum()) for id in (0, 2)}
    assert dict(slam_map.covisible(1)).items() >= counts.items()


def test_landmarks_of_the_same_point_are_fused(world):
    slam_map = broken_map(world)
    # One keyframe that connects both halves
    bridge = slam_map.keyframe(COUNT // 2)
    ids = bridge.landmark_ids.copy()
    rows = np.flatnonzero(slam_map.landmarks.known(ids % SPLIT) & (ids != NO_LANDMARK))[:40]
    ids[rows] %= SPLIT
    slam_map.put_keyframe(replace(bridge, landmark_ids=ids))
    slam_map.count_covisibility(bridge.id, slam_map.ids)
    before = len(slam_map.landmarks)
    for id in slam_map.ids:
        NeighbourLandmarks.find(slam_map, world, id).apply(slam_map)
    assert len(slam_map.landmarks) < 0.85 * before
    for id in slam_map.ids:
        landmarks, points = observed_points(slam_map, world, id)
        np.testing.assert_array_equal(landmarks, points)
        assert len(np.unique(slam_map.keyframe(id).observed)) == len(slam_map.keyframe(id).observed)
    observers = np.zeros(len(slam_map.landmarks), int)
    for keyframe in slam_map.keyframes:
        observers[slam_map.landmarks.rows(keyframe.observed)] += 1
    np.testing.assert_array_equal(slam_map.landmarks.observers, observers)


def test_two_landmarks_of_one_keyframe_are_not_fused(world):
    slam_map = broken_map(world)
    first, second = slam_map.keyframe(0), slam_map.keyframe(1)
    landmark = next(id for id in first.observed.tolist() if id in second.observed)
    row = int(np.flatnonzero(second.landmark_ids == landmark)[0])
    # The second keyframe observes the point as another landmark, which the first one sees elsewhere
    other = landmark + SPLIT
    slam_map.landmarks.put(np.array([other]), world.points[[landmark]], 0)
    ids = second.landmark_ids.copy()
    ids[row] = other
    slam_map.put_keyframe(replace(second, landmark_ids=ids))
    ids = first.landmark_ids.copy()
    ids[np.flatnonzero(ids == NO_LANDMARK)[0]] = other
    slam_map.put_keyframe(replace(first, landmark_ids=ids))
    found = NeighbourLandmarks.find(slam_map, world, 1)
    assert other not in found.replaced
    assert landmark not in found.kept


def test_the_map_is_searched_and_adjusted_in_slices(world):
    slam_map, fused = broken_map(world), []
    adjustment = MapAdjustment(world, 100, threading.RLock(), lambda kept, replaced: fused.append((kept, replaced)))
    assert not adjustment.is_due
    adjustment.restart(slam_map.ids)
    before, finished = len(slam_map.keyframe(1).observed), []
    for _ in range(60):
        if not adjustment.is_due:
            break
        finished.append(adjustment.step(slam_map))
    assert not adjustment.is_due
    assert sum(result is not None for result in finished) == 2
    assert finished[0] is None
    assert len(slam_map.keyframe(1).observed) > 1.2 * before
    # More keyframes than may be adjusted
    adjustment = MapAdjustment(world, COUNT - 1, threading.RLock(), lambda *_: None)
    adjustment.restart(slam_map.ids)
    assert adjustment.step(slam_map) is None
    assert not adjustment.is_due
