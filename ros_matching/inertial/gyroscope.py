"""Rotation by the gyroscope: between two times, of the camera, and its bias from the rotations of images."""

from __future__ import annotations

from collections import deque

import numpy as np

from ros_matching.datatypes import ImuSamples
from ros_matching.geometry.se3 import exp_so3, log_so3

_BIAS_WINDOW_S = 10.0
_MIN_WINDOW_S = 1.0
_PRIOR_STD = 0.02  # rad/s, of a bias before it is estimated
_VISUAL_STD = 0.002  # rad, of the rotation between two images
_OUTLIER_RAD_S = 0.3  # a larger difference is a wrong pose, not a bias


def integrated_rotation(samples: ImuSamples, bias: np.ndarray) -> np.ndarray:
    """Return start_from_end (3, 3) of the IMU over the samples, without the ``bias`` (3,) in rad/s.

    Rates are linear between samples; the rotation vector of a step is their mean times its duration.
    """
    seconds = np.diff(samples.stamps_ns) * 1e-9
    rates = 0.5 * (samples.gyroscope[1:] + samples.gyroscope[:-1]) - bias
    rotation = np.eye(3)
    for step in exp_so3(rates * seconds[:, None]):
        rotation = rotation @ step
    return rotation


class GyroscopeBias:
    """Estimates the bias of the gyroscope from rotations of images: the mean difference over the last seconds."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all rotations."""
        self._differences: deque[tuple[float, np.ndarray]] = deque()  # duration, integrated difference (3,) in rad
        self._seconds = 0.0
        self._sum = np.zeros(3)

    def add(self, by_gyroscope: np.ndarray, by_images: np.ndarray, seconds: float) -> None:
        """Add a rotation (3, 3) start_from_end of the IMU without correction, and the same one by images."""
        difference = log_so3(by_images.T @ by_gyroscope)
        if not seconds > 0 or np.linalg.norm(difference) > _OUTLIER_RAD_S * seconds + 3 * _VISUAL_STD:
            return
        self._differences.append((seconds, difference))
        self._seconds += seconds
        self._sum += difference
        while self._seconds > _BIAS_WINDOW_S and len(self._differences) > 1:
            old_s, old = self._differences.popleft()
            self._seconds -= old_s
            self._sum -= old

    @property
    def bias(self) -> np.ndarray:
        """The bias (3,) in rad/s; the estimate is drawn to zero while there is little evidence."""
        if self._seconds < _MIN_WINDOW_S:
            return np.zeros(3)
        variance = 2 * _VISUAL_STD**2 / self._seconds**2  # errors of consecutive images cancel in the sum
        return self._sum / self._seconds * (_PRIOR_STD**2 / (_PRIOR_STD**2 + variance))
