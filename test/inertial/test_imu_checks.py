"""Each fault of an IMU is found and named; a good one has none."""

from __future__ import annotations

import numpy as np
import pytest
from inertial_world import Motion

from ros_matching.datatypes import ImuSamples
from ros_matching.geometry.se3 import exp_so3
from ros_matching.inertial.buffer import ImuBuffer
from ros_matching.inertial.checks import ImuFault, check_samples
from ros_matching.inertial.config import ImuConfig
from ros_matching.inertial.rotation_check import RotationCheck
from ros_matching.scenes.simulated_imu import IMU_FROM_CAMERA

CONFIG = ImuConfig()


@pytest.fixture(scope="module")
def good() -> ImuSamples:
    return Motion().samples("consumer")


def changed(samples: ImuSamples, stamps=None, rates=None, forces=None) -> ImuSamples:
    return ImuSamples(
        samples.stamps_ns if stamps is None else stamps,
        samples.gyroscope if rates is None else rates,
        samples.accelerometer if forces is None else forces,
    )


def faults(samples: ImuSamples) -> set[ImuFault]:
    findings = check_samples(samples, CONFIG)
    assert all(len(finding.message) > 40 for finding in findings)
    return {finding.fault for finding in findings}


def test_a_good_imu_has_no_fault(good: ImuSamples) -> None:
    assert faults(good) == set()
    assert faults(Motion(metres=0, radians=0).samples("consumer")) == set()


def test_faults_of_the_stamps(good: ImuSamples) -> None:
    rows = np.arange(len(good))
    assert faults(good[(rows < 500) | (rows > 560)]) == {ImuFault.GAP}
    assert faults(good[np.maximum(rows - (rows % 50 == 49), 0)]) == {ImuFault.REPEATED}
    swapped = rows.copy()
    swapped[[100, 101]] = [101, 100]
    assert faults(good[swapped]) == {ImuFault.UNORDERED}
    assert faults(good[::10]) == {ImuFault.SLOW}
    assert faults(good[:1]) == {ImuFault.NO_SAMPLES}


def test_faults_of_range_and_units(good: ImuSamples) -> None:
    assert faults(changed(good, rates=np.clip(8 * good.gyroscope, -2.0, 2.0))) == {ImuFault.SATURATION}
    shaken = good.accelerometer + 8.0 * np.sin(np.arange(len(good)))[:, None]
    assert faults(changed(good, forces=np.clip(shaken, -16.0, 16.0))) == {ImuFault.SATURATION}
    assert faults(changed(good, forces=good.accelerometer / 9.80665)) == {ImuFault.UNIT_G}
    rest = Motion(metres=0.02, radians=0).samples()
    free = changed(rest, forces=rest.accelerometer - [0, 0, 9.81])
    assert faults(free) == {ImuFault.NO_GRAVITY}
    assert faults(changed(good, rates=good.gyroscope * 180 / np.pi)) == {ImuFault.DEGREES}


def against_images(samples: ImuSamples, motion: Motion, extrinsics=IMU_FROM_CAMERA, config=CONFIG) -> list:
    """The findings of a check with exact rotations of images, 20 a second."""
    check, stamps = RotationCheck(), motion.stamps_ns(20)
    poses = motion.poses(stamps)
    for row in range(1, len(stamps)):
        check.add(int(stamps[row - 1]), int(stamps[row]), poses[row - 1, :3, :3].T @ poses[row, :3, :3])
    return check.findings(ImuBuffer.of(samples), extrinsics, config)


@pytest.mark.parametrize("seed", range(3))
def test_the_images_agree_with_a_good_imu(seed: int) -> None:
    motion = Motion(seed=seed)
    assert against_images(motion.samples("consumer"), motion) == []


def test_slow_rates_in_degrees_are_found_by_the_images() -> None:
    motion = Motion(radians=0.05)
    samples = motion.samples()
    degrees = changed(samples, rates=samples.gyroscope * 180 / np.pi)
    assert ImuFault.DEGREES not in faults(degrees)
    assert [finding.fault for finding in against_images(degrees, motion)] == [ImuFault.DEGREES]


def test_wrong_extrinsics_are_found_with_the_right_ones() -> None:
    motion = Motion()
    wrong = IMU_FROM_CAMERA.copy()
    wrong[:3, :3] = exp_so3(np.array([0.0, np.pi / 2, 0.0])) @ wrong[:3, :3]
    (finding,) = against_images(motion.samples("consumer"), motion, wrong)
    assert finding.fault is ImuFault.AXES
    numbers = finding.message.split("[")[1].split("]")[0].replace(";", " ").split()
    found = np.array([float(number) for number in numbers]).reshape(3, 3)
    assert np.allclose(found, IMU_FROM_CAMERA[:3, :3], atol=0.05)


def test_an_axis_of_the_wrong_sign_is_found() -> None:
    motion = Motion()
    samples = motion.samples("consumer")
    (finding,) = against_images(changed(samples, rates=samples.gyroscope * [1, -1, 1]), motion)
    assert finding.fault is ImuFault.AXES
    assert "mirror" in finding.message


@pytest.mark.parametrize("offset_s", [-0.06, 0.02, 0.15])
def test_a_wrong_time_offset_is_found_and_measured(offset_s: float) -> None:
    motion = Motion()
    samples = motion.samples("consumer")
    late = changed(samples, stamps=samples.stamps_ns + round(offset_s * 1e9))
    (finding,) = against_images(late, motion)
    assert finding.fault is ImuFault.TIME_OFFSET
    assert float(finding.message.split("set time_offset_s to ")[1]) == pytest.approx(offset_s, abs=0.004)
    assert against_images(late, motion, config=ImuConfig(time_offset_s=offset_s)) == []


def test_rotation_about_one_axis_or_none_claims_nothing() -> None:
    still = Motion(metres=0.3, radians=0.0)
    assert against_images(still.samples("consumer"), still) == []
