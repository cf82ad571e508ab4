"""Settings of the IMU."""

from __future__ import annotations

from dataclasses import dataclass

from ros_matching.config import Config, parameter
from ros_matching.datatypes import ImuNoise


@dataclass(frozen=True)
class ImuConfig(Config):
    """Settings of the IMU. The noise is that of a consumer-grade IMU; a calibrated value should be used where known."""

    gyroscope_noise: float = parameter(
        5e-4, "white noise of the gyroscope, in rad/s/sqrt(Hz)", minimum=1e-7, maximum=1.0
    )
    accelerometer_noise: float = parameter(
        5e-3, "white noise of the accelerometer, in m/s2/sqrt(Hz)", minimum=1e-6, maximum=10.0
    )
    gyroscope_walk: float = parameter(
        2e-5, "random walk of the gyroscope's bias, in rad/s2/sqrt(Hz)", minimum=0.0, maximum=1.0
    )
    accelerometer_walk: float = parameter(
        3e-3, "random walk of the accelerometer's bias, in m/s3/sqrt(Hz)", minimum=0.0, maximum=10.0
    )
    gyroscope_bias: float = parameter(
        0.05, "standard deviation of the gyroscope's bias at the start, in rad/s", minimum=0.0001, maximum=1.0
    )
    accelerometer_bias: float = parameter(
        0.3, "standard deviation of the accelerometer's bias at the start, in m/s2", minimum=0.001, maximum=5.0
    )
    time_offset_s: float = parameter(
        0.0,
        "added to the stamp of an image to get its time on the clock of the IMU, in seconds (timeshift_cam_imu)",
        minimum=-1.0,
        maximum=1.0,
    )
    gravity_m_s2: float = parameter(9.81, "magnitude of gravity, in m/s2", minimum=1.0, maximum=30.0)
    max_gap_s: float = parameter(
        0.1, "longest time between two samples; over a longer gap nothing is integrated", minimum=0.001, maximum=1.0
    )
    bridge_s: float = parameter(
        2.0,
        "longest time without a pose by images that the IMU bridges, in seconds; 0: never",
        minimum=0.0,
        maximum=10.0,
    )

    @property
    def noise(self) -> ImuNoise:
        """The noise of the samples."""
        return ImuNoise(self.gyroscope_noise, self.accelerometer_noise, self.gyroscope_walk, self.accelerometer_walk)
