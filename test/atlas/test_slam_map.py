"""The map that SLAM keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import Edge, EdgeKind, StoredKeyframe
from ros_matching.datatypes import Camera
from ros_matching.errors import DataTypeError
from ros_matching.geometry.se3 import exp_so3, pose_from, transform
from ros_matching.geometry.sim3 import invert_similarity, rigid_part

CAMERA = Camera(width=640, height=480, fx=500, fy=500, cx=320, cy=240)
COVARIANCE = 1e-4 * np.eye(7)


def pose(number: float) -> np.ndarray:
    return pose_from(exp_so3(np.array([0.0, 0.1 * number, 0.0])), np.array([number, 0.0, 0.0]))


def keyframe(id: int, landmarks: list[int], scale: float = 1.0) -> StoredKeyframe:
    count = len(landmarks)
    return StoredKeyframe(
        id=id,
        stamp_ns=id,
        map_from_camera=pose(id),
        scale=scale,
        keypoints_px=np.zeros((count, 2), np.float32),
        descriptors=np.zeros((count, 128), np.float16),
        landmark_ids=np.array(landmarks, np.int64),
        weights=np.ones(count, np.float32),
        jpeg=b"",
        place_descriptor=np.zeros(0, np.float32),
        map_number=1,
    )


def edge(slam_map: SlamMap, first: int, second: int) -> Edge:
    """The edge without error."""
    similarity = invert_similarity(slam_map.keyframe(first).map_from_local) @ slam_map.keyframe(second).map_from_local
    return Edge(EdgeKind.ODOMETRY, first, second, similarity, COVARIANCE)


@pytest.fixture
def chain() -> SlamMap:
    """Five keyframes in a chain; keyframe i observes landmarks 10 i to 10 i + 29, anchored where first observed."""
    slam_map = SlamMap(CAMERA, "points", "hash")
    for id in range(5):
        ids = np.arange(10 * id, 10 * id + 30)
        new = ids[~slam_map.landmarks.known(ids)]
        slam_map.landmarks.put(new, np.column_stack([new, 0 * new, 1 + 0 * new]).astype(float), id)
        slam_map.put_keyframe(keyframe(id, ids.tolist()))
        slam_map.count_covisibility(id, range(id))
    for id in range(4):
        slam_map.put_edge(edge(slam_map, id, id + 1))
    return slam_map


def test_covisibility_counts_shared_landmarks(chain):
    assert chain.covisible(2) == [(1, 20), (3, 20), (0, 10), (4, 10)]
    assert chain.covisible(0, 1) == [(1, 20)]
    assert (0, 1, 20) in chain.covisibility()


def test_landmarks_follow_their_anchor_when_a_keyframe_is_corrected(chain):
    before = chain.keyframe(4).map_from_local
    anchored = chain.landmarks.ids[chain.landmarks.anchors == 4]
    local = transform(invert_similarity(before), chain.landmarks.positions_of(anchored))
    others = chain.landmarks.ids[chain.landmarks.anchors != 4]
    kept = chain.landmarks.positions_of(others)
    chain.correct({4: (pose(7), 1.5)})
    moved = transform(invert_similarity(chain.keyframe(4).map_from_local), chain.landmarks.positions_of(anchored))
    np.testing.assert_allclose(moved, local, atol=1e-9)
    np.testing.assert_array_equal(chain.landmarks.positions_of(others), kept)


def test_a_culled_keyframe_follows_the_one_that_is_kept(chain):
    before = chain.pose_of(2)[0]
    assert chain.cull(2)
    assert 2 not in chain
    np.testing.assert_allclose(chain.pose_of(2)[0], before, atol=1e-9)
    assert len(chain.components()) == 1
    parent = chain.culled[2].parent
    chain.cull(parent)
    np.testing.assert_allclose(chain.pose_of(2)[0], before, atol=1e-9)
    # What is left follows a correction of the whole map
    shift = pose_from(exp_so3(np.array([0.1, 0.2, 0.3])), np.array([1.0, 2.0, 3.0]))
    chain.transform(2.0 * shift @ np.diag([1, 1, 1, 0.5]))
    expected = 2.0 * shift @ np.diag([1, 1, 1, 0.5]) @ before
    np.testing.assert_allclose(chain.pose_of(2)[0], rigid_part(expected), atol=1e-9)


def test_a_keyframe_is_redundant_if_three_others_observe_its_landmarks(chain):
    for id in (30, 31, 32):
        assert not any(chain.is_redundant(other) for other in range(5))
        chain.put_keyframe(keyframe(id, list(range(20, 50))))
        chain.count_covisibility(id, range(5))
    assert chain.is_redundant(2)
    assert not chain.is_redundant(0)


def test_neighbours_in_time_do_not_make_a_keyframe_redundant(chain):
    for id in (10, 11, 12):
        chain.put_keyframe(keyframe(id, list(range(20, 50))))
        chain.count_covisibility(id, range(5))
    assert not chain.is_redundant(2)
    assert chain.is_redundant(2, apart=5)


def test_landmarks_without_observers_are_removed_with_a_keyframe(chain):
    chain.cull(0)
    assert not chain.landmarks.known(np.arange(10)).any()
    assert chain.landmarks.known(np.arange(10, 70)).all()
    # Landmarks of the removed anchor follow a keyframe that observes them
    assert set(chain.landmarks.anchors.tolist()) == {1, 2, 3, 4}


def test_merged_landmarks_are_observed_once(chain):
    chain.merge_landmarks(np.array([45, 11]), np.array([5, 12]), [0, 1])
    ids = chain.keyframe(0).landmark_ids
    assert ids[5] == 45
    assert ids[11] == 11
    assert ids[12] == NO_LANDMARK
    assert chain.landmarks.observers[chain.landmarks.rows(np.array([45]))][0] == 4
    assert chain.landmarks.observers[chain.landmarks.rows(np.array([5]))][0] == 0


def test_components_are_separated_by_missing_edges(chain):
    chain.landmarks.put(np.array([1000]), np.zeros((1, 3)), 9)
    chain.put_keyframe(keyframe(9, [1000]))
    assert chain.components() == [[0, 1, 2, 3, 4], [9]]


def test_a_snapshot_is_independent(chain):
    copy = chain.snapshot()
    chain.correct({0: (pose(9), 2.0)})
    chain.cull(1)
    np.testing.assert_array_equal(copy.keyframe(0).map_from_camera, pose(0))
    assert 1 in copy
    assert len(copy.landmarks) == 70


def test_a_keyframe_needs_its_landmarks_in_the_map(chain):
    with pytest.raises(DataTypeError, match="landmarks"):
        chain.put_keyframe(keyframe(7, [12345]))


def test_a_keyframe_of_1000_keypoints_has_at_most_300_kilobytes():
    base = keyframe(0, list(range(1000)))
    assert replace(base, jpeg=bytes(18_000), place_descriptor=np.zeros(512, np.float32)).nbytes < 300_000
