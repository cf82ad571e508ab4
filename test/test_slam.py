"""SLAM on a world of points with ground truth."""

from __future__ import annotations

import numpy as np
import pytest
from loop_world import SHORT_MEMORY, ate, ring_world
from point_world import PointWorld, cloud, walk

from ros_matching.backend.slam_back_end import EventKind
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.errors import ConfigError
from ros_matching.geometry.se3 import invert
from ros_matching.slam import Slam, SlamStatus


def test_without_loops_the_map_is_that_of_the_odometry():
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
    world = ring_world(noise_px=1.5, seed=1)
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
    assert of_map < 0.6 * of_odometry
    # The recognised places are true ones
    stamps = {keyframe.id: keyframe.stamp_ns for keyframe in slam.slam_map.keyframes}
    frames = {stamp: index for index, stamp in enumerate(frame.stamp_ns for frame in world.frames())}
    for event in events:
        pair = [world.poses[frames[stamps[id]]] for id in (event.keyframe, event.place)]
        assert np.linalg.norm((invert(pair[0]) @ pair[1])[:3, 3]) < 2.0


def test_loops_are_not_closed_if_switched_off():
    world = ring_world()
    slam = Slam(world, SHORT_MEMORY, SlamConfig(close_loops=False))
    results = [slam.track(frame) for frame in world.frames()]
    slam.finish()
    assert not any(result.events for result in results)
    last = results[-1]
    np.testing.assert_allclose(last.map_from_camera, last.tracking.world_from_camera, atol=1e-9)
