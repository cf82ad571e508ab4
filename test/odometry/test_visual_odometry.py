"""The tracker on a world of points with ground truth."""

from __future__ import annotations

import numpy as np
import pytest
from point_world import PointWorld, cloud, pure_rotation, walk

from ros_matching.atlas.config import TrackingConfig
from ros_matching.datatypes import Camera, Frame
from ros_matching.errors import TrackingError
from ros_matching.geometry.se3 import invert, rotation_angle_deg
from ros_matching.odometry.result import TrackingStatus
from ros_matching.visual_odometry import VisualOdometry

TRACKING, LOST, INITIALIZING = TrackingStatus.TRACKING, TrackingStatus.LOST, TrackingStatus.INITIALIZING


def run(world: PointWorld, config: TrackingConfig | None = None) -> list:
    odometry = VisualOdometry(world, config)
    return [odometry.track(frame) for frame in world.frames()]


def mapped(results: list) -> list:
    """Return the results with a pose in a map."""
    return [r for r in results if r.status is TRACKING and r.counts.landmarks]


def errors(world: PointWorld, results: list) -> tuple[np.ndarray, np.ndarray, float]:
    """Position errors as a fraction of the path, rotation errors in degrees, and the scale, after alignment."""
    posed = mapped(results)
    true = world.poses[[r.frame_index for r in posed]]
    estimated = np.stack([r.world_from_camera for r in posed])
    # Align the first pose; the scale comes from the extent of the path.
    true = invert(true[0]) @ true
    estimated = invert(estimated[0]) @ estimated
    scale = np.linalg.norm(true[:, :3, 3]) / np.linalg.norm(estimated[:, :3, 3])
    path = np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=1).sum()
    position = np.linalg.norm(scale * estimated[:, :3, 3] - true[:, :3, 3], axis=1) / path
    return position, rotation_angle_deg(true @ invert(estimated)), scale


def test_a_walk_is_tracked_with_little_drift():
    world = PointWorld(cloud(), walk(200))
    results = run(world)
    assert sum(r.status is TRACKING for r in results) > 185
    assert all(r.status is not LOST for r in results)
    position, rotation, _ = errors(world, results)
    assert position.max() < 0.01
    assert rotation.max() < 0.5


def test_the_relative_poses_chain_to_the_poses():
    results = run(PointWorld(cloud(), walk(80)))
    posed = mapped(results)
    pose = posed[0].world_from_camera
    for result in posed[1:]:
        pose = pose @ result.previous_from_current
        np.testing.assert_allclose(pose, result.world_from_camera, atol=1e-9)


def test_the_first_landmarks_have_median_depth_one():
    first = mapped(run(PointWorld(cloud(), walk(60))))[0]
    assert np.median(first.new_keyframes[0].sparse_depths) == pytest.approx(1, abs=0.1)


def test_standing_still_does_not_drift():
    path = walk(120)
    path[60:] = path[60]
    results = run(PointWorld(cloud(), path))
    still = np.stack([r.world_from_camera[:3, 3] for r in results[65:]])
    assert np.abs(still - still.mean(axis=0)).max() < 0.005
    assert sum(bool(r.new_keyframes) for r in results[65:]) <= 1


def test_pure_rotation_keeps_the_position():
    path = walk(180)
    rotated = pure_rotation(120, 300)
    path[60:] = path[60] @ rotated
    world = PointWorld(cloud(), path)
    results = run(world)
    assert all(r.status is TRACKING for r in results[60:])
    centers = np.stack([r.world_from_camera[:3, 3] for r in results[60:]])
    assert np.linalg.norm(centers - centers[0], axis=1).max() < 0.02
    _, rotation, _ = errors(world, results)
    assert rotation.max() < 1


def test_pure_rotation_until_the_map_has_no_landmarks_is_tracked():
    path = walk(180)
    path[60:] = path[60] @ pure_rotation(120, 300)
    results = run(PointWorld(cloud(), path), TrackingConfig(max_keyframes=4))
    assert min(r.counts.landmarks for r in results[60:]) == 0
    assert all(r.status is TRACKING for r in results[60:])


def test_a_covered_lens_is_lost_and_relocalised():
    covered = tuple(range(100, 110))
    world = PointWorld(cloud(), walk(200), covered=covered)
    results = run(world)
    assert all(results[index].status is LOST for index in covered)
    assert all(results[index].world_from_camera is None for index in covered)
    assert all(r.status is TRACKING for r in results[110:])
    assert results[110].previous_from_current is None
    position, rotation, _ = errors(world, results)
    assert position.max() < 0.01
    assert rotation.max() < 0.5


def test_a_kidnapped_camera_starts_a_new_map_at_the_last_pose():
    path = walk(200)
    other = cloud(seed=5) + np.array([100.0, 0, 0])
    path[100:, 0, 3] += 100
    world = PointWorld(np.concatenate([cloud(), other]), path)
    results = run(world, TrackingConfig(reinitialize_after=10))
    assert all(r.status is LOST for r in results[100:110])
    after = [r for r in results[110:] if r.status is TRACKING]
    assert len(after) > 70
    assert after[0].counts.maps == 2
    jump = after[0].world_from_camera[:3, 3] - results[99].world_from_camera[:3, 3]
    assert np.linalg.norm(jump) < 0.2


def test_a_walk_with_many_outliers_is_tracked():
    world = PointWorld(cloud(), walk(120), outliers=0.3)
    results = run(world)
    position, rotation, _ = errors(world, results)
    assert sum(r.status is TRACKING for r in results) > 100
    assert position.max() < 0.02
    assert rotation.max() < 1


def test_a_planar_scene_is_initialised_by_the_homography():
    rng = np.random.default_rng(3)
    plane = np.column_stack([rng.uniform(-8, 8, (3000, 2)), 5 + np.zeros(3000)])
    world = PointWorld(plane, walk(150), outliers=0.05)
    results = run(world)
    assert sum(r.status is TRACKING for r in results) > 100
    position, rotation, _ = errors(world, results)
    assert position.max() < 0.02
    assert rotation.max() < 1


def test_the_map_is_bounded():
    config = TrackingConfig(max_keyframes=10)
    results = run(PointWorld(cloud(), walk(300, speed=0.06)), config)
    assert max(r.counts.keyframes for r in results) == 10
    assert max(r.counts.landmarks for r in results[150:]) <= 1.2 * max(r.counts.landmarks for r in results[:150])


def test_the_same_frames_give_the_same_poses():
    first, second = (run(PointWorld(cloud(), walk(60))) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.status is b.status
        if a.world_from_camera is not None:
            np.testing.assert_array_equal(a.world_from_camera, b.world_from_camera)


def test_after_a_reset_the_tracker_starts_over():
    world = PointWorld(cloud(), walk(60))
    odometry = VisualOdometry(world)
    before = [odometry.track(frame).status for frame in world.frames()]
    odometry.reset()
    assert [odometry.track(frame).status for frame in world.frames()] == before


def test_a_changed_camera_and_a_time_jump_back_are_rejected():
    world = PointWorld(cloud(), walk(3))
    first, second, _ = world.frames()
    odometry = VisualOdometry(world)
    odometry.track(second)
    with pytest.raises(TrackingError, match="time jumps back"):
        odometry.track(first)
    small = Camera(width=320, height=240, fx=250, fy=250, cx=160, cy=120)
    with pytest.raises(TrackingError, match="camera changes"):
        odometry.track(Frame(5, 2_000_000_000, np.zeros((240, 320, 3), np.uint8), small))


def test_covariance_and_counts_come_with_every_pose():
    for result in run(PointWorld(cloud(), walk(60))):
        if result.status is TRACKING:
            assert result.counts.inliers >= 15
            assert (np.linalg.eigvalsh(result.covariance) > 0).all()
            assert set(result.stage_ms) >= {"extract"}
