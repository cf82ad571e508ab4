"""Agreement of poses by images with the gyroscope: which of them, as of blurred images, have a wrong rotation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ros_matching.geometry.se3 import rotation_angle_deg
from ros_matching.inertial.imu import Imu

# Largest difference of two rotations: at once, as a fraction of the rotation, and in a second
_LIMIT_DEG, _LIMIT_FRACTION, _LIMIT_DEG_S = 0.3, 0.015, 0.2


def rotations_agree(by_images: np.ndarray, by_gyroscope: np.ndarray, before: np.ndarray, seconds: float) -> bool:
    """Return True if two rotations (3, 3) agree, some seconds after the rotation ``before``."""
    turned_deg = float(rotation_angle_deg(before.T @ by_gyroscope))
    limit_deg = _LIMIT_DEG + _LIMIT_FRACTION * turned_deg + _LIMIT_DEG_S * seconds
    return bool(rotation_angle_deg(by_images.T @ by_gyroscope) < limit_deg)


def agreeing(imu: Imu, stamps_ns: Sequence[int], world_from_camera: np.ndarray) -> np.ndarray:
    """Return where (N,) poses (N, 4, 4) in the order of time agree with the gyroscope since the last one that does.

    All do where samples are missing, or where most do not: then the gyroscope, not the images, is in doubt.
    """
    kept = np.ones(len(stamps_ns), dtype=bool)
    last = 0
    for row in range(1, len(stamps_ns)):
        turned = imu.camera_rotation(stamps_ns[last], stamps_ns[row])
        before = world_from_camera[last, :3, :3]
        if turned is not None:
            seconds = (stamps_ns[row] - stamps_ns[last]) * 1e-9
            kept[row] = rotations_agree(world_from_camera[row, :3, :3], before @ turned.T, before, seconds)
        if kept[row]:
            last = row
    return kept if 2 * np.count_nonzero(kept) > len(kept) else np.ones_like(kept)
