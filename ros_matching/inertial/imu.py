"""The IMU of a camera: buffered samples with their calibration, as the tracker and the scale use them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ros_matching.datatypes import ImuNoise, ImuRecording, ImuSamples
from ros_matching.errors import ImuError
from ros_matching.geometry.se3 import exp_so3
from ros_matching.inertial.buffer import ImuBuffer
from ros_matching.inertial.checks import ImuFinding, check_samples, dropped_findings
from ros_matching.inertial.config import ImuConfig
from ros_matching.inertial.gyroscope import GyroscopeBias, integrated_rotation
from ros_matching.inertial.motion_state import MotionState
from ros_matching.inertial.rotation_check import RotationCheck
from ros_matching.inertial.vibration import with_vibration

_CHECKED_S = 10.0  # newest samples that are checked
_VIBRATION_S = 1.0  # over which vibration is measured, at least
_GRAVITY_S = 1.0  # over which the accelerometer is averaged for the direction of gravity
_STILL_RATE, _STILL_FORCE = 0.03, 0.15  # spread of rates in rad/s and forces in m/s2 of an IMU at rest
_STILL_S, _STILL_SAMPLES = 0.5, 10
_MAX_STATES = 12  # newest states of motion that are kept


def is_quiet(samples: ImuSamples, gyroscope_bias: np.ndarray) -> bool:
    """Return True if samples do not vary and do not rotate: the IMU stands, or moves at constant velocity."""
    rates = np.abs((samples.gyroscope - gyroscope_bias).mean(axis=0))
    return bool(rates.max() < _STILL_RATE and samples.accelerometer.std(axis=0).max() < _STILL_FORCE)


class Imu:
    """Samples between stamps of images, on the image clock, and the rotation of the camera by the gyroscope."""

    def __init__(
        self,
        config: ImuConfig,
        buffer: ImuBuffer,
        imu_from_camera: np.ndarray | Callable[[], np.ndarray | None],
    ) -> None:
        """``imu_from_camera`` (4, 4), or a function that returns it, ``None`` while it is unknown."""
        self.config = config
        self.buffer = buffer
        self._extrinsics = imu_from_camera if callable(imu_from_camera) else lambda: imu_from_camera
        self._bias, self._check = GyroscopeBias(), RotationCheck()
        self._states: deque[MotionState] = deque(maxlen=_MAX_STATES)
        self.wait_s = 0.0  # longest time that ``wait_for`` waits: samples of a live IMU may come after the image

    @classmethod
    def of(cls, recording: ImuRecording, config: ImuConfig | None = None) -> Imu:
        """Make the IMU of a recording; what the recording knows replaces the defaults of ``config``.

        Raises ``ImuError`` if the extrinsics are not known.
        """
        if recording.imu_from_camera is None:
            raise ImuError(
                f"{recording.origin}: the extrinsics of camera and IMU are not known; give them (--imu-extrinsics "
                "FILE: Kalibr's camchain.yaml, or the rows of imu_from_camera)"
            )
        config, default = config or ImuConfig(), ImuConfig()
        known: dict[str, float] = {}
        if recording.noise is not None:
            noise = recording.noise
            known = {
                "gyroscope_noise": max(noise.gyroscope, 1e-6),
                "accelerometer_noise": max(noise.accelerometer, 1e-5),
                "gyroscope_walk": noise.gyroscope_walk,
                "accelerometer_walk": noise.accelerometer_walk,
            }
        if recording.time_offset_s is not None:
            known["time_offset_s"] = recording.time_offset_s
        known = {name: value for name, value in known.items() if getattr(config, name) == getattr(default, name)}
        return cls(replace(config, **known), ImuBuffer.of(recording.samples), recording.imu_from_camera)

    def reset(self) -> None:
        """Forget what was estimated; the samples stay."""
        self._bias.reset()
        self._check.reset()
        self._states.clear()

    @property
    def state(self) -> MotionState | None:
        """The newest known state of motion; ``None`` while unknown."""
        return self._states[-1] if self._states else None

    @state.setter
    def state(self, state: MotionState | None) -> None:
        if state is None:
            self._states.clear()
        else:
            self._states.append(state)

    def state_before(self, stamp_ns: int) -> MotionState | None:
        """Return the newest known state at or before a stamp, else the oldest one; ``None`` while unknown."""
        return next((s for s in reversed(self._states) if s.stamp_ns <= stamp_ns), next(iter(self._states), None))

    @property
    def imu_from_camera(self) -> np.ndarray | None:
        """The pose (4, 4) of the camera along the axes of the IMU; ``None`` while unknown."""
        return self._extrinsics()

    @property
    def gyroscope_bias(self) -> np.ndarray:
        """The best known bias (3,) of the gyroscope in rad/s."""
        return self._bias.bias if self.state is None else self.state.bias[3:]

    def between(self, start_ns: int, end_ns: int) -> ImuSamples | None:
        """Return the samples between two stamps of images, with stamps of the IMU; ``None`` if not covered."""
        offset_ns = round(self.config.time_offset_s * 1e9)
        return self.buffer.between(start_ns + offset_ns, end_ns + offset_ns, self.config.max_gap_s)

    def wait_for(self, stamp_ns: int) -> bool:
        """Wait for the samples up to the stamp of an image, for ``wait_s`` at most; returns True if they are here."""
        return self.buffer.wait_for(stamp_ns + round(self.config.time_offset_s * 1e9), self.wait_s)

    def camera_rotation(self, start_ns: int, end_ns: int) -> np.ndarray | None:
        """Return end_from_start (3, 3) of the camera between two stamps, by the gyroscope; ``None`` if unknown."""
        extrinsics, samples = self.imu_from_camera, self.between(start_ns, end_ns)
        if extrinsics is None or samples is None:
            return None
        start_from_end = integrated_rotation(samples, self.gyroscope_bias)
        return extrinsics[:3, :3].T @ start_from_end.T @ extrinsics[:3, :3]

    def add_rotation(self, start_ns: int, end_ns: int, start_from_end: np.ndarray) -> None:
        """Add a rotation (3, 3) of the camera between two images, by the images: for the bias and the checks."""
        extrinsics, samples = self.imu_from_camera, self.between(start_ns, end_ns)
        self._check.add(start_ns, end_ns, start_from_end)
        if extrinsics is None or samples is None:
            return
        by_images = extrinsics[:3, :3] @ start_from_end @ extrinsics[:3, :3].T
        self._bias.add(integrated_rotation(samples, np.zeros(3)), by_images, (end_ns - start_ns) * 1e-9)

    def is_still(self, stamp_ns: int) -> bool:
        """Return True if the IMU did not move in the time before an image: its samples hardly vary."""
        samples = self.between(stamp_ns - round(_STILL_S * 1e9), stamp_ns)
        return samples is not None and len(samples) >= _STILL_SAMPLES and is_quiet(samples, self.gyroscope_bias)

    def noise_at(self, start_ns: int, end_ns: int) -> ImuNoise:
        """Return the noise of the samples between two stamps of images, with vibration."""
        samples = self.between(min(start_ns, end_ns - round(_VIBRATION_S * 1e9)), end_ns)
        samples = self.between(start_ns, end_ns) if samples is None else samples
        return self.config.noise if samples is None else with_vibration(self.config.noise, samples)

    def up_in_camera(self, stamp_ns: int) -> np.ndarray | None:
        """Return the direction (3,) that is up, along the axes of the camera at a stamp, by the mean specific force.

        The forces of the last second are rotated by the gyroscope; a change of speed in that time is an error.
        """
        extrinsics = self.imu_from_camera
        span = self.buffer.span_ns
        if extrinsics is None or span is None:
            return None
        start_ns = max(stamp_ns - round(_GRAVITY_S * 1e9), span[0] - round(self.config.time_offset_s * 1e9))
        samples = self.between(start_ns, stamp_ns)
        if samples is None:
            return None
        seconds = np.diff(samples.stamps_ns) * 1e-9
        rates = 0.5 * (samples.gyroscope[1:] + samples.gyroscope[:-1]) - self.gyroscope_bias
        end_from_now, total = np.eye(3), samples.accelerometer[-1].copy()
        for step, force in zip(exp_so3(-rates * seconds[:, None])[::-1], samples.accelerometer[-2::-1], strict=True):
            end_from_now = end_from_now @ step
            total += end_from_now @ force
        up = extrinsics[:3, :3].T @ total
        return up / np.linalg.norm(up)

    def findings(self) -> list[ImuFinding]:
        """Return the faults of the newest samples, and those that the rotations of images show."""
        found = check_samples(self.buffer.newest(_CHECKED_S), self.config)
        counts = self.buffer.counts
        found += dropped_findings(counts.repeated, counts.unordered, counts.accepted)
        extrinsics = self.imu_from_camera
        if extrinsics is not None and not found:
            found += self._check.findings(self.buffer, extrinsics, self.config)
        return found
