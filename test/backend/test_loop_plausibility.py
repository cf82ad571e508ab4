"""Loops that only look right: more than the drift of the odometry, or places with look-alikes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from loop_world import SHORT_MEMORY, equal_facades, hall, ring
from point_world import PointWorld

from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import Edge, EdgeKind
from ros_matching.backend.loop_plausibility import LoopJudge, typical_depth, view_difference
from ros_matching.backend.loop_verification import VerifiedPlace
from ros_matching.backend.map_localization import MapLocalizer
from ros_matching.backend.place_recognition import PlaceIndex
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.geometry.sim3 import retract_similarity
from ros_matching.slam import Slam


@pytest.fixture(scope="module")
def slam_map() -> SlamMap:
    """The map of a walk along a quarter of a circle, without loops."""
    world = PointWorld(hall(3000), ring(40, turns=0.25), noise_px=0.3)
    return mapped(world)


def mapped(world: PointWorld) -> SlamMap:
    slam = Slam(world, SHORT_MEMORY, slam_config=SlamConfig(close_loops=False))
    for frame in world.frames():
        slam.track(frame)
    slam.finish()
    return slam.slam_map


def place_displaced_by(slam_map: SlamMap, depths: float, keyframe: int = -1, place: int = 0) -> VerifiedPlace:
    """A verified place that moves its keyframe sideways by a number of typical depths."""
    there, here = slam_map.keyframe(slam_map.ids[place]), slam_map.keyframe(slam_map.ids[keyframe])
    shift = np.zeros(7)
    shift[0] = depths * typical_depth(slam_map, here.id)
    similarity = retract_similarity(there.camera_from_map @ here.map_from_camera, shift)
    nothing = np.zeros(0, np.int64)
    return VerifiedPlace(here.id, there.id, similarity, 1e-6 * np.eye(7), 100, 0.5, 0.5, nothing, nothing)


def test_the_way_is_the_shortest_through_the_graph(slam_map):
    judge = LoopJudge(lambda *_: [])
    first, last = slam_map.ids[0], slam_map.ids[-1]
    way = judge.ways(slam_map).between(first, last)
    poses = slam_map.keyframe(first).map_from_camera, slam_map.keyframe(last).map_from_camera
    direct = view_difference(*poses, typical_depth(slam_map, last))
    assert 0.7 * direct < way < 2 * direct  # typical depths differ a little
    assert judge.ways(slam_map).between(last, first) == pytest.approx(way)
    closed = slam_map.snapshot()
    closed.put_edge(Edge(EdgeKind.LOOP, first, last, np.eye(4), np.eye(7)))
    assert judge.ways(closed).between(first, last) < 1e-6
    lone = slam_map.snapshot()
    lone.put_keyframe(replace(lone.keyframe(last), id=1000))
    assert judge.ways(lone).between(first, 1000) is None


def test_more_than_the_drift_of_the_odometry_is_refused(slam_map):
    judge = LoopJudge(lambda *_: [])
    assert judge.refusal(slam_map, place_displaced_by(slam_map, 0.1)) == ""
    assert judge.refusal(slam_map, place_displaced_by(slam_map, 0.25)) == ""
    assert "does not drift by 2.0" in judge.refusal(slam_map, place_displaced_by(slam_map, 2.0))


def test_a_place_with_a_look_alike_nearby_is_refused(slam_map):
    found = place_displaced_by(slam_map, 0.25)
    twin = place_displaced_by(slam_map, 0.6, keyframe=1, place=0)  # next to each other: one cannot be the other
    judge = LoopJudge(lambda _, id, __: [twin] if id == found.place else [])
    assert "looks like" in judge.refusal(slam_map, found)


def test_a_look_alike_far_away_does_not_matter(slam_map):
    twin = place_displaced_by(slam_map, 3.0, keyframe=1, place=0)
    judge = LoopJudge(lambda *_: [twin])
    assert judge.refusal(slam_map, place_displaced_by(slam_map, 0.25)) == ""


def test_another_plausible_place_is_no_look_alike(slam_map):
    again = place_displaced_by(slam_map, 0.2, keyframe=-1, place=1)
    assert LoopJudge(lambda *_: [again]).refusal(slam_map, place_displaced_by(slam_map, 0.25)) == ""


def test_after_a_loss_any_look_alike_is_one_too_many(slam_map):
    """Between parts of the map nothing is known about the drift."""
    parts = slam_map.snapshot()
    lone = replace(parts.keyframe(parts.ids[-1]), id=1000, map_number=7)
    parts.put_keyframe(lone)
    found = place_displaced_by(parts, 0.25)
    assert found.keyframe == 1000
    twin = place_displaced_by(slam_map, 5.0, keyframe=1, place=0)
    assert LoopJudge(lambda *_: []).refusal(parts, found) == ""
    assert "looks like" in LoopJudge(lambda *_: [twin]).refusal(parts, found)
    elsewhere = place_displaced_by(parts, 3.0, place=1)
    assert "looks like" in LoopJudge(lambda _, id, __: [elsewhere] * (id == 1000)).refusal(parts, found)
    same = place_displaced_by(parts, 0.25, place=1)
    assert LoopJudge(lambda _, id, __: [same] * (id == 1000)).refusal(parts, found) == ""


def test_after_a_loss_most_of_what_should_be_visible_must_be_found(slam_map):
    parts = slam_map.snapshot()
    parts.put_keyframe(replace(parts.keyframe(parts.ids[-1]), id=1000, map_number=7))
    found = replace(place_displaced_by(parts, 0.25), support=0.1)
    assert "10 % of the landmarks" in LoopJudge(lambda *_: []).refusal(parts, found)
    connected = replace(place_displaced_by(slam_map, 0.25), support=0.1)
    assert LoopJudge(lambda *_: []).refusal(slam_map, connected) == ""


def test_a_look_alike_with_far_fewer_landmarks_does_not_matter(slam_map):
    twin = replace(place_displaced_by(slam_map, 0.6, keyframe=1, place=0), inliers=40)
    assert LoopJudge(lambda *_: [twin]).refusal(slam_map, place_displaced_by(slam_map, 0.25)) == ""


@pytest.mark.parametrize("equal", [True, False])
def test_an_image_of_one_of_two_equal_places_is_not_localised(equal):
    world = equal_facades()
    if not equal:
        count = len(world._descriptors)
        world._descriptors = np.random.default_rng(1).permuted(world._descriptors.reshape(count, -1), axis=1)
    slam_map = mapped(world)
    index = PlaceIndex()
    for keyframe in slam_map.keyframes:
        index.add(keyframe.id, world.place_describer.describe(keyframe.descriptors))
    frame = list(world.frames())[30]
    found = MapLocalizer(world, SlamConfig()).localize(slam_map, index, world.extract(frame.image))
    assert (found is None) == equal
