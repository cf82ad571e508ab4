"""Lens distortion: points with and without it, and images without it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from ros_matching.datatypes import Camera, DistortionModel
from ros_matching.errors import CalibrationError
from ros_matching.geometry.checks import as_points

_COEFFICIENTS = {
    DistortionModel.PLUMB_BOB: (4, 5),
    DistortionModel.RATIONAL_POLYNOMIAL: (8, 12, 14),
    DistortionModel.EQUIDISTANT: (4,),
    DistortionModel.FOV: (1,),
}
_NEWTON_STEPS = 8
_DERIVATIVE_STEP = 1e-6  # in normalised coordinates
_CONVERGED_PX = 1e-3
_MAX_HALF_ANGLE_DEG = 60.0  # a pinhole image of a wider view is mostly stretched border
_BORDER_POINTS = 64  # on each side of the image
_ZOOM_STEP, _ZOOM_STEPS = 1.02, 40


def distort_points(points_px: np.ndarray, camera: Camera, pinhole: Camera | None = None) -> np.ndarray:
    """Convert pixels (N, 2) of a pinhole camera to those of the distorted ``camera``.

    The pinhole camera has the same intrinsics without distortion, unless ``pinhole`` is given.
    """
    points_px = as_points("points_px", points_px, 2)
    xy = (pinhole or without_distortion(camera)).unproject(points_px)[:, :2]
    return _distort(xy, camera)


def undistort_points(points_px: np.ndarray, camera: Camera, pinhole: Camera | None = None) -> np.ndarray:
    """Convert pixels (N, 2) of the distorted ``camera`` to those of a pinhole camera; inverse of ``distort_points``.

    NaN for pixels that no ray in front of the camera reaches through this lens.
    """
    points_px = as_points("points_px", points_px, 2)
    xy = _undistort(points_px, camera)
    target = pinhole or without_distortion(camera)
    return xy * (target.fx, target.fy) + (target.cx, target.cy)


def without_distortion(camera: Camera) -> Camera:
    """The pinhole camera with the same focal lengths and principal point."""
    return replace(camera, distortion_model=DistortionModel.NONE, distortion=(), skew=0.0)


class Undistorter:
    """Removes the lens distortion of one camera's images.

    ``camera`` is the pinhole camera of the results. They have the size of the originals and see the largest part of
    the view that the original covers without a gap, with the ratio of the focal lengths kept (square pixels stay
    square) and at most 120 degrees wide; so no pixel is invented at the border. The maps are made once. Coefficients
    that are too few or too many, or that describe no lens over the whole image, raise ``CalibrationError``.

    With ``pinhole`` the results are those of this camera, of the same size, and their border is repeated where the
    original does not cover it: for images of one sequence whose intrinsics differ a little.
    """

    def __init__(self, camera: Camera, pinhole: Camera | None = None) -> None:
        _check_coefficients(camera)
        self.source = camera
        self.camera = pinhole or without_distortion(camera)
        self._maps = None
        if pinhole is not None:
            if camera != pinhole:
                self._maps = cv2.convertMaps(*_undistortion_maps(camera, pinhole), cv2.CV_16SC2)
        elif not camera.is_pinhole:
            self.camera, maps = _covered_view(camera)
            self._maps = cv2.convertMaps(*maps, cv2.CV_16SC2)

    def undistort(self, image: np.ndarray) -> np.ndarray:
        """The image (H, W) or (H, W, C) without distortion; the image itself, not a copy, where there is none."""
        return self._remap(image, cv2.INTER_LINEAR)

    def undistort_depth(self, depth: np.ndarray) -> np.ndarray:
        """Depth (H, W) along z, resampled without mixing neighbours, as edges and unknown values need."""
        return self._remap(depth, cv2.INTER_NEAREST)

    def _remap(self, image: np.ndarray, interpolation: int) -> np.ndarray:
        if image.shape[:2] != (self.source.height, self.source.width):
            raise CalibrationError(
                f"the calibration is for {self.source.width}x{self.source.height} images, "
                f"got {image.shape[1]}x{image.shape[0]}; scale the camera to the image (Camera.scaled)"
            )
        if self._maps is None:
            return image
        # Replicated, because a result's border pixel may be half a pixel outside of the original.
        return cv2.remap(image, *self._maps, interpolation, borderMode=cv2.BORDER_REPLICATE)


def _covered_view(camera: Camera) -> tuple[Camera, tuple[np.ndarray, np.ndarray]]:
    """The pinhole camera whose whole image the distorted one covers, and the maps (H, W) from its pixels to that."""
    left, top, right, bottom = _inscribed_rectangle(camera)
    width, height = camera.width, camera.height
    if right > left and bottom > top:
        zoom = max((width - 1) / ((right - left) * camera.fx), (height - 1) / ((bottom - top) * camera.fy))
        for step in range(_ZOOM_STEPS):
            fx, fy = (_ZOOM_STEP**step * zoom * focal for focal in (camera.fx, camera.fy))
            cx, cy = 0.5 * (width - 1 - fx * (left + right)), 0.5 * (height - 1 - fy * (top + bottom))
            pinhole = replace(without_distortion(camera), fx=fx, fy=fy, cx=cx, cy=cy)
            maps = _undistortion_maps(camera, pinhole)
            if _is_covered(*maps):
                return pinhole, maps
    raise CalibrationError(
        f"the {camera.distortion_model.value} coefficients {camera.distortion} describe no lens over a whole "
        f"{width}x{height} image (rays fold or miss it); check their order, their count and the image size"
    )


def _inscribed_rectangle(camera: Camera) -> tuple[float, float, float, float]:
    """Left, top, right and bottom, in normalised coordinates, of a rectangle within the image's undistorted border."""
    along_x, along_y = (
        np.linspace(0, camera.width - 1, _BORDER_POINTS),
        np.linspace(0, camera.height - 1, _BORDER_POINTS),
    )
    limit = np.tan(np.radians(_MAX_HALF_ANGLE_DEG))

    def side(x: np.ndarray | float, y: np.ndarray | float, axis: int) -> np.ndarray:
        points = np.column_stack(np.broadcast_arrays(x, y)).astype(np.float64)
        return _undistort(points, camera)[:, axis]

    # fmax and fmin skip NaN: a border pixel beyond 90 degrees does not limit the view.
    left = np.fmax.reduce(side(0.0, along_y, 0), initial=-limit)
    right = np.fmin.reduce(side(camera.width - 1.0, along_y, 0), initial=limit)
    top = np.fmax.reduce(side(along_x, 0.0, 1), initial=-limit)
    bottom = np.fmin.reduce(side(along_x, camera.height - 1.0, 1), initial=limit)
    return float(left), float(top), float(right), float(bottom)


def _undistortion_maps(camera: Camera, pinhole: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows (H, W) of the distorted image that the pixels of the pinhole image come from."""
    size = (camera.width, camera.height)
    arguments = (_matrix(camera), np.array(camera.distortion), np.eye(3), pinhole.matrix, size, cv2.CV_32FC1)
    if camera.distortion_model is DistortionModel.FOV:
        x = (np.arange(camera.width) - pinhole.cx) / pinhole.fx
        y = (np.arange(camera.height) - pinhole.cy) / pinhole.fy
        factors = _fov_factor(np.hypot(x, y[:, None]), camera)
        columns, rows = factors * x * camera.fx + camera.cx, factors * y[:, None] * camera.fy + camera.cy
    elif camera.distortion_model is DistortionModel.EQUIDISTANT:
        columns, rows = cv2.fisheye.initUndistortRectifyMap(*arguments)
    else:
        columns, rows = cv2.initUndistortRectifyMap(*arguments)
    columns = columns + _shear(rows, camera)
    return columns.astype(np.float32), rows.astype(np.float32)


def _matrix(camera: Camera) -> np.ndarray:
    """The calibration matrix without skew, which OpenCV ignores in some functions and not in others."""
    return replace(camera, skew=0.0).matrix


def _shear(rows: np.ndarray, camera: Camera) -> np.ndarray:
    """The columns that the skew adds at these rows: skew y, where y = (v - cy) / fy is behind the lens."""
    return camera.skew / camera.fy * (rows - camera.cy)


def _fov_factor(radius: np.ndarray, camera: Camera) -> np.ndarray:
    """The distorted radius divided by the undistorted one: r_d = atan(2 r tan(omega / 2)) / omega."""
    (omega,) = camera.distortion
    stretched = 2 * np.tan(omega / 2) * np.maximum(radius, 1e-9)
    return np.arctan(stretched) / (omega * np.maximum(radius, 1e-9))


def _is_covered(columns: np.ndarray, rows: np.ndarray) -> bool:
    """Return True if maps (H, W) stay within an image of their own size, half a pixel of grace, and fold nowhere."""
    height, width = columns.shape
    inside = (
        columns.min() >= -0.5 and columns.max() <= width - 0.5 and rows.min() >= -0.5 and rows.max() <= height - 0.5
    )
    return bool(inside and (np.diff(columns, axis=1) > 0).all() and (np.diff(rows, axis=0) > 0).all())


def _check_coefficients(camera: Camera) -> None:
    """Raise ``CalibrationError`` for coefficients that the model does not take."""
    expected = _COEFFICIENTS.get(camera.distortion_model)
    if camera.distortion and expected is not None and len(camera.distortion) not in expected:
        counts = " or ".join(str(count) for count in expected)
        raise CalibrationError(
            f"{camera.distortion_model.value} distortion has {counts} coefficients, "
            f"got {len(camera.distortion)}: {camera.distortion}"
        )
    if camera.distortion_model is DistortionModel.FOV and not 0 <= sum(camera.distortion) < np.pi:
        raise CalibrationError(f"fov distortion needs 0 <= omega < pi (radians), got {camera.distortion[0]:g}")


def _distort(xy: np.ndarray, camera: Camera) -> np.ndarray:
    """Pixels (N, 2) of normalised coordinates (N, 2) through the lens."""
    _check_coefficients(camera)
    if not camera.has_distortion or not len(xy):
        pixels = xy * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    elif camera.distortion_model is DistortionModel.FOV:
        factors = _fov_factor(np.linalg.norm(xy, axis=1), camera)
        pixels = factors[:, None] * xy * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    else:
        rays = np.column_stack([xy, np.ones(len(xy))])[:, None]
        fisheye = camera.distortion_model is DistortionModel.EQUIDISTANT
        project = cv2.fisheye.projectPoints if fisheye else cv2.projectPoints
        pixels, _ = project(rays, np.zeros(3), np.zeros(3), _matrix(camera), np.array(camera.distortion))
        pixels = pixels.reshape(-1, 2)
    return np.column_stack([pixels[:, 0] + _shear(pixels[:, 1], camera), pixels[:, 1]])


def _undistort(points_px: np.ndarray, camera: Camera) -> np.ndarray:
    """Normalised coordinates (N, 2) of pixels (N, 2), NaN where there are none.

    OpenCV's few fixed-point steps are a start; Newton's method makes the result exact for strong lenses too.
    """
    _check_coefficients(camera)
    unsheared = np.column_stack([points_px[:, 0] - _shear(points_px[:, 1], camera), points_px[:, 1]])
    distorted = (unsheared - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    if not camera.has_distortion or not len(points_px):
        return distorted
    if camera.distortion_model is DistortionModel.FOV:
        return _undistort_fov(distorted, camera)
    fisheye = camera.distortion_model is DistortionModel.EQUIDISTANT
    undistort = (cv2.fisheye if fisheye else cv2).undistortPoints
    xy = undistort(unsheared[:, None], _matrix(camera), np.array(camera.distortion)).reshape(-1, 2)
    xy = np.where(np.abs(xy) < 1e5, xy, np.nan)  # OpenCV marks failures by -1e6
    return _refine(xy, points_px, camera)


def _undistort_fov(distorted: np.ndarray, camera: Camera) -> np.ndarray:
    """The inverse of the model in closed form: r = tan(r_d omega) / (2 tan(omega / 2)), for less than 90 degrees."""
    (omega,) = camera.distortion
    angles = omega * np.linalg.norm(distorted, axis=1)
    angles = np.where(angles < np.pi / 2, np.maximum(angles, 1e-9), np.nan)
    return distorted * (np.tan(angles) / angles * omega / (2 * np.tan(omega / 2)))[:, None]


def _refine(xy: np.ndarray, points_px: np.ndarray, camera: Camera) -> np.ndarray:
    """Newton's method on the lens from the start ``xy`` (N, 2), NaN where it does not converge."""
    along_x, along_y = np.eye(2) * _DERIVATIVE_STEP
    for _ in range(_NEWTON_STEPS):
        error = points_px - _distort(xy, camera)
        by_x = (_distort(xy + along_x, camera) - _distort(xy - along_x, camera)) / (2 * _DERIVATIVE_STEP)
        by_y = (_distort(xy + along_y, camera) - _distort(xy - along_y, camera)) / (2 * _DERIVATIVE_STEP)
        determinant = by_x[:, 0] * by_y[:, 1] - by_x[:, 1] * by_y[:, 0]
        # A lens never mirrors: beyond the fold of its polynomial there is no ray.
        determinant = np.where(determinant > 0, determinant, np.nan)
        step_x = (by_y[:, 1] * error[:, 0] - by_y[:, 0] * error[:, 1]) / determinant
        step_y = (by_x[:, 0] * error[:, 1] - by_x[:, 1] * error[:, 0]) / determinant
        xy = xy + np.column_stack([step_x, step_y])
        if not np.abs(error).max(initial=0.0, where=np.isfinite(error)) > 1e-9:
            break
    missed = ~(np.abs(points_px - _distort(xy, camera)).max(axis=1) < _CONVERGED_PX)
    return np.where(missed[:, None], np.nan, xy)
