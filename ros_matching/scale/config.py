"""The settings of the scale: which anchor tells it, and how far that is believed."""

from __future__ import annotations

from dataclasses import dataclass

from ros_matching.config import Config, parameter


@dataclass(frozen=True)
class ScaleConfig(Config):
    """Settings of ``ScaleEstimator`` and of the anchors. Uncertainties are one sigma, as a share of the length."""

    anchor: str = parameter(
        "none",
        "what tells the scale: depth (images registered to the camera's), stereo (a partner camera), wheel (odometry), "
        "height (the camera's over the ground), or none",
        choices=("none", "depth", "stereo", "wheel", "height"),
    )
    metric_sigma: float = parameter(
        0.05, "uncertainty of the scale up to which lengths are called metric", minimum=0.001, maximum=0.3
    )
    anchored_sigma: float = parameter(
        0.2, "uncertainty of the scale up to which it is called anchored, beyond metric_sigma", minimum=0.001, maximum=1
    )
    drift_sigma: float = parameter(
        0.01, "how much the scale may drift from one keyframe to the next", minimum=0.0001, maximum=0.2
    )
    min_landmarks: int = parameter(15, "landmarks that a measurement of the scale needs", minimum=5, maximum=1000)
    depth_min_m: float = parameter(0.2, "depth images: nearer values are not used, in metres", minimum=0)
    depth_max_m: float = parameter(20.0, "depth images: farther values are not used, in metres", minimum=0.1)
    depth_sigma: float = parameter(
        0.01, "depth images: error that all their values share, as of a calibration", minimum=0, maximum=0.2
    )
    stereo_sigma: float = parameter(
        0.01, "stereo: error of the baseline and of the calibration", minimum=0, maximum=0.2
    )
    stereo_epipolar_px: float = parameter(
        1.5, "stereo: largest distance of a match from its epipolar line, in pixels of a 640 wide image", minimum=0.1
    )
    wheel_sigma: float = parameter(
        0.02, "wheel odometry: error of a length, as a share of it (slip, wheel radius)", minimum=0.001, maximum=0.2
    )
    wheel_noise_m: float = parameter(0.005, "wheel odometry: error of a position, in metres", minimum=0.0001)
    camera_height_m: float = parameter(
        0.0, "height: of the camera over the ground, in metres; needed where the anchor is height", minimum=0
    )
    camera_pitch_deg: float = parameter(
        0.0,
        "height: how far the camera looks down, in degrees, where its mounting is not known from elsewhere",
        minimum=-89,
        maximum=89,
    )
    height_sigma: float = parameter(
        0.02, "height: error of camera_height_m, as a share of it (suspension, tyres)", minimum=0.001, maximum=0.2
    )
    ground_tilt_deg: float = parameter(
        15.0, "height: largest angle between the ground and the camera's horizontal", minimum=1, maximum=45
    )
