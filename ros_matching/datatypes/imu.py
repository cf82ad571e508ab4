"""Samples of an inertial measurement unit (IMU): angular rate and specific force along its own axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes.arrays import check_pose, check_shape
from ros_matching.errors import DataTypeError


@dataclass(frozen=True, eq=False)
class ImuSamples:
    """N samples along the axes of the IMU.

    ``stamps_ns`` (N,) int64, ``gyroscope`` (N, 3) rad/s and ``accelerometer`` (N, 3) m/s2: at rest, with z up, it
    measures +9.81 along z. The arrays are read-only. The order of the stamps is not checked here, see
    ``inertial.checks``.
    """

    stamps_ns: np.ndarray
    gyroscope: np.ndarray
    accelerometer: np.ndarray

    def __post_init__(self) -> None:
        check_shape("ImuSamples.stamps_ns", self.stamps_ns, (len(self.stamps_ns),))
        if self.stamps_ns.dtype != np.int64:
            raise DataTypeError(f"ImuSamples.stamps_ns must be int64 nanoseconds, got {self.stamps_ns.dtype}")
        for name in ("gyroscope", "accelerometer"):
            values = np.asarray(getattr(self, name), np.float64)
            check_shape(f"ImuSamples.{name}", values, (len(self.stamps_ns), 3))
            if not np.isfinite(values).all():
                row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
                raise DataTypeError(f"ImuSamples.{name} must be finite, got {values[row].tolist()} in row {row}")
            object.__setattr__(self, name, _read_only(values))
        object.__setattr__(self, "stamps_ns", _read_only(self.stamps_ns))

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def __getitem__(self, rows: slice | np.ndarray) -> ImuSamples:
        return ImuSamples(self.stamps_ns[rows], self.gyroscope[rows], self.accelerometer[rows])

    @property
    def rate_hz(self) -> float:
        """Median rate; NaN with fewer than two samples."""
        if len(self) < 2:
            return float("nan")
        return float(1e9 / max(np.median(np.diff(self.stamps_ns)), 1.0))


@dataclass(frozen=True)
class ImuNoise:
    """Noise of an IMU, as of Kalibr's ``imu.yaml`` or of a data sheet.

    White noise ``gyroscope`` in rad/s/sqrt(Hz) and ``accelerometer`` in m/s2/sqrt(Hz), random walks of the biases
    ``gyroscope_walk`` in rad/s2/sqrt(Hz) and ``accelerometer_walk`` in m/s3/sqrt(Hz).
    """

    gyroscope: float
    accelerometer: float
    gyroscope_walk: float
    accelerometer_walk: float

    def __post_init__(self) -> None:
        for name in ("gyroscope", "accelerometer", "gyroscope_walk", "accelerometer_walk"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise DataTypeError(f"ImuNoise.{name} must be a finite number from 0 on, got {value!r}")


@dataclass(frozen=True, eq=False)
class ImuRecording:
    """The IMU of a recording: its samples, and what the recording knows about it.

    ``imu_from_camera`` (4, 4), in metres, takes points of the camera that delivers the frames into the IMU's axes.
    ``time_offset_s`` is added to the stamp of an image to get the time on the IMU's clock. ``None``: not known.
    """

    samples: ImuSamples
    origin: str  # of the samples, for messages
    imu_from_camera: np.ndarray | None = None
    noise: ImuNoise | None = None
    time_offset_s: float | None = None

    def __post_init__(self) -> None:
        if self.imu_from_camera is not None:
            check_pose("ImuRecording.imu_from_camera", self.imu_from_camera)


def _read_only(values: np.ndarray) -> np.ndarray:
    values = np.array(values)
    values.flags.writeable = False
    return values
