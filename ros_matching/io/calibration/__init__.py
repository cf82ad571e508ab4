"""Calibrations of cameras from files of many kinds (docs/calibrations.md)."""

from ros_matching.io.calibration.calibration import Calibration, calibration_from_values, check_intrinsics
from ros_matching.io.calibration.read import CalibrationChoice, UsedCalibration, read_calibration

__all__ = [
    "Calibration",
    "CalibrationChoice",
    "UsedCalibration",
    "calibration_from_values",
    "check_intrinsics",
    "read_calibration",
]
