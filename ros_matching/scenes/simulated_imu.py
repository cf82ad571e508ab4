"""The samples of an IMU on a camera that moves through a scene, with or without errors.

Angular rate and acceleration are differences of the exact motion over two milliseconds; the motion is piecewise cubic,
so that they are exact to less than the noise of any IMU. The world's z axis is up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from ros_matching.datatypes import ImuNoise, ImuSamples
from ros_matching.errors import SceneError

GRAVITY_M_S2 = 9.81
_HALF_STEP_S = 1e-3
_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class ImuGrade:
    """Errors of an IMU: noise, standard deviations of the biases at the start, and the range of its values."""

    noise: ImuNoise
    gyroscope_bias: float  # rad/s
    accelerometer_bias: float  # m/s2
    gyroscope_range: float  # rad/s
    accelerometer_range: float  # m/s2


IMU_GRADES = {
    "none": ImuGrade(ImuNoise(0.0, 0.0, 0.0, 0.0), 0.0, 0.0, np.inf, np.inf),
    # Of data sheets: a phone or a depth camera (BMI055, BMI160), and an IMU of robots (ADIS16448)
    "consumer": ImuGrade(ImuNoise(3e-4, 2e-3, 2e-5, 1e-3), 0.01, 0.1, np.radians(1000), 8 * 9.81),
    "industrial": ImuGrade(ImuNoise(1.7e-4, 1e-3, 2e-6, 3e-4), 0.003, 0.03, np.radians(1000), 18 * 9.81),
}

# The IMU is beside the camera, with the axes of a robot: x forward, y left, z up
IMU_FROM_CAMERA = np.array(
    [[0.0, 0.0, 1.0, 0.04], [-1.0, 0.0, 0.0, 0.02], [0.0, -1.0, 0.0, -0.03], [0.0, 0.0, 0.0, 1.0]]
)


def simulate_imu(
    world_from_camera: Callable[[np.ndarray], np.ndarray],
    duration_s: float,
    rate_hz: float,
    grade: str = "none",
    seed: int = 0,
    first_stamp_ns: int = 0,
    imu_from_camera: np.ndarray = IMU_FROM_CAMERA,
) -> ImuSamples:
    """Sample the IMU of a camera with poses ``world_from_camera(times)`` (T, 4, 4) from 0 to ``duration_s``.

    Raises ``SceneError`` for an unknown grade or a rate below 10 Hz.
    """
    if grade not in IMU_GRADES:
        raise SceneError(f"no grade of an IMU is called {grade!r}; there are: {', '.join(IMU_GRADES)}")
    if not rate_hz >= 10 or duration_s < 10 * _HALF_STEP_S:
        raise SceneError(
            f"an IMU needs a rate of at least 10 Hz over at least {10 * _HALF_STEP_S:g} s, "
            f"got {rate_hz:g} Hz over {duration_s:g} s"
        )
    times_s = np.arange(int(np.ceil(duration_s * rate_hz - 1e-6)) + 1) / rate_hz  # none ends before the last frame
    rates, forces = _exact(world_from_camera, times_s, duration_s, imu_from_camera)
    rates, forces = _with_errors(rates, forces, rate_hz, IMU_GRADES[grade], np.random.default_rng([seed, 7]))
    return ImuSamples(first_stamp_ns + np.round(times_s * 1e9).astype(np.int64), rates, forces)


def _exact(
    world_from_camera: Callable[[np.ndarray], np.ndarray],
    times_s: np.ndarray,
    duration_s: float,
    imu_from_camera: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Angular rates (N, 3) and specific forces (N, 3) along the axes of the IMU."""
    camera_from_imu = np.linalg.inv(imu_from_camera)
    middle = np.clip(times_s, _HALF_STEP_S, duration_s - _HALF_STEP_S)
    before, now, after = (
        world_from_camera(middle + step) @ camera_from_imu for step in (-_HALF_STEP_S, 0.0, _HALF_STEP_S)
    )
    turned = np.swapaxes(before[:, :3, :3], 1, 2) @ after[:, :3, :3]
    rates = Rotation.from_matrix(turned).as_rotvec() / (2 * _HALF_STEP_S)
    acceleration = (before[:, :3, 3] - 2 * now[:, :3, 3] + after[:, :3, 3]) / _HALF_STEP_S**2
    forces = np.einsum("nji,nj->ni", now[:, :3, :3], acceleration + _UP * GRAVITY_M_S2)
    return rates, forces


def _with_errors(
    rates: np.ndarray, forces: np.ndarray, rate_hz: float, grade: ImuGrade, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    noise, step_s = grade.noise, 1.0 / rate_hz
    results = []
    for exact, white, walk, start, limit in (
        (rates, noise.gyroscope, noise.gyroscope_walk, grade.gyroscope_bias, grade.gyroscope_range),
        (forces, noise.accelerometer, noise.accelerometer_walk, grade.accelerometer_bias, grade.accelerometer_range),
    ):
        bias = start * rng.standard_normal(3) + walk * np.sqrt(step_s) * rng.standard_normal(exact.shape).cumsum(axis=0)
        measured = exact + bias + white / np.sqrt(step_s) * rng.standard_normal(exact.shape)
        results.append(np.clip(measured, -limit, limit))
    return results[0], results[1]
