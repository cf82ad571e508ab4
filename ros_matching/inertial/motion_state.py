"""The state of motion that images and IMU determine together: gravity, velocity, biases, with their covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class MotionState:
    """State of the IMU at the stamp of an image.

    ``down`` (3,) is the unit direction of gravity in the world of the tracker; ``velocity`` (3,) of the IMU in m/s
    along its axes; ``bias`` (6,) of accelerometer and gyroscope. ``covariance`` (11, 11) is that of velocity, biases
    and the two angles of gravity, ``log_scale`` the metres in one map unit as logarithm, with its standard deviation.
    """

    stamp_ns: int
    down: np.ndarray
    velocity: np.ndarray
    bias: np.ndarray
    covariance: np.ndarray
    log_scale: float
    log_scale_std: float
