"""Poses of blurred images are found by the gyroscope; inaccurate extrinsics do not make all others wrong."""

from __future__ import annotations

import numpy as np
from inertial_world import Motion

from ros_matching.geometry.se3 import exp_so3
from ros_matching.inertial.buffer import ImuBuffer
from ros_matching.inertial.config import ImuConfig
from ros_matching.inertial.imu import Imu
from ros_matching.inertial.rotation_agreement import agreeing
from ros_matching.scenes.simulated_imu import IMU_FROM_CAMERA


def seen(motion: Motion, wrong: range = range(0), degrees: float = 0.0) -> tuple[list[int], np.ndarray]:
    """Stamps and poses at 10 Hz, some of which are turned by up to ``degrees``."""
    stamps = motion.stamps_ns(10)[10:60]
    poses = motion.poses(stamps)
    for row in wrong:
        poses[row, :3, :3] = exp_so3(np.radians([0, degrees * (1 if row % 2 else -0.7), 0])) @ poses[row, :3, :3]
    return stamps.tolist(), poses


def imu_of(motion: Motion, extrinsics: np.ndarray = IMU_FROM_CAMERA) -> Imu:
    return Imu(ImuConfig(), ImuBuffer.of(motion.samples()), extrinsics)


def test_wrong_rotations_are_found_and_all_others_agree() -> None:
    motion = Motion(radians=0.6)
    assert agreeing(imu_of(motion), *seen(motion)).all()
    kept = agreeing(imu_of(motion), *seen(motion, range(20, 26), 1.5))
    np.testing.assert_array_equal(np.flatnonzero(~kept), np.arange(20, 26))


def test_inaccurate_extrinsics_leave_out_a_turn_at_most() -> None:
    motion, extrinsics = Motion(radians=0.6, seed=2), IMU_FROM_CAMERA.copy()
    extrinsics[:3, :3] = extrinsics[:3, :3] @ exp_so3(np.radians([1.5, 0, 1.5]))
    assert np.mean(agreeing(imu_of(motion, extrinsics), *seen(motion))) > 0.7


def test_without_samples_or_where_most_disagree_all_count() -> None:
    motion = Motion()
    late = Imu(ImuConfig(), ImuBuffer.of(Motion(duration_s=0.5).samples()), IMU_FROM_CAMERA)
    assert agreeing(late, *seen(motion)).all()
    assert agreeing(imu_of(motion), *seen(motion, range(5, 50), 5.0)).all()
