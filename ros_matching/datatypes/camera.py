"""Cameras."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import numpy as np

from ros_matching.errors import DataTypeError


class DistortionModel(enum.Enum):
    """Lens models, by their ROS names (``sensor_msgs/distortion_models.hpp``)."""

    NONE = "none"
    PLUMB_BOB = "plumb_bob"  # k1 k2 p1 p2 k3
    RATIONAL_POLYNOMIAL = "rational_polynomial"  # k1 k2 p1 p2 k3 k4 k5 k6, then s1 s2 s3 s4, then taux tauy
    EQUIDISTANT = "equidistant"  # k1 k2 k3 k4 (Kannala-Brandt fisheye)
    FOV = "fov"  # omega (Devernay and Faugeras 2001; DSO, PTAM); no ROS name exists


@dataclass(frozen=True)
class Camera:
    """A camera's intrinsics for images of ``width`` x ``height`` pixels; lengths in pixels.

    ``skew`` is the entry of the calibration matrix that shears columns by rows: u = fx x + skew y + cx. ``project``
    and ``unproject`` are the pinhole part: images are undistorted once, where they enter
    (``geometry.camera.Undistorter``), and a camera with distortion or skew refuses them.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion_model: DistortionModel = DistortionModel.NONE
    distortion: tuple[float, ...] = ()
    skew: float = 0.0

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise DataTypeError(f"Camera needs a positive image size, got {self.width}x{self.height}")
        values = (self.fx, self.fy, self.cx, self.cy, *self.distortion, self.skew)
        if not all(np.isfinite(values)) or self.fx <= 0 or self.fy <= 0:
            raise DataTypeError(
                f"Camera needs finite intrinsics with positive focal lengths, got fx={self.fx} fy={self.fy} "
                f"cx={self.cx} cy={self.cy} distortion={self.distortion} skew={self.skew}; is the camera calibrated?"
            )

    @property
    def matrix(self) -> np.ndarray:
        """The calibration matrix K, (3, 3)."""
        return np.array([[self.fx, self.skew, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def is_pinhole(self) -> bool:
        """True if the image follows the pinhole model: neither distortion nor skew."""
        return self.skew == 0 and not self.has_distortion

    @property
    def has_distortion(self) -> bool:
        """True if the lens distorts. An equidistant lens does with coefficients of 0, too; in any model one without
        coefficients does not, as simulators publish it.
        """
        if self.distortion_model in (DistortionModel.NONE, DistortionModel.EQUIDISTANT):
            return self.distortion_model is not DistortionModel.NONE and len(self.distortion) > 0
        return any(self.distortion)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) of points (N, 3) in camera coordinates; NaN for points not in front of the camera."""
        self._require_pinhole()
        z = np.where(points[:, 2] > 0, points[:, 2], np.nan)
        return points[:, :2] / z[:, None] * (self.fx, self.fy) + (self.cx, self.cy)

    def unproject(self, points_px: np.ndarray) -> np.ndarray:
        """Viewing rays (N, 3) with z = 1 of pixels (N, 2)."""
        self._require_pinhole()
        xy = (points_px - (self.cx, self.cy)) / (self.fx, self.fy)
        return np.column_stack([xy, np.ones(len(xy))])

    def scaled(self, width: int, height: int) -> Camera:
        """The same camera for the image resized to ``width`` x ``height`` (pixel centres at integers)."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
            skew=self.skew * sx,
        )

    def _require_pinhole(self) -> None:
        if not self.is_pinhole:
            raise DataTypeError(
                f"Camera with {self.distortion_model.value} distortion and skew {self.skew:g} cannot project as a "
                "pinhole; "
                "undistort its images first (ros_matching.geometry.distortion.Undistorter)"
            )
