"""Noise and vibration are measured from samples of a moving IMU."""

from __future__ import annotations

import numpy as np
import pytest
from inertial_world import Motion

from ros_matching.datatypes import ImuNoise, ImuSamples
from ros_matching.inertial.vibration import with_vibration
from ros_matching.scenes.simulated_imu import IMU_GRADES

QUIET = ImuNoise(1e-6, 1e-6, 0.0, 0.0)


@pytest.mark.parametrize("rate_hz", [100.0, 200.0, 400.0])
def test_the_noise_of_a_moving_imu_is_found(rate_hz: float) -> None:
    true = IMU_GRADES["consumer"].noise
    found = with_vibration(QUIET, Motion().samples("consumer", rate_hz))
    assert found.gyroscope == pytest.approx(true.gyroscope, rel=0.15)
    assert found.accelerometer == pytest.approx(true.accelerometer, rel=0.2)
    assert found.accelerometer_walk == QUIET.accelerometer_walk


def test_motion_is_no_noise() -> None:
    found = with_vibration(QUIET, Motion().samples("none"))
    assert found.gyroscope < 1e-4
    assert found.accelerometer < 1e-3


def test_vibration_counts_as_noise_and_a_large_known_noise_stays() -> None:
    samples, rng = Motion().samples("consumer"), np.random.default_rng(0)
    shaken = samples.accelerometer + 1.0 * rng.standard_normal(samples.accelerometer.shape)
    found = with_vibration(QUIET, ImuSamples(samples.stamps_ns, samples.gyroscope, shaken))
    assert found.accelerometer == pytest.approx(1 / np.sqrt(200), rel=0.1)
    assert with_vibration(ImuNoise(0.1, 0.1, 0, 0), samples) == ImuNoise(0.1, 0.1, 0, 0)
    assert with_vibration(QUIET, samples[:10]) == QUIET
