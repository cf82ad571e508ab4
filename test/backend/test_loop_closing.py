"""Loops: places that are recognised, and equal places that must not be."""

from __future__ import annotations

import numpy as np
import pytest
from loop_world import SHORT_MEMORY, equal_facades, hall, ring
from point_world import PointWorld

from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import EdgeKind
from ros_matching.backend.loop_closing import agree, loop_edge
from ros_matching.backend.loop_verification import PlaceVerifier, VerifiedPlace
from ros_matching.backend.map_correction import correct_by_loops
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.geometry.se3 import invert, rotation_angle_deg
from ros_matching.geometry.sim3 import retract_similarity, rigid_part, scale_of
from ros_matching.slam import Slam

pytest.importorskip("gtsam")


def test_equal_places_do_not_close_a_loop():
    world = equal_facades()
    slam = Slam(world, SHORT_MEMORY)
    for frame in world.frames():
        slam.track(frame)
    slam.finish()
    keyframes = slam.slam_map.keyframes
    first = keyframes[2]
    again = min(keyframes, key=lambda k: abs(np.linalg.norm(k.center - first.center) / _period(slam.slam_map) - 1))
    assert PlaceVerifier(world).verify(slam.slam_map, again.id, first.id) is not None  # they do look the same
    assert not any(edge.kind is EdgeKind.LOOP for edge in slam.slam_map.edges)


def _period(slam_map: SlamMap) -> float:
    """The period of the facades in the unit of the map: the camera passes two of them."""
    return float(np.linalg.norm(slam_map.keyframes[-1].center - slam_map.keyframes[0].center)) / 2


@pytest.fixture(scope="module")
def walked() -> tuple[PointWorld, SlamMap, dict[int, np.ndarray]]:
    """A short walk, its map without loops, and the true poses of the keyframes by id."""
    world = PointWorld(hall(3000), ring(40, turns=0.25), noise_px=0.3)
    slam = Slam(world, slam_config=SlamConfig(close_loops=False))
    stamps = {}
    for frame in world.frames():
        slam.track(frame)
        stamps[frame.stamp_ns] = frame.true_world_from_camera
    slam.finish()
    return world, slam.slam_map, {k.id: stamps[k.stamp_ns] for k in slam.slam_map.keyframes}


def test_the_similarity_of_two_keyframes_is_verified(walked):
    world, slam_map, true = walked
    first, second = slam_map.ids[0], slam_map.ids[4]
    found = PlaceVerifier(world).verify(slam_map, second, first)
    expected = invert(true[first]) @ true[second]
    assert scale_of(found.place_from_keyframe) == pytest.approx(1, abs=0.02)
    assert rotation_angle_deg(rigid_part(found.place_from_keyframe)[:3, :3].T @ expected[:3, :3]) < 0.5
    direction = found.place_from_keyframe[:3, 3] / np.linalg.norm(found.place_from_keyframe[:3, 3])
    assert direction @ expected[:3, 3] / np.linalg.norm(expected[:3, 3]) > 0.99
    assert found.inliers > 100
    assert 0 < found.coverage <= 1


def test_an_image_is_localised_by_the_landmarks_of_a_keyframe(walked):
    world, slam_map, true = walked
    place, frame = slam_map.ids[2], list(world.frames())[12]
    found = PlaceVerifier(world).localize(slam_map, world.extract(frame.image), place)
    relative = invert(true[place]) @ frame.true_world_from_camera
    pose = invert(slam_map.keyframe(place).map_from_camera) @ found.map_from_camera
    assert rotation_angle_deg(pose[:3, :3].T @ relative[:3, :3]) < 0.3
    assert found.inliers > 100


def test_different_places_are_refused(walked):
    world, slam_map, _ = walked
    assert PlaceVerifier(world).verify(slam_map, slam_map.ids[-1], slam_map.ids[0]) is None


def verified(slam_map: SlamMap, keyframe: int, place: int, delta: np.ndarray) -> VerifiedPlace:
    """A place with an error ``delta`` (7,) of the similarity."""
    there, here = slam_map.keyframe(place), slam_map.keyframe(keyframe)
    similarity = retract_similarity(there.camera_from_map @ here.map_from_camera, delta)
    nothing = np.zeros(0, np.int64)
    return VerifiedPlace(keyframe, place, similarity, 1e-6 * np.eye(7), 100, 0.5, 0.5, nothing, nothing)


def test_places_agree_about_one_correction_only(walked):
    _, slam_map, _ = walked
    first, second, place = slam_map.ids[3], slam_map.ids[4], slam_map.ids[0]
    shift = np.array([0.3, 0.0, 0.0, 0.0, 0.02, 0.0, 0.05])
    one = verified(slam_map, first, place, shift)
    assert agree(slam_map, one, verified(slam_map, second, place, shift))
    assert not agree(slam_map, one, verified(slam_map, second, place, shift + np.array([2.0, 0, 0, 0, 0, 0, 0])))
    assert not agree(slam_map, one, verified(slam_map, second, place, shift + np.array([0, 0, 0, 0, 0.2, 0, 0])))
    assert not agree(slam_map, one, verified(slam_map, second, place, shift + np.array([0, 0, 0, 0, 0, 0, 0.3])))
    assert not agree(slam_map, one, one)


def test_the_edge_of_a_place_is_in_the_units_of_the_keyframes(walked):
    _, slam_map, _ = walked
    slam_map = slam_map.snapshot()
    place, keyframe = slam_map.ids[0], slam_map.ids[4]
    slam_map.correct({keyframe: (slam_map.keyframe(keyframe).map_from_camera, 2.0)})
    edge = loop_edge(slam_map, verified(slam_map, keyframe, place, np.zeros(7)))
    expected = slam_map.keyframe(place).map_from_local @ edge.first_from_second
    np.testing.assert_allclose(expected, slam_map.keyframe(keyframe).map_from_local, atol=1e-9)


def test_a_loop_that_the_way_contradicts_is_refused(walked):
    _, slam_map, _ = walked
    place, keyframe = slam_map.ids[0], slam_map.ids[-1]
    drifted = verified(slam_map, keyframe, place, np.array([0.02, 0.0, 0.02, 0.0, 0.01, 0.0, 0.01]))
    assert correct_by_loops(slam_map, [loop_edge(slam_map, drifted)]) is not None
    far = np.linalg.norm(slam_map.keyframe(keyframe).center - slam_map.keyframe(place).center)
    wrong = verified(slam_map, keyframe, place, np.array([far, 0.0, far, 0.0, 1.0, 0.0, 0.5]))
    assert correct_by_loops(slam_map, [loop_edge(slam_map, wrong)]) is None


def test_a_correction_leaves_the_map_as_it_is_until_it_is_applied(walked):
    _, slam_map, _ = walked
    before = [k.map_from_camera for k in slam_map.keyframes]
    found = verified(slam_map, slam_map.ids[-1], slam_map.ids[0], np.array([0.05, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    correction = correct_by_loops(slam_map, [loop_edge(slam_map, found)])
    np.testing.assert_array_equal([k.map_from_camera for k in slam_map.keyframes], before)
    moved = correction.poses[slam_map.ids[-1]][0]
    assert 0 < np.linalg.norm(moved[:3, 3] - before[-1][:3, 3]) < 0.1
    np.testing.assert_allclose(correction.poses[slam_map.ids[0]][0], before[0], atol=1e-5)
