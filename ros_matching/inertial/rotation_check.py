"""Checks of an IMU against the rotations of images: unit of the gyroscope, axes, and time offset."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

import numpy as np

from ros_matching.datatypes import ImuSamples
from ros_matching.geometry.se3 import log_so3, rotation_angle_deg
from ros_matching.inertial.buffer import ImuBuffer
from ros_matching.inertial.checks import ImuFault, ImuFinding
from ros_matching.inertial.config import ImuConfig

_MIN_ROTATIONS = 20
# Root of the summed squares of the rotations that a check needs: of the unit, of axes and time offset
_MIN_DEGREES_RAD, _MIN_TURN_RAD = 0.05, 0.35
_DEGREES_RATIO = 30.0, 110.0
_AXES_DEG = 5.0
_MIN_SECOND = 0.2  # second singular value of the rotation axes: less is rotation about one axis
_OFFSET_RANGE_S, _OFFSET_STEP_S = 0.3, 0.005
_MIN_OFFSET_S = 0.008
_MIN_SPEED_STD = 0.08  # rad/s, variation of the angular speed that shows a time offset
_MIN_CORRELATION = 0.85
_MOST_LEFT, _MIN_LEFT = 0.5, 0.002  # of 1 - correlation: fraction that may be left, and least value before

_Rotation = tuple[int, int, np.ndarray]  # stamps of two images, and the rotation vector (3,) between them


class RotationCheck:
    """Compares the gyroscope with the rotations of images: unit, axes and time offset.

    ``add`` and ``findings`` may be called from different threads.
    """

    def __init__(self, capacity: int = 300) -> None:
        self._lock = threading.Lock()
        self._rotations: deque[tuple[int, int, np.ndarray]] = deque(maxlen=capacity)

    def reset(self) -> None:
        """Forget all rotations."""
        with self._lock:
            self._rotations.clear()

    def add(self, start_ns: int, end_ns: int, start_from_end: np.ndarray) -> None:
        """Add a rotation (3, 3) of the camera between two stamps of images, by the images."""
        with self._lock:
            self._rotations.append((start_ns, end_ns, log_so3(start_from_end)))

    def findings(self, buffer: ImuBuffer, imu_from_camera: np.ndarray, config: ImuConfig) -> list[ImuFinding]:
        """Return the faults that the rotations so far show; none while they are too few or too small."""
        with self._lock:
            rotations = list(self._rotations)
        by_images, by_gyroscope = _pairs(rotations, buffer, imu_from_camera[:3, :3], config)
        turned = np.sqrt(np.sum(by_images**2))
        if len(by_images) < _MIN_ROTATIONS or turned < _MIN_DEGREES_RAD:
            return []
        ratio = float(np.sqrt(np.sum(by_gyroscope**2) / np.sum(by_images**2)))
        if _DEGREES_RATIO[0] < ratio < _DEGREES_RATIO[1]:
            return [
                ImuFinding(
                    ImuFault.DEGREES,
                    f"the gyroscope turns {ratio:.0f} times as fast as the images: its rates are in degrees; they must "
                    "be in rad/s: multiply them by pi / 180",
                )
            ]
        if turned < _MIN_TURN_RAD:
            return []
        offset = _time_offset(rotations, buffer, config)
        if offset is not None:
            return [offset]
        axes = _axes_finding(by_images, by_gyroscope, imu_from_camera[:3, :3])
        return [] if axes is None else [axes]


def _pairs(
    rotations: Sequence[_Rotation], buffer: ImuBuffer, imu_from_camera: np.ndarray, config: ImuConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Rotation vectors (K, 3) of images and gyroscope, along the axes of the camera."""
    by_images, by_gyroscope = [], []
    offset_ns = round(config.time_offset_s * 1e9)
    for start_ns, end_ns, rotation in rotations:
        samples = buffer.between(start_ns + offset_ns, end_ns + offset_ns, config.max_gap_s)
        if samples is not None:
            by_images.append(rotation)
            by_gyroscope.append(imu_from_camera.T @ _turn(samples))
    return np.reshape(by_images, (-1, 3)), np.reshape(by_gyroscope, (-1, 3))


def _time_offset(rotations: Sequence[_Rotation], buffer: ImuBuffer, config: ImuConfig) -> ImuFinding | None:
    """Find a shift of time at which the angular speeds of images and gyroscope agree better."""
    rows = [row for row in rotations if row[1] - row[0] < 0.2e9]
    if len(rows) < _MIN_ROTATIONS:
        return None
    speeds = np.array([np.linalg.norm(rotation) / ((end - start) * 1e-9) for start, end, rotation in rows])
    if speeds.std() < _MIN_SPEED_STD:
        return None
    shifts = config.time_offset_s + np.arange(-_OFFSET_RANGE_S, _OFFSET_RANGE_S + 1e-9, _OFFSET_STEP_S)
    scores = _correlations(rows, speeds, buffer, shifts)
    middle = len(shifts) // 2
    best = int(np.argmax(scores))
    if not scores[best] > _MIN_CORRELATION or not 0 < best < len(shifts) - 1:
        return None
    curvature = scores[best - 1] - 2 * scores[best] + scores[best + 1]
    peak = shifts[best] + (0.5 * _OFFSET_STEP_S * (scores[best - 1] - scores[best + 1]) / curvature if curvature else 0)
    left, before = 1 - scores[best], 1 - scores[middle]
    if abs(peak - config.time_offset_s) < _MIN_OFFSET_S or before < _MIN_LEFT or left > _MOST_LEFT * before:
        return None
    return ImuFinding(
        ImuFault.TIME_OFFSET,
        f"the gyroscope fits the images at a time offset of {peak:+.3f} s (correlation {scores[best]:.2f}) better "
        f"than at {config.time_offset_s:+.3f} s ({scores[middle]:.2f}); set time_offset_s to {peak:.3f}",
    )


def _turn(samples: ImuSamples) -> np.ndarray:
    """Rotation vector (3,) of a short interval: the integral of the rate."""
    seconds = np.diff(samples.stamps_ns)[:, None] * 1e-9
    return np.sum(0.5 * (samples.gyroscope[1:] + samples.gyroscope[:-1]) * seconds, axis=0)


def _correlations(
    rows: list[tuple[int, int, np.ndarray]], speeds: np.ndarray, buffer: ImuBuffer, shifts: np.ndarray
) -> np.ndarray:
    """Correlation (S,) of the angular speeds (K,) of images with those of the gyroscope at each time shift (S,)."""
    first, last = rows[0][0], rows[-1][1]
    samples = buffer.newest((buffer.span_ns[1] - buffer.span_ns[0]) * 1e-9) if buffer.span_ns else None
    if samples is None or len(samples) < 2:
        return np.zeros(len(shifts))
    inside = (samples.stamps_ns >= first - 1e9) & (samples.stamps_ns <= last + 1e9)
    samples = samples[inside]
    if len(samples) < 2:
        return np.zeros(len(shifts))
    times = (samples.stamps_ns - first) * 1e-9
    rate = samples.gyroscope
    steps = 0.5 * (np.linalg.norm(rate[1:], axis=1) + np.linalg.norm(rate[:-1], axis=1)) * np.diff(times)
    turned = np.concatenate([[0.0], np.cumsum(steps)])
    starts = np.array([(start - first) * 1e-9 for start, _, _ in rows])
    ends = np.array([(end - first) * 1e-9 for _, end, _ in rows])
    scores = np.zeros(len(shifts))
    for row, shift in enumerate(shifts):
        covered = (starts + shift >= times[0]) & (ends + shift <= times[-1])
        if np.count_nonzero(covered) < max(_MIN_ROTATIONS, 0.6 * len(rows)):
            continue
        by_gyroscope = np.interp(ends + shift, times, turned) - np.interp(starts + shift, times, turned)
        by_gyroscope = by_gyroscope[covered] / (ends - starts)[covered]
        if by_gyroscope.std() > 0:
            scores[row] = np.corrcoef(by_gyroscope, speeds[covered])[0, 1]
    return scores


def _axes_finding(by_images: np.ndarray, by_gyroscope: np.ndarray, imu_from_camera: np.ndarray) -> ImuFinding | None:
    """Find the rotation that aligns the rotation axes (K, 3) of both (Wahba's problem), or a mirrored axis."""
    u, singular, vt = np.linalg.svd(by_images.T @ by_gyroscope)
    if singular[1] < _MIN_SECOND * singular[0]:
        return None
    orthogonal = u @ vt
    mirrored = np.linalg.det(orthogonal) < 0 and singular[2] > _MIN_SECOND * singular[0]
    rotation = u @ np.diag([1.0, 1.0, np.linalg.det(orthogonal)]) @ vt
    angle = float(rotation_angle_deg(rotation))
    if mirrored:
        return ImuFinding(
            ImuFault.AXES,
            "the gyroscope's axes are a mirror image of the camera's: one axis has the wrong sign; the axes of an IMU "
            "must be right-handed, check its driver",
        )
    residual = np.sqrt(np.mean(np.sum((by_images - by_gyroscope @ rotation.T) ** 2, axis=1)))
    if angle < _AXES_DEG or residual > 0.5 * np.sqrt(np.mean(np.sum(by_images**2, axis=1))):
        return None
    corrected = imu_from_camera @ rotation.T
    rows = "; ".join(" ".join(f"{value:+.3f}" for value in row) for row in corrected)
    return ImuFinding(
        ImuFault.AXES,
        f"the gyroscope and the images rotate about axes {angle:.0f} degrees apart: the extrinsics imu_from_camera are "
        f"wrong; the images fit the rotation [{rows}]",
    )
