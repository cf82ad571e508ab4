"""Updates of the map: changes since the snapshot are kept."""

from __future__ import annotations

import numpy as np
import pytest
from scale_world import add_keyframe, walked_map

from ros_matching.atlas.atlas import Atlas
from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.local_map import LocalMap
from ros_matching.atlas.map_update import MapUpdate
from ros_matching.geometry.se3 import exp_so3, invert, pose_from, transform

SHIFT = pose_from(exp_so3(np.array([0.0, 0.1, 0.0])), np.array([0.3, 0.0, 0.1]))


def atlas_of(local_map: LocalMap) -> Atlas:
    atlas = Atlas()
    atlas.start_map(local_map, {}, np.inf, continues=False)
    return atlas


def update_of(atlas: Atlas, snapshot: LocalMap) -> MapUpdate:
    ids = frozenset(keyframe.id for keyframe in snapshot.keyframes)
    return MapUpdate(atlas.number, snapshot, ids, (max(ids),), None)


def landmarks_in(local_map: LocalMap, keyframe) -> np.ndarray:
    """The landmarks of a keyframe (N, 3) in its camera."""
    return transform(keyframe.camera_from_world, local_map.positions_of(keyframe.observed))


@pytest.fixture
def atlas() -> Atlas:
    return atlas_of(walked_map()[0])


def test_a_snapshot_and_its_map_are_independent(atlas):
    snapshot, positions = atlas.active.snapshot(), atlas.active.positions.copy()
    snapshot.move(SHIFT)
    snapshot.keyframes[0].landmark_ids[:] = NO_LANDMARK
    np.testing.assert_array_equal(atlas.active.positions, positions)
    assert len(atlas.active.keyframes[0].observed)
    before = snapshot.positions.copy()
    atlas.active.rescale(2.0, np.zeros(3))
    np.testing.assert_array_equal(snapshot.positions, before)


def test_a_keyframe_inserted_since_the_snapshot_moves_with_the_map():
    local_map, poses = walked_map()
    atlas, snapshot = atlas_of(local_map), local_map.snapshot()
    late = add_keyframe(local_map, np.zeros((0, 3)), poses[-1])
    expected = landmarks_in(local_map, late)
    snapshot.move(SHIFT)
    correction = atlas.apply(update_of(atlas, snapshot))
    moved = atlas.active.keyframe(late.id)
    np.testing.assert_array_equal(moved.observed, late.observed)
    np.testing.assert_allclose(landmarks_in(atlas.active, moved), expected, atol=1e-9)
    np.testing.assert_allclose(correction.applied_to(late.camera_from_world), moved.camera_from_world, atol=1e-12)
    np.testing.assert_allclose(invert(moved.camera_from_world), SHIFT @ invert(late.camera_from_world), atol=1e-9)
    assert atlas.next_keyframe_id == late.id + 1


def test_a_change_of_scale_since_the_snapshot_is_repeated_on_the_update(atlas):
    snapshot, depth = atlas.active.snapshot(), atlas.active.typical_depth
    center = atlas.active.keyframes[-1].center
    atlas.active.rescale(2.0, center)
    correction = atlas.apply(update_of(atlas, snapshot))
    assert atlas.active.typical_depth == pytest.approx(2 * depth)
    assert correction.since_snapshot == 2.0
    np.testing.assert_allclose(correction.old, correction.new, atol=1e-12)
    # The next update starts from here.
    assert atlas.apply(update_of(atlas, atlas.active.snapshot())).since_snapshot == 1.0


def test_a_later_keyframe_follows_landmarks_merged_or_removed_by_the_update():
    local_map, poses = walked_map()
    atlas, snapshot = atlas_of(local_map), local_map.snapshot()
    late = add_keyframe(local_map, np.zeros((0, 3)), poses[-1])
    kept, replaced, removed = late.observed[:3]
    snapshot.merge_landmarks(np.array([kept]), np.array([replaced]))
    for keyframe in snapshot.keyframes:
        keyframe.landmark_ids[keyframe.landmark_ids == removed] = NO_LANDMARK
    snapshot.remove_unsupported()
    atlas.apply(update_of(atlas, snapshot))
    observed = atlas.active.keyframe(late.id).landmark_ids
    assert np.count_nonzero(observed == kept) == 2  # as both keypoints did; the next adjustment keeps one
    assert not np.isin([replaced, removed], observed).any()
    assert atlas.active.known(observed[observed != NO_LANDMARK]).all()


def test_an_update_of_an_inactive_map_is_stored_there():
    local_map, _ = walked_map()
    atlas, snapshot = atlas_of(local_map), local_map.snapshot()
    update = update_of(atlas, snapshot)
    other, _ = walked_map()
    atlas.start_map(other, {}, np.inf, continues=False)
    assert atlas.apply(update) is None
    assert atlas.active is other
    assert atlas.next_inactive().local_map is snapshot
