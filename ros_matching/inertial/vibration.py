"""Noise of an IMU as its samples show it: vibration of propellers and motors exceeds the noise of the sensor by far.

Third differences of means over 10 ms cancel the motion of the robot, which is smooth, and keep white noise and
vibration: for white noise of density n, means over a time t have the variance n^2 / t, and their third differences 20
times that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ros_matching.datatypes import ImuNoise, ImuSamples

_MEAN_S = 0.01
_LEAST_MEANS = 12
_VARIANCE_FACTOR = 20.0  # of third differences: 1 + 9 + 9 + 1


def with_vibration(noise: ImuNoise, samples: ImuSamples) -> ImuNoise:
    """Return the noise with the densities that the samples show where those are larger."""
    return replace(
        noise,
        gyroscope=max(noise.gyroscope, _density(samples.gyroscope, samples.rate_hz)),
        accelerometer=max(noise.accelerometer, _density(samples.accelerometer, samples.rate_hz)),
    )


def _density(values: np.ndarray, rate_hz: float) -> float:
    """Return the density of the noise of values (N, 3), the root mean square of the axes; 0 with too few."""
    if not np.isfinite(rate_hz):
        return 0.0
    count = max(round(_MEAN_S * rate_hz), 1)
    rows = len(values) // count
    if rows < _LEAST_MEANS:
        return 0.0
    means = values[: rows * count].reshape(rows, count, 3).mean(axis=1)
    variance = np.mean(np.diff(means, n=3, axis=0) ** 2) / _VARIANCE_FACTOR
    return float(np.sqrt(variance * count / rate_hz))
