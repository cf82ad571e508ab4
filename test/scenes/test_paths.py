"""Camera paths: smooth, within their limits, clear of everything, and true to their kind."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ros_matching.errors import ConfigError, SceneError
from ros_matching.scenes import PathConfig, Rectangle, Scene, Surface, camera_path


def turns_deg(poses: np.ndarray) -> np.ndarray:
    rotations = Rotation.from_matrix(poses[:, :3, :3])
    return np.degrees((rotations[:-1].inv() * rotations[1:]).magnitude())


def steps_m(poses: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)


def test_handheld_never_gets_stuck(outdoor_scene):
    for seed in range(4):
        poses = camera_path(outdoor_scene, PathConfig(frames=300, seed=seed))
        assert np.ptp(poses[-100:, :2, 3], axis=0).max() > 0.5


@pytest.mark.parametrize("scene_name", ["room_scene", "outdoor_scene"])
@pytest.mark.parametrize("kind", ["handheld", "loop", "forward", "rotation", "still"])
def test_every_path_is_smooth_slow_and_clear(scene_name, kind, request):
    scene = request.getfixturevalue(scene_name)
    config = PathConfig(path=kind, frames=400, fps=30.0, seed=1)
    poses = camera_path(scene, config)
    assert poses.shape == (400, 4, 4)
    assert poses.dtype == np.float64
    speed = scene.free_space.speed_m_s
    assert steps_m(poses).max() <= speed / 30 * 1.01
    assert turns_deg(poses).max() <= config.turn_deg_s / 30 * 1.01
    # C2: neither jumps of the velocity nor of the acceleration
    acceleration = np.diff(poses[:, :3, 3], 2, axis=0) * 30.0**2
    assert np.linalg.norm(acceleration, axis=1).max() < 6 * speed
    assert np.linalg.norm(np.diff(acceleration, axis=0), axis=1).max() < 1.5 * speed
    rotations = Rotation.from_matrix(poses[:, :3, :3])
    spin = (rotations[:-1].inv() * rotations[1:]).as_rotvec() * 30.0
    turning = np.diff(spin, axis=0) * 30.0
    assert np.linalg.norm(turning, axis=1).max() < 3.0
    assert np.linalg.norm(np.diff(turning, axis=0), axis=1).max() < 0.5
    assert scene.distance(poses[:, :3, 3]).min() >= scene.free_space.clearance_m * 0.99


def test_handheld_moves_on_and_looks_around(room_scene):
    poses = camera_path(room_scene, PathConfig(frames=900, seed=4))
    assert steps_m(poses).sum() > 0.4 * 900 / 30 * 0.4
    forward = poses[:, :3, 2]
    assert np.degrees(np.arccos(np.clip((forward @ forward[0]).min(), -1, 1))) > 60
    up_in_camera = -poses[:, 2, 1]  # how much the image's up is the world's
    assert up_in_camera.min() > 0.8


def test_loop_ends_at_its_start(room_scene):
    for frames in (60, 900):
        poses = camera_path(room_scene, PathConfig(path="loop", frames=frames, seed=2))
        np.testing.assert_allclose(poses[-1], poses[0], atol=1e-9)
        assert np.linalg.norm(poses[:, :3, 3] - poses[0, :3, 3], axis=1).max() > 0.1
    assert turns_deg(poses).sum() > 350  # there was time to look all around


def test_forward_keeps_its_direction_and_looks_along_it(outdoor_scene):
    poses = camera_path(outdoor_scene, PathConfig(path="forward", frames=100, seed=5))
    motion = np.diff(poses[:, :3, 3], axis=0)
    np.testing.assert_allclose(motion, motion[:1].repeat(99, 0), atol=1e-9)
    np.testing.assert_allclose(motion[0] / np.linalg.norm(motion[0]), poses[0, :3, 2], atol=1e-6)
    assert turns_deg(poses).max() < 1e-5


def test_rotation_is_pure(room_scene):
    poses = camera_path(room_scene, PathConfig(path="rotation", frames=61, turn_deg_s=30.0, fps=30.0))
    assert steps_m(poses).max() == 0
    np.testing.assert_allclose(turns_deg(poses), 1.0, rtol=1e-3)


def test_still_is_still(room_scene):
    poses = camera_path(room_scene, PathConfig(path="still", frames=5))
    np.testing.assert_array_equal(poses, poses[:1].repeat(5, 0))


def test_the_seed_decides(room_scene):
    first, again, other = (camera_path(room_scene, PathConfig(frames=50, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.05


def test_longer_path_begins_like_the_shorter(room_scene):
    short, long = (camera_path(room_scene, PathConfig(frames=frames, seed=3)) for frames in (50, 120))
    np.testing.assert_allclose(long[:50], short, atol=1e-12)


def test_a_scene_without_room_is_refused():
    scene = Scene([Rectangle(np.eye(4), (1.0, 1.0), Surface(np.zeros((2, 2, 3), np.uint8)))])
    with pytest.raises(SceneError, match="free_space"):
        camera_path(scene, PathConfig())
    with pytest.raises(ConfigError, match="handheld"):
        PathConfig(path="sideways")
