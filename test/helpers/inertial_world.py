"""A camera with an IMU on a smooth random motion: exact poses and samples, without images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline
from scipy.spatial.transform import Rotation

from ros_matching.datatypes import ImuSamples
from ros_matching.scenes.simulated_imu import simulate_imu

FIRST_STAMP_NS = 1_000_000_000
_KEY_S = 0.5


@dataclass
class Motion:
    """A camera that moves by ``metres`` and turns by ``radians`` (standard deviations of control points).

    The axes of the camera are those of the images; z is up in the world, and the camera looks ahead.
    """

    duration_s: float = 10.0
    metres: float = 0.4
    radians: float = 0.25
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    seed: int = 0

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        keys = rng.standard_normal((int(self.duration_s / _KEY_S) + 5, 6))
        keys *= [self.metres] * 3 + [self.radians] * 3
        self._spline = BSpline(np.arange(-3.0, len(keys) + 1.0), keys, 3)

    def __call__(self, times_s: np.ndarray) -> np.ndarray:
        """Poses world_from_camera (T, 4, 4)."""
        times_s = np.asarray(times_s, float)
        states = self._spline(times_s / _KEY_S)
        poses = np.tile(np.eye(4), (len(times_s), 1, 1))
        ahead = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
        poses[:, :3, :3] = Rotation.from_rotvec(states[:, 3:]).as_matrix() @ ahead
        poses[:, :3, 3] = states[:, :3] + times_s[:, None] * np.array(self.velocity)
        return poses

    def samples(self, grade: str = "none", rate_hz: float = 200.0) -> ImuSamples:
        """The samples of the IMU, with the axes of ``simulated_imu.IMU_FROM_CAMERA``."""
        return simulate_imu(self, self.duration_s, rate_hz, grade, self.seed, FIRST_STAMP_NS)

    def stamps_ns(self, rate_hz: float) -> np.ndarray:
        """Stamps of images at a rate, from the first sample on."""
        times_s = np.arange(int(self.duration_s * rate_hz) + 1) / rate_hz
        return FIRST_STAMP_NS + np.round(times_s * 1e9).astype(np.int64)

    def poses(self, stamps_ns: np.ndarray) -> np.ndarray:
        """Poses world_from_camera (N, 4, 4) at stamps."""
        return self((np.asarray(stamps_ns) - FIRST_STAMP_NS) * 1e-9)
