"""One mapping of a whole image onto another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ros_matching.datatypes.checks import check_shape
from ros_matching.errors import DataTypeError

_CONTROL_POINTS = np.array([(x, y) for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0)])


@dataclass(frozen=True)
class ImageTransform:
    """Where the pixels of image 0 lie in image 1, as one mapping of the whole image.

    ``image1_from_image0`` (3, 3) is an affine transformation or homography of pixels. Where there is a ``spline``
    (3, 3, 2), a thin-plate spline moves the points before: where the nine points of a regular grid (rows, columns) go,
    in pixels of image 0. The grid spans ``region0``, the first and last pixel (u, v, u, v) of what the transform was
    estimated on. The spline bends in coordinates from -1 to 1 along its sides.
    """

    image1_from_image0: np.ndarray
    region0: tuple[float, float, float, float]
    spline: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_shape("ImageTransform.image1_from_image0", self.image1_from_image0, (3, 3))
        spline = np.zeros((3, 3, 2)) if self.spline is None else self.spline
        check_shape("ImageTransform.spline", spline, (3, 3, 2))
        if not (np.isfinite(self.image1_from_image0).all() and np.isfinite(spline).all()):
            raise DataTypeError("ImageTransform must be finite; an unknown transform is None")
        if not (self.region0[0] < self.region0[2] < np.inf and self.region0[1] < self.region0[3] < np.inf):
            raise DataTypeError(f"ImageTransform.region0 must run from (u, v) to a larger (u, v), got {self.region0}")

    def map_points(self, points_px: np.ndarray) -> np.ndarray:
        """Pixels (N, 2) of image 0 in image 1; NaN beyond a homography's horizon, as seen from the region's middle."""
        matrix, middle = self.image1_from_image0, np.reshape(self.region0, (2, 2)).mean(axis=0)
        if self.spline is not None:
            points_px = _spline_basis((points_px - middle) / (self.region0[2:] - middle)) @ self._spline_coefficients
        mapped = points_px @ matrix[:, :2].T + matrix[:, 2]
        visible = mapped[:, 2:] * (matrix[2, :2] @ middle + matrix[2, 2]) > 0
        return mapped[:, :2] / np.where(visible, mapped[:, 2:], np.nan)

    @cached_property
    def _spline_coefficients(self) -> np.ndarray:
        """What the basis functions are weighted with, (12, 2); the kernel's weights bend without force or moment."""
        control = _spline_basis(_CONTROL_POINTS)
        system = np.block([[control], [control[:, 9:].T, np.zeros((3, 3))]])
        return np.linalg.solve(system, np.concatenate([self.spline.reshape(9, 2), np.zeros((3, 2))]))


def _spline_basis(points: np.ndarray) -> np.ndarray:
    """r^2 log r^2 of the distances from points (N, 2) to the control points, then 1, x and y: (N, 12)."""
    squared = np.square(points[:, None] - _CONTROL_POINTS).sum(axis=2)
    kernel = squared * np.log(np.where(squared == 0, 1, squared))
    return np.column_stack([kernel, np.ones(len(points)), points])
