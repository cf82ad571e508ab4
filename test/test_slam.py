"""SLAM on a world of points with ground truth."""

from __future__ import annotations

import numpy as np
import pytest
from point_world import PointWorld, cloud, walk

from ros_matching.errors import ConfigError
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
