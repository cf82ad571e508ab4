"""The calibration that the images of a source were undistorted with, for reports."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ros_matching.datatypes import Camera

_USUAL_UNITS = (1000.0, 5000.0, 10000.0, 100.0)  # a metre
_NEAR_USUAL = 0.15
_SAME_UNIT = 1.3  # ratio of lengths up to which they may be in one unit: other errors are smaller


@dataclass(frozen=True)
class UsedCalibration:
    """The ``camera`` as it was calibrated, and the ``origin`` of the calibration: a file or a topic.

    ``depth_units_per_metre`` is what the values of depth images were divided by, ``None`` without depth images;
    ``depth_doubt`` says why that may be wrong, if it may.
    """

    origin: str
    camera: Camera
    depth_units_per_metre: float | None = None
    depth_doubt: str = ""

    def depth_contradiction(self, ratio: float, lengths: str) -> str:
        """Say that ``lengths``, known from elsewhere, are ``ratio`` times those by depth; empty if they agree."""
        if self.depth_units_per_metre is None or not math.isfinite(ratio) or 1 / _SAME_UNIT < ratio < _SAME_UNIT:
            return ""
        units = self.depth_units_per_metre / ratio
        units = next((usual for usual in _USUAL_UNITS if abs(units / usual - 1) < _NEAR_USUAL), units)
        return (
            f"{lengths} are {ratio:.3g} times as long as by the depth images: if they are in metres, the unit of the "
            f"depth images is wrong; depth_scale={units:.4g} instead of "
            f"{self.depth_units_per_metre:g} would agree"
        )

    def values(self) -> dict[str, Any]:
        """The calibration, ready for JSON."""
        camera = self.camera
        return {
            "origin": self.origin,
            "model": camera.distortion_model.value,
            "fx": camera.fx,
            "fy": camera.fy,
            "cx": camera.cx,
            "cy": camera.cy,
            "skew": camera.skew,
            "distortion": list(camera.distortion),
            "width": camera.width,
            "height": camera.height,
            "depth_units_per_metre": self.depth_units_per_metre,
            "depth_doubt": self.depth_doubt or None,
        }

    def summary(self) -> str:
        """The calibration in a line."""
        camera = self.camera
        model = camera.distortion_model.value if camera.has_distortion else "no distortion"
        coefficients = f" ({', '.join(f'{value:.4g}' for value in camera.distortion)})" if camera.has_distortion else ""
        skew = f" skew {camera.skew:.4g}" if camera.skew else ""
        return (
            f"{self.origin}: {camera.width}x{camera.height}, fx {camera.fx:.2f} fy {camera.fy:.2f} cx {camera.cx:.2f} "
            f"cy {camera.cy:.2f}{skew}, {model}{coefficients}"
        )
