"""SLAM on a world of points with ground truth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from loop_world import SHORT_MEMORY, ate, hall, ring, ring_world
from point_world import PointWorld, cloud, walk

from ros_matching import load_matcher
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import EdgeKind
from ros_matching.backend.localization_back_end import LocalizationBackEnd
from ros_matching.backend.place_recognition import PlaceIndex
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.backend.slam_update import EventKind, SlamUpdate
from ros_matching.errors import ConfigError, MatchingError
from ros_matching.geometry.se3 import exp_so3, invert, pose_from
from ros_matching.geometry.sim3 import rigid_part, scale_of
from ros_matching.odometry.result import TrackingStatus
from ros_matching.slam import Slam, SlamStatus


def test_without_loops_the_map_is_that_of_the_odometry():
    pytest.importorskip("gtsam")
    world = PointWorld(cloud(), walk(120))
    slam = Slam(world)
    results = [slam.track(frame) for frame in world.frames()]
    slam.finish()
    tracked = [r for r in results if r.status is SlamStatus.TRACKING]
    assert len(tracked) > 100
    for result in tracked:
        np.testing.assert_allclose(result.map_from_camera, result.tracking.world_from_camera, atol=1e-9)
    keyframes = {k.id for r in results for k in r.tracking.new_keyframes}
    assert set(slam.slam_map.ids) == keyframes
    assert len(slam.slam_map.components()) == 1


def test_the_trajectory_has_every_tracked_frame():
    pytest.importorskip("gtsam")
    world = PointWorld(cloud(), walk(120))
    slam = Slam(world)
    results = [slam.track(frame) for frame in world.frames()]
    slam.finish()
    posed = [r.tracking for r in results if r.tracking.world_from_camera is not None]
    trajectory = slam.trajectory()
    assert [stamp for stamp, _ in trajectory] == [r.stamp_ns for r in posed]
    errors = [
        np.linalg.norm(p[:3, 3] - r.world_from_camera[:3, 3]) for (_, p), r in zip(trajectory, posed, strict=True)
    ]
    assert max(errors) < 0.02  # the keyframes were adjusted since


def test_an_unknown_mode_is_refused():
    with pytest.raises(ConfigError, match="localization"):
        Slam(PointWorld(cloud(), walk(2)), mode="mapping")


def test_a_loop_corrects_the_trajectory():
    pytest.importorskip("gtsam")
    world = ring_world(seed=2)
    slam = Slam(world, SHORT_MEMORY)
    results = [slam.track(frame) for frame in world.frames()]
    slam.finish()
    events = [event for result in results for event in result.events]
    assert events
    assert all(event.kind is EventKind.LOOP_CLOSED for event in events)
    posed = [r.tracking for r in results if r.tracking.world_from_camera is not None]
    true = world.poses[[r.frame_index for r in posed]][:, :3, 3]
    of_odometry = ate(np.stack([r.world_from_camera[:3, 3] for r in posed]), true)
    of_map = ate(np.stack([pose[:3, 3] for _, pose in slam.trajectory()]), true)
    assert of_map < 0.5 * of_odometry
    # The recognised places are true ones
    stamps = {k.id: k.frame.stamp_ns for result in results for k in result.tracking.new_keyframes}
    frames = {stamp: index for index, stamp in enumerate(frame.stamp_ns for frame in world.frames())}
    for event in events:
        pair = [world.poses[frames[stamps[id]]] for id in (event.keyframe, event.place)]
        assert np.linalg.norm((invert(pair[0]) @ pair[1])[:3, 3]) < 2.0


def test_loops_are_closed_in_a_thread():
    pytest.importorskip("gtsam")
    world = ring_world(seed=2)
    slam = Slam(world, SHORT_MEMORY, threaded=True)
    results = [slam.track(frame) for frame in world.frames()]
    slam.finish()
    posed = [r.tracking for r in results if r.tracking.world_from_camera is not None]
    true = world.poses[[r.frame_index for r in posed]][:, :3, 3]
    of_odometry = ate(np.stack([r.world_from_camera[:3, 3] for r in posed]), true)
    assert any(edge.kind is EdgeKind.LOOP for edge in slam.slam_map.edges)
    assert ate(np.stack([pose[:3, 3] for _, pose in slam.trajectory()]), true) < of_odometry
    slam.close()


def test_loops_are_not_closed_if_switched_off():
    world = ring_world(60)
    slam = Slam(world, SHORT_MEMORY, SlamConfig(close_loops=False))
    for frame in world.frames():
        slam.track(frame)
    slam.finish()
    assert not any(len(keyframe.place_descriptor) for keyframe in slam.slam_map.keyframes)


@pytest.fixture(scope="module")
def saved() -> tuple[SlamMap, np.ndarray]:
    """The map of a ring, and the similarity of the true world from it."""
    from ros_matching.geometry.sim3 import align_points

    pytest.importorskip("gtsam")
    world = PointWorld(hall(4000), ring(150, turns=1.05), noise_px=0.3)
    slam = Slam(world)
    for frame in world.frames():
        slam.track(frame)
    slam.finish()
    estimated = np.stack([pose[:3, 3] for _, pose in slam.trajectory()])
    return slam.slam_map, align_points(world.poses[-len(estimated) :, :3, 3], estimated)


def other_walk(start: int = 30) -> PointWorld:
    """Part of the ring, walked at another distance from the middle."""
    return PointWorld(hall(4000), ring(90, turns=0.6, radius=3.6)[start:], noise_px=0.3, seed=0)


def test_localization_finds_the_first_image_and_keeps_the_map(saved):
    slam_map, true_from_map = saved
    before = slam_map.ids, len(slam_map.landmarks)
    world = other_walk()
    slam = Slam(world, slam_map=slam_map, mode="localization")
    results = [slam.track(frame) for frame in world.frames()]
    slam.finish()
    assert results[0].status is SlamStatus.TRACKING
    assert results[0].tracking.status is TrackingStatus.INITIALIZING
    errors = [
        np.linalg.norm((true_from_map @ result.map_from_camera)[:3, 3] - world.poses[index][:3, 3])
        for index, result in enumerate(results)
        if result.status is SlamStatus.TRACKING
    ]
    assert len(errors) > 0.9 * len(results)
    assert np.median(errors) < 0.05
    assert max(errors) < 0.3
    assert (slam_map.ids, len(slam_map.landmarks)) == before
    assert len(slam.trajectory()) == len(errors)
    assert any(event.kind is EventKind.RELOCALIZED for result in results for event in result.events)
    # The odometry has the unit of the map
    odometry = [
        (i, r.tracking.world_from_camera) for i, r in enumerate(results) if r.tracking.world_from_camera is not None
    ]
    (first, start), (last, end) = odometry[0], odometry[-1]
    true_length = np.linalg.norm(world.poses[last][:3, 3] - world.poses[first][:3, 3])
    length = scale_of(true_from_map) * np.linalg.norm(end[:3, 3] - start[:3, 3])
    assert length == pytest.approx(true_length, rel=0.03)
    # The odometry begins at its own origin, not at that of the map
    assert np.linalg.norm(start[:3, 3]) < 0.2 * true_length / scale_of(true_from_map)


def test_keyframes_correct_the_drift_in_a_map(saved, monkeypatch):
    slam_map, true_from_map = saved
    world = other_walk()

    def largest_error() -> float:
        slam = Slam(world, slam_map=slam_map, mode="localization")
        results = [slam.track(frame) for frame in world.frames()]
        return max(
            np.linalg.norm((true_from_map @ result.map_from_camera)[:3, 3] - pose[:3, 3])
            for result, pose in zip(results, world.poses, strict=True)
            if result.status is SlamStatus.TRACKING
        )

    corrected = largest_error()
    monkeypatch.setattr(LocalizationBackEnd, "process", lambda self, state: SlamUpdate())
    assert corrected < 0.6 * largest_error()


def test_a_map_is_continued_from_a_known_place(saved):
    slam_map, true_from_map = saved
    world, slam_map = other_walk(), slam_map.snapshot()
    before = {keyframe.id: keyframe for keyframe in slam_map.keyframes}
    slam = Slam(world, slam_map=slam_map)
    results = [slam.track(frame) for frame in world.frames()]
    slam.finish()
    events = [event for result in results for event in result.events]
    assert events[0].kind is EventKind.RELOCALIZED
    assert not any(event.kind is EventKind.MAPS_MERGED for event in events)
    # New keyframes are connected with the old ones, observe their landmarks, and do not change them
    new = [keyframe for keyframe in slam_map.keyframes if keyframe.id not in before]
    assert len(new) > 5
    assert len(slam_map.components()) == 1
    old_landmarks = np.concatenate([keyframe.observed for keyframe in before.values()])
    assert np.isin(new[0].observed, old_landmarks).mean() > 0.5
    kept = next(id for id in before if id in slam_map)
    np.testing.assert_array_equal(slam_map.keyframe(kept).keypoints_px, before[kept].keypoints_px)
    tracked = [result for result in results if result.status is SlamStatus.TRACKING]
    assert len(tracked) >= len(results) - 1
    last = results[-1]
    assert last.status is SlamStatus.TRACKING
    error = (true_from_map @ last.map_from_camera)[:3, 3] - world.poses[-1][:3, 3]
    assert np.linalg.norm(error) < 0.2


@pytest.mark.parametrize("threaded", [False, True])
def test_a_standing_camera_is_localised_and_tracked(saved, threaded):
    """Two views with parallax, by which an odometry begins, never come."""
    slam_map, true_from_map = saved
    world = other_walk()
    still = PointWorld(hall(4000), np.repeat(world.poses[:1], 12, axis=0), noise_px=0.3, seed=0)
    slam = Slam(still, slam_map=slam_map, mode="localization", threaded=threaded)
    results = []
    for frame in still.frames():
        results.append(slam.track(frame))
        slam.finish()
    assert [result.tracking.status for result in results[2:]] == [TrackingStatus.TRACKING] * 10
    for result in results[2:]:
        assert result.status is SlamStatus.TRACKING
        error = (true_from_map @ result.map_from_camera)[:3, 3] - still.poses[0][:3, 3]
        assert np.linalg.norm(error) < 0.05
    slam.close()


@pytest.mark.parametrize("knows_the_place", [False, True])
def test_an_odometry_begins_at_a_given_pose(saved, knows_the_place):
    """After a map was loaded, the frame odom goes on."""
    world = other_walk() if knows_the_place else PointWorld(cloud(seed=3), walk(30), seed=5)
    frames = itertools.islice(world.frames(), 12)
    slam, start = Slam(world, slam_map=saved[0].snapshot()), pose_from(exp_so3(np.array([0.1, 0.5, 0.0])), np.ones(3))
    slam.start_at(start)
    results = [slam.track(frame) for frame in frames]
    first = next(result for result in results if result.tracking.world_from_camera is not None)
    assert np.linalg.norm(first.tracking.world_from_camera[:3, 3] - start[:3, 3]) < 0.2
    np.testing.assert_allclose(first.tracking.world_from_camera[:3, :3], start[:3, :3], atol=0.1)
    is_known = results[-1].status is SlamStatus.TRACKING
    assert is_known == knows_the_place


def test_a_suggested_pose_is_tried_first(saved, monkeypatch):
    slam_map, true_from_map = saved
    world = other_walk(start=60)
    slam = Slam(world, slam_map=slam_map, mode="localization")
    monkeypatch.setattr(PlaceIndex, "search", lambda *arguments, **options: [])  # the place looks like no other
    frames = world.frames()
    assert slam.track(next(frames)).status is SlamStatus.INITIALIZING
    true = rigid_part(np.linalg.inv(true_from_map) @ world.poses[1])
    off = pose_from(exp_so3(np.array([0.0, 0.1, 0.0])), np.array([0.3, 0.0, -0.2]))
    slam.suggest_pose(true @ off)
    result = slam.track(next(frames))
    assert result.status is SlamStatus.TRACKING
    error = np.linalg.norm((true_from_map @ result.map_from_camera)[:3, 3] - world.poses[1][:3, 3])
    assert error < 0.1


def test_an_unknown_place_stays_unlocalized(saved):
    world = PointWorld(cloud(seed=3), walk(60), seed=5)
    slam = Slam(world, slam_map=saved[0], mode="localization")
    results = [slam.track(frame) for frame in world.frames()]
    assert all(result.map_from_camera is None for result in results)
    assert results[-1].status is SlamStatus.UNLOCALIZED


def test_localization_needs_a_map():
    with pytest.raises(ConfigError, match="slam_map"):
        Slam(PointWorld(cloud(), walk(2)), mode="localization")


def test_a_camera_that_was_carried_off_is_placed_in_the_same_map_again():
    pytest.importorskip("gtsam")
    there = ring(70, turns=0.5)
    back = ring(70, turns=0.5, radius=3.7)[2:42]
    world = PointWorld(hall(4000), np.concatenate([there, back]), noise_px=0.3)
    slam = Slam(world, SHORT_MEMORY)
    results = [slam.track(frame) for frame in world.frames()]
    slam.finish()
    # The place is outside the local map, and known in the whole map: no other map begins
    assert results[70].tracking.status is TrackingStatus.LOST
    events = [event for result in results for event in result.events]
    assert [event.kind for event in events][:1] == [EventKind.RELOCALIZED]
    assert all(result.status is SlamStatus.TRACKING for result in results[73:])
    assert len(slam.slam_map.components()) == 1
    stamps, poses = zip(*slam.trajectory(), strict=True)
    true = {frame.stamp_ns: frame.true_world_from_camera[:3, 3] for frame in world.frames()}
    estimated, expected = np.stack([pose[:3, 3] for pose in poses]), np.stack([true[stamp] for stamp in stamps])
    assert ate(estimated, expected) < 0.1


def test_a_matcher_without_place_descriptors_is_refused_at_once():
    pytest.importorskip("gtsam")
    with pytest.raises(MatchingError, match="close_loops"):
        Slam(load_matcher("orb"))
    Slam(load_matcher("orb"), slam_config=SlamConfig(close_loops=False)).close()
