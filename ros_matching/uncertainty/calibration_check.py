"""Whether the images contradict the calibration of the camera.

A wrong focal length, as of another resolution or a guess, or a forgotten distortion gives poses that look good and are
wrong: turns and scale are off by as much. The windows of the map measure the errors (``geometry.self_calibration``).
"""

from __future__ import annotations

import logging

import numpy as np

from ros_matching.geometry.intrinsics_error import FOCAL, RADIAL
from ros_matching.geometry.self_calibration import IntrinsicsEvidence, estimated_errors

_LOGGER = logging.getLogger(__name__)
_MIN_WINDOWS = 4
_MIN_ERRORS = {FOCAL: 0.02, RADIAL: 0.04}  # smaller ones are usual
_SIGNIFICANT = 3.0  # standard deviations
_MIN_AGREEMENT = 0.8  # of the windows


class CalibrationCheck:
    """Collects the evidence of windows; ``doubt`` is a sentence once it contradicts the calibration."""

    def __init__(self) -> None:
        self._evidence: list[IntrinsicsEvidence] = []
        self.doubt = ""

    def add(self, evidence: IntrinsicsEvidence) -> None:
        """Add the evidence of a window that does not overlap much with earlier ones."""
        self._evidence.append(evidence)
        if len(self._evidence) < _MIN_WINDOWS:
            return
        each = np.stack([estimated_errors([one])[0] for one in self._evidence])
        errors, stds = estimated_errors(self._evidence)
        agreement = np.mean(np.sign(each) == np.sign(errors), axis=0)
        wrong = [
            row
            for row, least in _MIN_ERRORS.items()
            if abs(errors[row]) > max(least, _SIGNIFICANT * stds[row]) and agreement[row] >= _MIN_AGREEMENT
        ]
        known, self.doubt = self.doubt, "; ".join(_sentence(row, errors[row], stds[row]) for row in wrong)
        if self.doubt and not known:
            _LOGGER.warning("doubtful calibration: %s", self.doubt)


def _sentence(row: int, error: float, std: float) -> str:
    if row == FOCAL:
        longer = "longer" if error > 0 else "shorter"
        return (
            f"the images fit a focal length that is {abs(error):.0%} or more {longer} than that of the calibration "
            f"(standard deviation {std:.1%}): turns and scale are wrong by as much; calibrate the camera at this "
            "resolution and focus"
        )
    return (
        f"the images have a radial distortion (coefficient of r^2 {error:+.2f}, standard deviation {std:.2f}) that the "
        "calibration does not have: straight lines must stay straight; calibrate the distortion, or undistort the "
        "images"
    )
