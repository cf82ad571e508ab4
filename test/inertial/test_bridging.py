"""Bridging with a known state of motion: position and rotation against the exact motion, with a consistent error."""

from __future__ import annotations

import numpy as np
import pytest
from inertial_world import FIRST_STAMP_NS, Motion

from ros_matching.geometry.se3 import invert, local, retract
from ros_matching.inertial.bridging import BridgedPose, LastPose, bridge, bridged_motion
from ros_matching.inertial.buffer import ImuBuffer
from ros_matching.inertial.config import ImuConfig
from ros_matching.inertial.imu import Imu
from ros_matching.inertial.motion_state import MotionState
from ros_matching.inertial.propagation import ImagePose
from ros_matching.scenes.simulated_imu import IMU_FROM_CAMERA

START_NS = FIRST_STAMP_NS + 3_000_000_000
STDS = np.array([0.02] * 3 + [0.02] * 3 + [0.002] * 5)  # velocity, biases, gravity


def bridged(seed: int, seconds: float, state_age_s: float = 0.0) -> tuple[BridgedPose, np.ndarray]:
    """The bridged pose from a state with errors of ``STDS``, and the true one."""
    motion = Motion(seed=seed)
    exact, samples = motion.samples(), motion.samples("consumer")
    imu = Imu(ImuConfig(gyroscope_noise=3e-4, accelerometer_noise=2e-3), ImuBuffer.of(samples), IMU_FROM_CAMERA)
    known_ns = START_NS - round(state_age_s * 1e9)
    row = int(np.searchsorted(samples.stamps_ns, START_NS))
    near = slice(row - 20, row + 20)
    bias = np.concatenate(
        [
            (samples.accelerometer - exact.accelerometer)[near].mean(axis=0),
            (samples.gyroscope - exact.gyroscope)[near].mean(axis=0),
        ]
    )
    ends = motion.poses(np.array([known_ns - 100_000, known_ns + 100_000])) @ invert(IMU_FROM_CAMERA)
    error = np.random.default_rng(seed).standard_normal(11) * STDS
    down = np.array([error[9], error[10], -1.0])
    imu.state = MotionState(
        known_ns,
        down / np.linalg.norm(down),
        (ends[1, :3, 3] - ends[0, :3, 3]) / 2e-4 + error[:3],
        bias + error[3:9],
        np.diag(np.square(STDS)),
        0.0,
        0.01,
    )
    start, end = motion.poses(np.array([START_NS, START_NS + round(seconds * 1e9)]))
    last = LastPose(START_NS, start, 1e-6 * np.eye(6), np.zeros(3), 3.0)
    return bridge(imu, last, START_NS + round(seconds * 1e9), is_metric=True), end


@pytest.mark.parametrize("state_age_s", [0.0, 0.5])
def test_the_position_is_known_for_a_moment_and_its_covariance_is_right(state_age_s: float) -> None:
    errors, ratios = [], []
    for seed in range(12):
        pose, true = bridged(seed, 1.0, state_age_s)
        error = local(pose.world_from_camera, true)
        errors.append(np.linalg.norm(error[:3]))
        ratios.append(error[:3] @ np.linalg.solve(pose.covariance[:3, :3], error[:3]))
        assert np.linalg.norm(error[3:]) < 4 * np.sqrt(np.trace(pose.covariance[3:, 3:]))
    assert np.median(errors) < 0.08
    assert 0.5 < np.mean(ratios) < 9.0


def test_the_covariance_grows_with_time() -> None:
    widths = [np.trace(bridged(0, seconds)[0].covariance) for seconds in (0.1, 0.3, 0.6, 1.0, 1.9)]
    assert all(np.diff(widths) > 0)


def test_an_old_state_is_not_used() -> None:
    motion = Motion(duration_s=16.0)
    imu = Imu(ImuConfig(), ImuBuffer.of(motion.samples("consumer")), IMU_FROM_CAMERA)
    imu.state = MotionState(
        FIRST_STAMP_NS, np.array([0, 0, -1.0]), np.zeros(3), np.zeros(6), 1e-6 * np.eye(11), 0.0, 0.01
    )
    start_ns = FIRST_STAMP_NS + 12_000_000_000
    last = LastPose(start_ns, motion.poses(np.array([start_ns]))[0], 1e-6 * np.eye(6), np.array([0.3, 0, 0]), 3.0)
    pose = bridge(imu, last, start_ns + 1_000_000_000, is_metric=True)
    assert np.sqrt(pose.covariance[0, 0]) > 1.0


def test_wrong_poses_before_a_loss_are_left_out() -> None:
    """The last three poses, of blurred images, are turned and moved: the bridge starts before them."""
    errors = []
    for wrong in (False, True):
        motion = Motion(seed=1)
        imu = Imu(
            ImuConfig(gyroscope_noise=3e-4, accelerometer_noise=2e-3), ImuBuffer.of(motion.samples()), IMU_FROM_CAMERA
        )
        stamps = START_NS + (np.arange(-20, 1) * 50_000_000)
        true = motion.poses(stamps)
        seen = true.copy()
        for row in range(-3, 0) if wrong else ():
            seen[row] = retract(true[row], np.array([0.05, 0.03, 0.0, 0.01, 0.015, 0.0]) * (row + 4))
        ends = motion.poses(np.array([stamps[0] - 100_000, stamps[0] + 100_000])) @ invert(IMU_FROM_CAMERA)
        velocity = (ends[1, :3, 3] - ends[0, :3, 3]) / 2e-4
        imu.state = MotionState(
            int(stamps[0]), np.array([0.0, 0.0, -1.0]), velocity, np.zeros(6), np.diag(np.square(STDS)), 0.0, 0.01
        )
        poses = tuple(ImagePose(int(ns), pose, 1e-6 * np.eye(3)) for ns, pose in zip(stamps, seen, strict=True))
        last = LastPose(int(stamps[-1]), seen[-1], 1e-6 * np.eye(6), np.zeros(3), 3.0, poses)
        end_ns = START_NS + 500_000_000
        pose = bridge(imu, last, end_ns, is_metric=True)
        errors.append(local(pose.world_from_camera, motion.poses(np.array([end_ns]))[0]))
    assert all(np.linalg.norm(error[:3]) < 0.03 for error in errors)
    assert all(np.degrees(np.linalg.norm(error[3:])) < 0.2 for error in errors)


def test_the_motion_to_a_second_view_has_the_stated_uncertainty() -> None:
    squares = []
    for seed in range(12):
        start, _ = bridged(seed, 0.4)
        end_ns = start.state.stamp_ns + 300_000_000
        motion = Motion(seed=seed)
        config = ImuConfig(gyroscope_noise=3e-4, accelerometer_noise=2e-3)
        imu = Imu(config, ImuBuffer.of(motion.samples("consumer")), IMU_FROM_CAMERA)
        found = bridged_motion(imu, start, end_ns)
        true = motion.poses(np.array([start.state.stamp_ns, end_ns]))
        error = found.translation - (true[1, :3, 3] - true[0, :3, 3])
        squares.append(error @ np.linalg.solve(found.covariance, error))
        assert np.linalg.norm(error) < 0.05
    assert 0.2 < np.mean(squares) < 6.0  # variances of a carried state are wide on purpose
