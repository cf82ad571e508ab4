"""The IMU of a camera: direction of gravity, rest, and what a recording knows about it."""

from __future__ import annotations

import numpy as np
import pytest
from inertial_world import FIRST_STAMP_NS, Motion

from ros_matching.datatypes import ImuNoise, ImuRecording
from ros_matching.errors import DataTypeError
from ros_matching.geometry.se3 import angle_between_deg
from ros_matching.inertial.buffer import ImuBuffer
from ros_matching.inertial.config import ImuConfig
from ros_matching.inertial.imu import Imu
from ros_matching.scenes.simulated_imu import IMU_FROM_CAMERA


def imu_of(motion: Motion, grade: str = "consumer", **settings) -> Imu:
    return Imu(ImuConfig(**settings), ImuBuffer.of(motion.samples(grade)), IMU_FROM_CAMERA)


@pytest.mark.parametrize(("metres", "limit_deg"), [(0.0, 3.0), (0.05, 5.0)])
def test_the_direction_of_gravity_is_that_of_a_turning_camera(metres: float, limit_deg: float) -> None:
    motion = Motion(metres=metres, radians=0.5)
    imu = imu_of(motion)
    for seconds in (0.5, 2.0, 5.0):
        stamp_ns = FIRST_STAMP_NS + round(seconds * 1e9)
        up = motion.poses(np.array([stamp_ns]))[0][:3, :3].T @ [0, 0, 1.0]
        assert angle_between_deg(imu.up_in_camera(stamp_ns), up) < limit_deg
    assert imu.up_in_camera(FIRST_STAMP_NS + 10**12) is None


def test_rest_and_motion_are_distinguished() -> None:
    stamp_ns = FIRST_STAMP_NS + 3_000_000_000
    assert imu_of(Motion(metres=0.0, radians=0.0)).is_still(stamp_ns)
    assert not imu_of(Motion()).is_still(stamp_ns)
    assert not imu_of(Motion(metres=0.0, radians=0.0)).is_still(FIRST_STAMP_NS + 100_000_000)  # too short


def test_the_time_offset_moves_the_samples() -> None:
    motion, (start, end) = Motion(radians=0.5), (FIRST_STAMP_NS + 2_000_000_000, FIRST_STAMP_NS + 2_100_000_000)
    early = imu_of(motion, "none").camera_rotation(start, end)
    late = imu_of(motion, "none", time_offset_s=0.1).camera_rotation(start - 100_000_000, end - 100_000_000)
    assert np.allclose(early, late)


def test_what_a_recording_knows_replaces_defaults_but_not_given_settings() -> None:
    samples = Motion().samples()
    recording = ImuRecording(samples, "imu.csv", IMU_FROM_CAMERA, ImuNoise(1e-4, 2e-3, 1e-5, 2e-4), 0.02)
    known = Imu.of(recording).config
    assert (known.gyroscope_noise, known.accelerometer_noise, known.time_offset_s) == (1e-4, 2e-3, 0.02)
    given = Imu.of(recording, ImuConfig(accelerometer_noise=0.01, time_offset_s=-0.01)).config
    assert (given.gyroscope_noise, given.accelerometer_noise, given.time_offset_s) == (1e-4, 0.01, -0.01)


def test_samples_are_checked_and_cannot_change() -> None:
    samples = Motion(duration_s=2.0).samples()
    with pytest.raises(ValueError, match="read-only"):
        samples.gyroscope[0] = 0
    with pytest.raises(DataTypeError, match="finite"):
        type(samples)(samples.stamps_ns, samples.gyroscope * np.nan, samples.accelerometer)
    with pytest.raises(DataTypeError, match="int64"):
        type(samples)(samples.stamps_ns * 1.0, samples.gyroscope, samples.accelerometer)
    with pytest.raises(DataTypeError, match="gyroscope"):
        type(samples)(samples.stamps_ns, samples.gyroscope[:5], samples.accelerometer)
    with pytest.raises(DataTypeError, match="from 0 on"):
        ImuNoise(-1.0, 0.0, 0.0, 0.0)
