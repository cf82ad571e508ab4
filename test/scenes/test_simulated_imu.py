"""The simulated IMU: its samples, integrated, are the camera's motion."""

from __future__ import annotations

import numpy as np
import pytest

from ros_matching.errors import SceneError
from ros_matching.geometry.se3 import exp_so3, invert, rotation_angle_deg
from ros_matching.scenes import PathConfig, build_scene
from ros_matching.scenes.paths import camera_motion, camera_path
from ros_matching.scenes.simulated_imu import GRAVITY_M_S2, IMU_FROM_CAMERA, IMU_GRADES, simulate_imu

RATE_HZ = 200.0


@pytest.fixture(scope="module")
def scene():
    return build_scene("room")


@pytest.mark.parametrize("path", ["handheld", "loop", "forward", "still"])
def test_integrated_samples_follow_the_camera(scene, path: str) -> None:
    motion = camera_motion(scene, PathConfig(path=path, frames=90))
    duration_s = 89 / 30
    samples = simulate_imu(motion, duration_s, RATE_HZ)
    times_s = samples.stamps_ns * 1e-9
    start, end = motion(times_s[[0, -1]]) @ invert(IMU_FROM_CAMERA)
    ahead = motion(times_s[:1] + 1e-4) @ invert(IMU_FROM_CAMERA)
    rotation, position, velocity = start[:3, :3], start[:3, 3].copy(), (ahead[0, :3, 3] - start[:3, 3]) / 1e-4
    for row in range(len(samples) - 1):
        rate = 0.5 * (samples.gyroscope[row] + samples.gyroscope[row + 1])
        following = rotation @ exp_so3(rate / RATE_HZ)
        forces = rotation @ samples.accelerometer[row], following @ samples.accelerometer[row + 1]
        acceleration = 0.5 * (forces[0] + forces[1]) - [0, 0, GRAVITY_M_S2]
        position += velocity / RATE_HZ + 0.5 * acceleration / RATE_HZ**2
        velocity = velocity + acceleration / RATE_HZ
        rotation = following
    assert rotation_angle_deg(rotation.T @ end[:3, :3]) < 0.02
    assert np.linalg.norm(position - end[:3, 3]) < 0.005


def test_motion_between_frames_passes_through_the_frames(scene) -> None:
    config = PathConfig(path="handheld", frames=20)
    assert np.array_equal(camera_motion(scene, config)(np.arange(20) / 30), camera_path(scene, config))


def test_at_rest_it_measures_gravity_and_the_errors_of_its_grade(scene) -> None:
    motion = camera_motion(scene, PathConfig(path="still", frames=900))
    grade = IMU_GRADES["consumer"]
    samples = simulate_imu(motion, 899 / 30, RATE_HZ, "consumer", seed=3)
    exact = simulate_imu(motion, 899 / 30, RATE_HZ)
    assert np.allclose(np.linalg.norm(exact.accelerometer, axis=1), GRAVITY_M_S2, atol=1e-6)
    rates = samples.gyroscope - exact.gyroscope
    assert np.allclose(rates.std(axis=0), grade.noise.gyroscope * np.sqrt(RATE_HZ), rtol=0.1)
    assert 0 < np.abs(rates.mean(axis=0)).max() < 4 * grade.gyroscope_bias
    other = simulate_imu(motion, 899 / 30, RATE_HZ, "consumer", seed=4)
    assert not np.allclose(other.accelerometer, samples.accelerometer)


def test_unknown_grades_and_rates_are_refused(scene) -> None:
    motion = camera_motion(scene, PathConfig(path="still", frames=30))
    with pytest.raises(SceneError, match="consumer"):
        simulate_imu(motion, 1.0, RATE_HZ, "cheap")
    with pytest.raises(SceneError, match="at least 10 Hz"):
        simulate_imu(motion, 1.0, 1.0)
