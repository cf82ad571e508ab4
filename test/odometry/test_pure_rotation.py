"""Poses and covariances of a camera that stands still or rotates, before the first map."""

from __future__ import annotations

import numpy as np
import pytest
from point_world import CAMERA, PointWorld, cloud, pure_rotation, walk

from ros_matching.datatypes import Matches
from ros_matching.geometry.se3 import exp_so3, invert, pose_from, rotation_angle_deg, transform
from ros_matching.odometry.pure_rotation import RotationTracker, pure_rotation_from
from ros_matching.odometry.result import TrackingStatus
from ros_matching.visual_odometry import VisualOdometry


def run(world: PointWorld) -> list:
    odometry = VisualOdometry(world)
    return [odometry.track(frame) for frame in world.frames()]


def test_a_still_camera_keeps_its_pose():
    results = run(PointWorld(cloud(), np.repeat(walk(1), 40, axis=0)))
    assert results[0].status is TrackingStatus.INITIALIZING
    for result in results[1:]:
        assert result.status is TrackingStatus.TRACKING
        assert result.rotation_only
        assert "still" in result.reason
        assert result.new_keyframes == ()
        assert not result.world_from_camera[:3, 3].any()
        assert rotation_angle_deg(result.world_from_camera) < 0.1
        assert 0 < result.covariance[0, 0] < 0.01**2


def test_a_full_pure_rotation_keeps_the_heading():
    path = pure_rotation(200, 360)
    world = PointWorld(cloud(10000), path)
    results = run(world)[1:]
    assert all(result.rotation_only for result in results)
    error_deg = rotation_angle_deg(np.stack([r.world_from_camera for r in results]) @ invert(path[1:]))
    assert error_deg.max() < 0.5
    std_deg = np.degrees(np.sqrt([r.covariance[4, 4] for r in results]))
    assert (error_deg < 3 * std_deg).all()
    assert std_deg[-1] > 2 * std_deg[0]
    assert {r.counts.maps for r in results} == {1}


def test_identical_images_give_a_covariance():
    matches = Matches(*2 * [np.random.default_rng(0).uniform(20, 200, (50, 2))], np.ones(50), *2 * [np.arange(50)])
    start = RotationTracker()
    for _ in range(2):
        pose = start.track(pure_rotation_from(np.eye(3), matches, CAMERA, 2.0), becomes_reference=False)
    for covariance in (pose.covariance, pose.motion[1]):
        assert np.linalg.eigvalsh(covariance).min() > (0.05 / CAMERA.fx) ** 2


def test_the_first_map_starts_at_the_end_of_a_pure_rotation():
    path = walk(160)
    path[60:] = path[0] @ pure_rotation(1, 0)[0] @ path[60:]
    rotated = pure_rotation(60, 90)
    path[:60], path[60:] = rotated, rotated[-1] @ invert(path[60]) @ path[60:]
    world = PointWorld(cloud(10000), path)
    results = run(world)
    mapped = [r for r in results if r.status is TrackingStatus.TRACKING and not r.rotation_only]
    assert len(mapped) > 80
    assert {r.counts.maps for r in mapped} == {1}
    for result in mapped:
        ground_truth = path[result.frame_index]
        assert rotation_angle_deg(result.world_from_camera @ invert(ground_truth)) < 0.5
    centers = np.stack([r.world_from_camera[:3, 3] for r in mapped])
    true = path[[r.frame_index for r in mapped], :3, 3]
    scale = np.sum(centers * true) / np.sum(centers**2)
    assert np.linalg.norm(scale * centers - true, axis=1).max() < 0.02 * np.linalg.norm(true, axis=1).max()


@pytest.mark.parametrize("speed", [0.003, 0.01, 0.03])
def test_a_slow_translation_is_within_the_covariance(speed):
    for seed in range(4):
        path = straight(12, speed, seed)
        world = PointWorld(cloud(), path)
        in_camera = transform(invert(path[0]), world.points)
        depth = np.median(in_camera[(in_camera[:, 2] > 0) & np.isfinite(CAMERA.project(in_camera)).all(axis=1), 2])
        for result in run(world):
            if result.rotation_only:
                moved = np.linalg.norm(path[result.frame_index][:3, 3] - path[0][:3, 3]) / depth
                rotated = rotation_angle_deg(result.world_from_camera @ invert(path[result.frame_index]) @ path[0])
                assert moved < 4 * np.sqrt(result.covariance[0, 0])
                assert np.radians(rotated) < 4 * np.sqrt(result.covariance[3, 3])


def test_an_image_without_overlap_breaks_the_chain():
    path = np.concatenate([pure_rotation(20, 5), pure_rotation(20, 5)])
    path[20:] = pose_from(exp_so3(np.array([0, np.pi, 0])), np.zeros(3)) @ path[20:]
    results = run(PointWorld(cloud(20000), path))
    assert results[20].status is TrackingStatus.INITIALIZING
    assert results[20].world_from_camera is None
    assert results[21].counts.maps == 2
    assert results[21].previous_from_current is None


def straight(frames: int, speed: float, seed: int) -> np.ndarray:
    """A straight line in a random direction, with a constant rotation rate."""
    rng = np.random.default_rng(seed)
    direction, rate = rng.normal(size=(2, 3))
    s = np.arange(frames)[:, None] * speed
    return pose_from(exp_so3(0.3 * s * rate), s * direction / np.linalg.norm(direction))
