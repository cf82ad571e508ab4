"""A saved map is merged into another where both have seen the same place."""

from __future__ import annotations

import numpy as np
import pytest
from loop_world import SHORT_MEMORY, ate, hall, ring
from point_world import FRAME_NS, PointWorld

from ros_matching.atlas.slam_map import SlamMap
from ros_matching.backend.saved_map_merging import merge_saved_map
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.slam import Slam

pytest.importorskip("gtsam")


def mapped(world: PointWorld) -> SlamMap:
    slam = Slam(world, SHORT_MEMORY, SlamConfig(close_loops=False))
    for frame in world.frames():
        slam.track(frame)
    slam.finish()
    return slam.slam_map


WAY = ring(110, turns=0.6)  # the maps are of the first and of the last two thirds


@pytest.fixture(scope="module")
def first() -> PointWorld:
    return PointWorld(hall(), WAY[:70], noise_px=0.5)


@pytest.fixture(scope="module")
def map0(first) -> SlamMap:
    return mapped(first)


def test_maps_of_overlapping_ways_become_one(first, map0):
    second = PointWorld(hall(), WAY[40:], noise_px=0.5)
    map1 = mapped(second)
    both = merge_saved_map(map0, map1, first, SlamConfig())
    assert both is not None
    assert len(both) == len(map0) + len(map1)
    assert len(both.components()) == 1
    assert len(both.landmarks) < len(map0.landmarks) + len(map1.landmarks)  # fused
    true = [
        world.poses[round((keyframe.stamp_ns - 1_000_000_000) / FRAME_NS)][:3, 3]
        for world, ids in ((first, map0.ids), (second, both.ids[len(map0) :]))
        for keyframe in (both.keyframe(id) for id in ids)
    ]
    assert ate(np.array([keyframe.center for keyframe in both.keyframes]), np.array(true)) < 0.15


def test_maps_of_different_places_are_not_merged(first, map0):
    elsewhere = PointWorld(hall(seed=1), WAY[40:], noise_px=0.5)
    elsewhere._descriptors = np.random.default_rng(9).permutation(elsewhere._descriptors)
    before = len(map0)
    assert merge_saved_map(map0, mapped(elsewhere), first, SlamConfig()) is None
    assert len(map0) == before
