"""Errors of a camera's intrinsics: what they do to projections, and to a bundle adjustment that takes them for exact.

The four errors are the relative error of the focal length, the shift of the principal point in x and y (pixels), and
the coefficient of r^2 in the remaining radial distortion. They are the same in every image, so that nothing averages
them out, and poses and points absorb most of their effect, so that it does not appear in residuals: a focal length that
is 1 % too large makes a turn of 90 degrees 0.9 degrees too small. An adjustment of cameras c and points p under fixed
intrinsics moves by (c, p) when these change by theta; to first order (the "consider" covariance of S. F. Schmidt,
"Application of State-Space Methods to Navigation Problems", 1966) the normal equations have another right-hand side:

    S c = -(g_c - W V^-1 g_p),    p = -V^-1 (g_p + W^T c),    g = sum J^T w rho,

with ``rho`` the derivative of a residual by theta. That of an observation by a fixed camera includes the camera's own
derivative: the fixed cameras of a window are those of earlier windows, which moved as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import Camera

COUNT = 4
FOCAL, RADIAL = 0, 3  # rows of the focal length and of the radial distortion


@dataclass(frozen=True)
class IntrinsicsStds:
    """Standard deviations of the errors: of the focal length relative, of the principal point as fraction of the width.

    ``radial`` is that of the coefficient of r^2.
    """

    focal: float
    center: float
    radial: float

    def of(self, camera: Camera) -> np.ndarray:
        """Return them (4,) in the units of the errors of a camera."""
        center_px = self.center * camera.width
        return np.array([self.focal, center_px, center_px, self.radial])


def projections_by_intrinsics(camera: Camera, xy: np.ndarray) -> np.ndarray:
    """Derivatives (4, 2, N) of the pixels of normalised coordinates (2, N) by the errors of the intrinsics."""
    focal = np.array([[camera.fx], [camera.fy]])
    derivatives = np.zeros((COUNT, *xy.shape))
    derivatives[FOCAL] = focal * xy
    derivatives[1, 0] = derivatives[2, 1] = 1.0
    derivatives[RADIAL] = derivatives[FOCAL] * np.sum(xy**2, axis=0)
    return derivatives
