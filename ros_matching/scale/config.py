"""Settings of the scale: its source, and the uncertainties of the estimator."""

from __future__ import annotations

from dataclasses import dataclass

from ros_matching.config import Config, parameter


@dataclass(frozen=True)
class ScaleConfig(Config):
    """Settings of ``ScaleEstimator`` and the scale sources. Uncertainties are relative standard deviations."""

    source: str = parameter(
        "none",
        "scale source: depth (images registered to the camera), stereo (a right camera), wheel (odometry), height "
        "(of the camera above the ground), imu, or none",
        choices=("none", "depth", "stereo", "wheel", "height", "imu"),
        former_name="anchor",
    )
    metric_sigma: float = parameter(
        0.05, "uncertainty of the scale below which it is metric", minimum=0.001, maximum=0.3
    )
    anchored_sigma: float = parameter(
        0.2, "uncertainty of the scale below which it is anchored, above metric_sigma", minimum=0.001, maximum=1
    )
    drift_sigma: float = parameter(
        0.01, "drift of the scale from one keyframe to the next", minimum=0.0001, maximum=0.2
    )
    min_landmarks: int = parameter(15, "fewest landmarks of a measurement of the scale", minimum=5, maximum=1000)
    depth_min_m: float = parameter(0.2, "depth images: least depth, in metres", minimum=0)
    depth_max_m: float = parameter(20.0, "depth images: largest depth, in metres", minimum=0.1)
    depth_sigma: float = parameter(
        0.01, "depth images: common relative error of all values, as of a calibration", minimum=0, maximum=0.2
    )
    stereo_sigma: float = parameter(
        0.01, "stereo: error of the baseline and of the calibration", minimum=0, maximum=0.2
    )
    stereo_epipolar_px: float = parameter(
        1.5, "stereo: largest distance of a match from its epipolar line, in pixels of a 640 wide image", minimum=0.1
    )
    wheel_sigma: float = parameter(
        0.02, "wheel odometry: relative error of a length (slip, wheel radius)", minimum=0.001, maximum=0.2
    )
    wheel_noise_m: float = parameter(0.005, "wheel odometry: error of a position, in metres", minimum=0.0001)
    camera_height_m: float = parameter(
        0.0, "height: of the camera above the ground, in metres; required for the source height", minimum=0
    )
    camera_pitch_deg: float = parameter(
        0.0,
        "height: downward pitch of the camera, in degrees, without known extrinsics",
        minimum=-89,
        maximum=89,
    )
    height_sigma: float = parameter(
        0.02, "height: relative error of camera_height_m (suspension, tyres)", minimum=0.001, maximum=0.2
    )
    imu_sigma: float = parameter(
        0.005, "IMU: common relative error of all accelerations, as of its scale factor", minimum=0.0, maximum=0.2
    )
    ground_tilt_deg: float = parameter(
        15.0, "height: largest angle between the ground and the horizontal plane of the camera", minimum=1, maximum=45
    )
