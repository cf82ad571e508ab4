"""The back end of SLAM: storage of keyframes, and the unit of the map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from point_world import PointWorld, cloud, walk
from scale_world import METRES, walked_map

from ros_matching.atlas.local_map import LocalMap
from ros_matching.backend.keyframe_storage import OdometryState
from ros_matching.backend.slam_back_end import SlamBackEnd
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.datatypes import ImuSamples, ScaleState
from ros_matching.geometry.se3 import exp_so3, invert, pose_from
from ros_matching.geometry.sim3 import scale_of
from ros_matching.inertial.buffer import ImuBuffer
from ros_matching.inertial.config import ImuConfig
from ros_matching.inertial.imu import Imu
from ros_matching.inertial.motion_state import MotionState
from ros_matching.slam import Slam

STORE_ONLY = SlamConfig(close_loops=False)


def state_of(local_map: LocalMap, map_from_odom: np.ndarray | None = None, scale=ScaleState.UP_TO_SCALE, number=1):
    map_from_odom = np.eye(4) if map_from_odom is None else map_from_odom
    std = np.inf if scale is ScaleState.UP_TO_SCALE else 0.01
    return OdometryState(local_map.state(), number, map_from_odom, scale, std)


@pytest.fixture
def back_end() -> SlamBackEnd:
    return SlamBackEnd(PointWorld(cloud(), walk(2)), STORE_ONLY)


def test_keyframes_and_landmarks_are_stored(back_end):
    local_map, _ = walked_map()
    back_end.process(state_of(local_map))
    slam_map = back_end.slam_map
    assert slam_map.ids == [k.id for k in local_map.keyframes]
    for keyframe in local_map.keyframes:
        stored = slam_map.keyframe(keyframe.id)
        np.testing.assert_allclose(stored.camera_from_map, keyframe.camera_from_world, atol=1e-9)
        np.testing.assert_array_equal(np.sort(stored.observed), np.sort(keyframe.observed))
        positions = slam_map.landmarks.positions_of(keyframe.observed)
        np.testing.assert_allclose(positions, local_map.positions_of(keyframe.observed), atol=1e-9)
    assert len(slam_map.components()) == 1


def test_the_map_is_in_metres_once_the_odometry_is(back_end):
    local_map, true = walked_map()
    back_end.process(state_of(local_map))
    # As Slam does: the odometry is rescaled about the camera, and the map is not yet
    center = local_map.keyframes[-1].center
    local_map.rescale(METRES, about=center)
    before_from_after = pose_from(np.eye(3) / METRES, center - center / METRES)
    update = back_end.process(state_of(local_map, before_from_after, ScaleState.METRIC))
    slam_map = back_end.slam_map
    assert slam_map.unit is ScaleState.METRIC
    relative = np.stack([invert(slam_map.keyframes[0].map_from_camera) @ k.map_from_camera for k in slam_map.keyframes])
    np.testing.assert_allclose(relative, invert(true[0]) @ true, atol=1e-6)
    assert scale_of(update.corrections[1] @ before_from_after) == pytest.approx(1)
    assert all(k.measured_scale == pytest.approx(METRES) for k in slam_map.keyframes)


def test_keyframes_that_left_the_local_map_keep_their_unit_in_the_constraints(back_end):
    local_map, _ = walked_map()
    back_end.process(state_of(local_map))
    edge = next(e for e in back_end.slam_map.edges if (e.first, e.second) == (0, 1))
    local_map.rescale(3.0, about=np.zeros(3))
    back_end.process(state_of(local_map, np.diag([1 / 3, 1 / 3, 1 / 3, 1.0])))
    again = next(e for e in back_end.slam_map.edges if (e.first, e.second) == (0, 1))
    np.testing.assert_allclose(again.first_from_second, edge.first_from_second, atol=1e-9)


def test_two_maps_that_the_odometry_merged_are_moved_together(back_end):
    first, _ = walked_map()
    back_end.process(state_of(first))
    # A second map, placed wrongly and of another unit, of the same places
    second, _ = walked_map()
    for keyframe in second.keyframes:
        keyframe.id += 10
    shift = pose_from(np.eye(3), np.array([5.0, 0.0, 0.0]))
    ids = second.ids + (10 << 32)
    for keyframe in second.keyframes:
        keyframe.landmark_ids[keyframe.landmark_ids >= 0] += 10 << 32
    second._landmarks.ids = ids
    back_end.process(state_of(second, 2.0 * shift @ np.diag([1, 1, 1, 0.5]), number=2))
    assert len(back_end.slam_map.components()) == 2
    # The odometry merges them: keyframes of both in the first map
    second.keyframes = [*first.keyframes[:2], *second.keyframes]
    second._landmarks.add_all(first._landmarks)
    update = back_end.process(state_of(second, number=1))
    slam_map = back_end.slam_map
    assert len(slam_map.components()) == 1
    for number in range(4):
        np.testing.assert_allclose(
            slam_map.keyframe(10 + number).map_from_camera, slam_map.keyframe(number).map_from_camera, atol=1e-6
        )
    assert [event.kind.value for event in update.events] == ["maps merged"]


def test_the_direction_of_gravity_is_stored_and_stays_with_what_the_camera_measured(back_end):
    local_map, _ = walked_map()
    turn = exp_so3(np.array([0.3, 0.0, 0.1]))
    down = np.array([0.0, 0.6, 0.8])
    state = replace(state_of(local_map, pose_from(turn, np.ones(3))), down=down, down_std=0.002)
    back_end.process(state)
    slam_map = back_end.slam_map
    np.testing.assert_allclose(slam_map.down, turn @ down, atol=1e-12)
    for keyframe in slam_map.keyframes:
        np.testing.assert_allclose(keyframe.map_from_camera[:3, :3] @ keyframe.down, slam_map.down, atol=1e-9)
        assert 0.002 < keyframe.down_std < 0.02
    # A worse measurement replaces nothing, a missing one neither
    back_end.process(replace(state, down=np.array([0.0, 0.0, 1.0]), down_std=0.1))
    back_end.process(replace(state, down=None, down_std=np.inf))
    np.testing.assert_allclose(slam_map.down, turn @ down, atol=1e-12)
    assert all(keyframe.down_std < 0.02 for keyframe in slam_map.keyframes)


def test_slam_hands_the_gravity_of_its_imu_to_the_back_end():
    world = PointWorld(cloud(), walk(40))
    stamps = 1_000_000_000 + np.arange(400) * 5_000_000
    samples = ImuSamples(stamps, np.zeros((400, 3)), np.tile([0.0, 0.0, 9.81], (400, 1)))
    imu = Imu(ImuConfig(), ImuBuffer.of(samples), lambda: None)
    slam = Slam(world, slam_config=STORE_ONLY, imu=imu)
    down = np.array([0.0, 1.0, 0.0])
    imu.state = MotionState(1_000_000_000, down, np.zeros(3), np.zeros(6), 1e-6 * np.eye(11), 0.0, 0.01)
    for frame in world.frames():
        slam.track(frame)
    slam.finish()
    np.testing.assert_allclose(slam.slam_map.down, down, atol=1e-9)
    assert slam.slam_map.down_std == pytest.approx(1e-3)
