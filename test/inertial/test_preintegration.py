"""Preintegration and rotation by the gyroscope, against exact motion."""

from __future__ import annotations

import numpy as np
import pytest
from inertial_world import Motion

from ros_matching.datatypes import ImuNoise
from ros_matching.geometry.se3 import exp_so3, invert, log_so3, rotation_angle_deg
from ros_matching.inertial.buffer import ImuBuffer
from ros_matching.inertial.gyroscope import GyroscopeBias, integrated_rotation
from ros_matching.scenes.simulated_imu import IMU_FROM_CAMERA

GRAVITY = np.array([0.0, 0.0, -9.81])
NOISE = ImuNoise(1e-4, 1e-3, 1e-5, 1e-4)


def world_from_imu(motion: Motion, stamp_ns: int) -> np.ndarray:
    return motion.poses(np.array([stamp_ns]))[0] @ invert(IMU_FROM_CAMERA)


def velocity(motion: Motion, stamp_ns: int) -> np.ndarray:
    ends = [world_from_imu(motion, stamp_ns + step)[:3, 3] for step in (-100_000, 100_000)]
    return (ends[1] - ends[0]) / 2e-4


def test_preintegration_is_the_exact_motion() -> None:
    pytest.importorskip("gtsam")
    from ros_matching.inertial.preintegration import preintegrate

    motion = Motion()
    buffer, (first, last) = ImuBuffer.of(motion.samples()), (2_500_000_000, 3_300_000_000)
    bias = np.array([0.1, -0.2, 0.05, 0.01, 0.02, -0.01])
    samples = buffer.between(first, last)
    biased = type(samples)(samples.stamps_ns, samples.gyroscope + bias[3:], samples.accelerometer + bias[:3])
    found = preintegrate(biased, bias, NOISE)
    start, end, speed = world_from_imu(motion, first), world_from_imu(motion, last), velocity(motion, first)
    dt = found.seconds
    assert dt == pytest.approx(0.8)
    assert rotation_angle_deg(found.rotation.T @ start[:3, :3].T @ end[:3, :3]) < 0.01
    position = start[:3, :3].T @ (end[:3, 3] - start[:3, 3] - speed * dt - 0.5 * GRAVITY * dt**2)
    assert np.allclose(found.position, position, atol=1e-3)
    assert np.allclose(found.velocity, start[:3, :3].T @ (velocity(motion, last) - speed - GRAVITY * dt), atol=2e-3)
    # A change of the bias, by the jacobian
    other = bias + np.array([0.02, 0.01, -0.03, 0.002, -0.001, 0.003])
    again, change = preintegrate(biased, other, NOISE), found.jacobian @ (other - bias)
    assert np.allclose(log_so3(found.rotation.T @ again.rotation), change[:3], atol=1e-5)
    assert np.allclose(again.position - found.position, change[3:6], atol=1e-4)
    assert np.allclose(again.velocity - found.velocity, change[6:], atol=1e-4)


def test_the_covariance_is_that_of_the_noise() -> None:
    pytest.importorskip("gtsam")
    from ros_matching.inertial.preintegration import preintegrate

    motion, rng = Motion(), np.random.default_rng(0)
    samples = ImuBuffer.of(motion.samples()).between(2_500_000_000, 3_000_000_000)
    exact = preintegrate(samples, np.zeros(6), NOISE)
    squares = []
    for _ in range(200):
        noise = rng.standard_normal((len(samples), 6)) * np.sqrt(200.0)
        noisy = type(samples)(
            samples.stamps_ns,
            samples.gyroscope + NOISE.gyroscope * noise[:, :3],
            samples.accelerometer + NOISE.accelerometer * noise[:, 3:],
        )
        found = preintegrate(noisy, np.zeros(6), NOISE)
        errors = [
            log_so3(exact.rotation.T @ found.rotation),
            found.position - exact.position,
            found.velocity - exact.velocity,
        ]
        error = np.concatenate(errors)
        squares.append(error @ np.linalg.solve(exact.covariance, error))
    assert 6.5 < np.mean(squares) < 11.5


def test_rotation_and_bias_of_the_gyroscope() -> None:
    motion = Motion(radians=0.5)
    buffer, bias = ImuBuffer.of(motion.samples()), np.array([0.01, -0.02, 0.015])
    stamps = motion.stamps_ns(20)
    estimate, rng = GyroscopeBias(), np.random.default_rng(1)
    assert np.array_equal(estimate.bias, np.zeros(3))
    noise = exp_so3(0.001 * rng.standard_normal((len(stamps), 3)))
    for row, (start, end) in enumerate(zip(stamps[:-1].tolist(), stamps[1:].tolist(), strict=True)):
        by_images = world_from_imu(motion, start)[:3, :3].T @ world_from_imu(motion, end)[:3, :3]
        by_gyroscope = integrated_rotation(buffer.between(start, end), np.zeros(3))
        assert rotation_angle_deg(by_gyroscope.T @ by_images) < 0.02
        estimate.add(by_gyroscope @ exp_so3(bias * 0.05), noise[row].T @ by_images @ noise[row + 1], 0.05)
    assert np.abs(estimate.bias - bias).max() < 0.002
    before = estimate.bias
    estimate.add(exp_so3(np.array([0.5, 0.0, 0.0])), np.eye(3), 0.05)  # a wrong pose
    assert np.array_equal(estimate.bias, before)
