"""What a ``sensor_msgs/CameraInfo`` says of its images; takes any object with the message's fields."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ros_matching.errors import CalibrationError
from ros_matching.io.calibration import Calibration, calibration_from_values


def is_rectified(image_topic: str) -> bool:
    """Whether a topic's name says that its images are rectified (``image_rect``, ``image_rect_color``)."""
    return "image_rect" in image_topic


def calibration_from_info(info: Any, origin: str, *, rectified: bool = False) -> Calibration:
    """The calibration of the images that a ``CameraInfo`` comes with.

    K is of the full sensor: binning and the region of interest are taken into account, pixel centres at integers. Of
    ``rectified`` images the intrinsics are those of P, without distortion. Raises ``CalibrationError`` for a camera
    that was never calibrated (K all zero) or a distortion model that is not known.
    """
    if info.width == 0 or info.height == 0:
        raise CalibrationError(
            f"{origin}: its images are {info.width}x{info.height}, it is not calibrated; calibrate it"
        )
    k = np.array(info.p, dtype=np.float64).reshape(3, 4)[:, :3] if rectified else np.reshape(info.k, (3, 3))
    binning = np.array([max(1, info.binning_x), max(1, info.binning_y)])
    roi = info.roi
    whole = roi.width == 0 or roi.height == 0
    offset = np.zeros(2) if whole else np.array([roi.x_offset, roi.y_offset])
    size = np.array([info.width, info.height] if whole else [roi.width, roi.height]) // binning
    calibration = calibration_from_values(
        origin, k, "none" if rectified else info.distortion_model, () if rectified else info.d
    )
    if calibration.is_y_up:
        raise CalibrationError(f"{origin}: expected a positive fy, got {k.tolist()}; ROS images have their y axis down")
    cx, cy = (np.array([calibration.cx, calibration.cy]) - offset + 0.5) / binning - 0.5
    return replace(
        calibration,
        fx=calibration.fx / float(binning[0]),
        fy=calibration.fy / float(binning[1]),
        cx=float(cx),
        cy=float(cy),
        skew=calibration.skew / float(binning[0]),
        image_size=(int(size[0]), int(size[1])),
    )
