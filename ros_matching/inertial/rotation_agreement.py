"""Agreement of poses by images with the gyroscope: which of them, as of blurred images, have a wrong rotation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ros_matching.geometry.se3 import rotation_angle_deg
from ros_matching.inertial.imu import Imu

# Largest difference of two rotations: at once, as a fraction of the rotation up to a limit, and in a second
_LIMIT_DEG, _LIMIT_FRACTION, _LIMIT_BY_TURN_DEG, _LIMIT_DEG_S = 0.3, 0.015, 0.3, 0.2
_STREAK = 3  # poses in a row that agree with each other, from which on they count again


def rotations_agree(by_images: np.ndarray, by_gyroscope: np.ndarray, before: np.ndarray, seconds: float) -> bool:
    """Return True if two rotations (3, 3) agree, some seconds after the rotation ``before``."""
    turned_deg = float(rotation_angle_deg(before.T @ by_gyroscope))
    limit_deg = _LIMIT_DEG + min(_LIMIT_FRACTION * turned_deg, _LIMIT_BY_TURN_DEG) + _LIMIT_DEG_S * seconds
    return bool(rotation_angle_deg(by_images.T @ by_gyroscope) < limit_deg)


def agreeing(imu: Imu, stamps_ns: Sequence[int], world_from_camera: np.ndarray) -> np.ndarray:
    """Return where (N,) poses (N, 4, 4) in the order of time agree with the gyroscope since the last one that does.

    After a turn with inaccurate extrinsics no pose would agree again: some in a row that agree with each other do. All
    do where samples are missing, or where most do not: then the gyroscope, not the images, is in doubt.
    """
    kept = np.ones(len(stamps_ns), dtype=bool)
    last = streak = 0
    for row in range(1, len(stamps_ns)):
        streak = streak + 1 if _agree(imu, stamps_ns, world_from_camera, row - 1, row) else 0
        kept[row] = streak >= _STREAK or _agree(imu, stamps_ns, world_from_camera, last, row)
        if kept[row]:
            last = row
    return kept if 2 * np.count_nonzero(kept) > len(kept) else np.ones_like(kept)


def _agree(imu: Imu, stamps_ns: Sequence[int], world_from_camera: np.ndarray, first: int, second: int) -> bool:
    """Return False if the gyroscope contradicts the rotation from one pose to another."""
    turned = imu.camera_rotation(stamps_ns[first], stamps_ns[second])
    if turned is None:
        return True
    before, seconds = world_from_camera[first, :3, :3], (stamps_ns[second] - stamps_ns[first]) * 1e-9
    return rotations_agree(world_from_camera[second, :3, :3], before @ turned.T, before, seconds)
