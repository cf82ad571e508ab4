"""Two maps in one."""

from __future__ import annotations

import numpy as np
import pytest
from made_maps import assert_same, made_map

from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.map_storage import load_map, save_map
from ros_matching.atlas.map_union import united
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.datatypes import Camera, ScaleState
from ros_matching.errors import MapError


def test_both_maps_are_whole_and_apart(tmp_path):
    first, second = made_map(30), made_map(25, seed=1)
    both, added = united(first, second)
    assert len(both) == len(first) + len(second)
    assert set(both.ids) - added == set(first.ids)
    assert sorted(map(len, both.components())) == sorted([len(first), len(second)])
    assert len(both.landmarks) == len(first.landmarks) + len(second.landmarks)
    shift = min(added) - second.ids[0]
    for keyframe in second.keyframes:
        moved = both.keyframe(keyframe.id + shift)
        np.testing.assert_array_equal(moved.map_from_camera, keyframe.map_from_camera)
        np.testing.assert_array_equal(moved.landmark_ids == NO_LANDMARK, keyframe.landmark_ids == NO_LANDMARK)
        np.testing.assert_array_equal(
            both.landmarks.positions_of(moved.observed), second.landmarks.positions_of(keyframe.observed)
        )
        assert [(id - shift, n) for id, n in both.covisible(moved.id)] == second.covisible(keyframe.id)
    for keyframe in first.keyframes:
        assert both.keyframe(keyframe.id) is keyframe
        assert both.covisible(keyframe.id) == first.covisible(keyframe.id)
    assert set(both.culled) == set(first.culled) | {id + shift for id in second.culled}
    assert both.next_map_number > second.next_map_number
    assert_same(first, made_map(30))  # is as it was
    save_map(tmp_path / "map", both)
    assert_same(load_map(tmp_path / "map"), both)


def test_a_map_can_be_added_twice():
    slam_map = made_map(10)
    both, _ = united(slam_map, slam_map)
    thrice, added = united(both, slam_map)
    assert len(thrice) == 3 * len(slam_map)
    assert min(added) > max(both.ids)


def test_maps_that_do_not_fit_are_refused():
    first = made_map(3)
    with pytest.raises(MapError, match="another camera"):
        united(first, SlamMap(Camera(320, 240, 250, 250, 160, 120), "points", "hash"))
    with pytest.raises(MapError, match="other features: 'points'"):
        united(first, SlamMap(first.camera, "points", "other"))
    with pytest.raises(MapError, match="other units: metric and up_to_scale"):
        united(first, SlamMap(first.camera, "points", "hash", ScaleState.UP_TO_SCALE))
