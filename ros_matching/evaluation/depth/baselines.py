"""Baselines of depth estimation: a plane sweep, and semi-global block matching of rectified pairs.

``PlaneSweep`` takes the best normalised cross-correlation of each pixel (planes: Collins 1996; the score: that of MVS
systems such as COLMAP), without a prior and without smoothing. ``SemiGlobalMatching`` is OpenCV's implementation of
Hirschmueller (PAMI 2008), pair by pair, with the median of the depths of a pixel.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import cv2
import numpy as np

from ros_matching.datatypes import DepthMap, Keyframe
from ros_matching.errors import GeometryError
from ros_matching.geometry.se3 import invert

_MIN_DEVIATION = 1.0  # grey levels: flatter windows have no texture
_WINDOW_PX = 5
_PENALTIES = 8 * _WINDOW_PX**2, 32 * _WINDOW_PX**2  # as OpenCV's documentation suggests for grey images
_UNIQUENESS_PERCENT = 10
_SPECKLE = 100, 2  # largest removed patch in pixels, and its range of disparities
_DISPARITIES = 16  # the number of disparities must be a multiple of this
_MAX_DISPARITIES = 512
_SUBPIXELS = 16  # OpenCV's fixed-point disparities
_MIN_ACROSS = 0.5  # fraction of the baseline across the view: pairs along it cannot be rectified


class PlaneSweep:
    """Depth of keyframes by normalised cross-correlation over square windows, at planes uniform in 1 / depth."""

    def __init__(self, planes: int = 96, window_px: int = 9) -> None:
        if planes < 2 or window_px < 3 or window_px % 2 == 0:
            raise GeometryError(
                f"a plane sweep needs 2 planes and an odd window of 3 pixels up, got {planes} and {window_px}"
            )
        self.planes = planes
        self.window_px = window_px

    def estimate(self, reference: Keyframe, sources: Sequence[Keyframe], depth_range: tuple[float, float]) -> DepthMap:
        """Return the depth map at full image size.

        NaN without texture, or if no source observes the point at any depth; the confidence is the correlation,
        averaged over the sources that observe the point.
        """
        near, far = depth_range
        if not sources or not 0 < near < far:
            raise GeometryError(
                f"a plane sweep needs sources and a range 0 < near < far, got {len(sources)}, {depth_range}"
            )
        depths = 1 / np.linspace(1 / near, 1 / far, self.planes)
        target = _Patches(_grey(reference), self.window_px)
        images = [_grey(source) for source in sources]
        homographies = [_Homographies(reference, source) for source in sources]
        best = np.full(target.image.shape, -1, np.float32)
        depth = np.full(target.image.shape, np.nan, np.float32)
        for plane in depths:
            score = self._score(target, images, [pair.of_plane(plane) for pair in homographies])
            better = score > best  # false where the score is NaN
            best[better] = score[better]
            depth[better] = plane
        return DepthMap(depth, np.clip(best, 0, 1), reference.frame.camera)

    def _score(self, target: _Patches, images: Sequence[np.ndarray], matrices: Sequence[np.ndarray]) -> np.ndarray:
        """Return the correlation (H, W), averaged over the sources that observe the pixel; NaN without any."""
        height, width = target.image.shape
        total, count = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
        for image, matrix in zip(images, matrices, strict=True):
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            warped = cv2.warpPerspective(image, matrix, (width, height), flags=flags, borderValue=np.nan)
            score = target.correlation(warped)
            known = np.isfinite(score)
            total[known] += score[known]
            count += known
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


class _Homographies:
    """Homographies from reference to source pixels over planes that face the reference."""

    def __init__(self, reference: Keyframe, source: Keyframe) -> None:
        motion = invert(source.world_from_camera) @ reference.world_from_camera
        rays = np.linalg.inv(reference.frame.camera.matrix)
        self._at_infinity = source.frame.camera.matrix @ motion[:3, :3] @ rays
        self._parallax = np.outer(source.frame.camera.matrix @ motion[:3, 3], rays[2])

    def of_plane(self, depth: float) -> np.ndarray:
        return self._at_infinity + self._parallax / depth


class _Patches:
    """An image (H, W) with statistics of the window around each pixel."""

    def __init__(self, image: np.ndarray, window_px: int) -> None:
        self.image = image
        self._window = (window_px, window_px)
        self._mean, self._variance = self._statistics(image)

    def correlation(self, other: np.ndarray) -> np.ndarray:
        """Return the correlation with the windows of another image, (H, W) in [-1, 1]; NaN without texture."""
        unknown = np.isnan(other)
        other = np.where(unknown, 0, other)
        mean, variance = self._statistics(other)
        covariance = self._box(self.image * other) - self._mean * mean
        textured = np.minimum(variance, self._variance) > _MIN_DEVIATION**2
        known = textured & (self._box(unknown.astype(np.float32)) == 0)
        scale = np.sqrt(np.where(known, variance * self._variance, 1))
        return np.where(known, covariance / scale, np.nan)

    def _statistics(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = self._box(image)
        return mean, self._box(image * image) - mean * mean

    def _box(self, image: np.ndarray) -> np.ndarray:
        return cv2.blur(image, self._window)


def _grey(view: Keyframe) -> np.ndarray:
    """Return zero-mean grey levels as float32: differences of squares keep their precision."""
    grey = cv2.cvtColor(view.frame.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return grey - grey.mean()


class SemiGlobalMatching:
    """Depth of keyframes from all pairs with their sources."""

    def estimate(self, reference: Keyframe, sources: Sequence[Keyframe], depth_range: tuple[float, float]) -> DepthMap:
        """Return the depth map at full image size, NaN without a match; confidence: fraction of matching pairs."""
        near, far = depth_range
        if not sources or not 0 < near < far:
            raise GeometryError(
                f"stereo needs sources and a range 0 < near < far, got {len(sources)} sources and {depth_range}"
            )
        camera = reference.frame.camera
        depths = np.stack([_pair_depth(reference, source, depth_range) for source in sources])
        depths[~((depths >= near) & (depths <= far))] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # without a match the median is NaN, as intended
            depth = np.nanmedian(depths, axis=0)
        return DepthMap(depth, np.isfinite(depths).mean(axis=0), camera)


def _pair_depth(reference: Keyframe, source: Keyframe, depth_range: tuple[float, float]) -> np.ndarray:
    """Return the depth (H, W) of the reference from one pair."""
    camera = reference.frame.camera
    height, width = camera.height, camera.width
    center = (invert(reference.world_from_camera) @ source.world_from_camera)[:3, 3]  # of the source
    rectified_from_reference = _rectified_axes(center)
    if rectified_from_reference is None:
        return np.full((height, width), np.nan)
    matrix, size = _canvas(camera.matrix, rectified_from_reference, width, height)
    homography = matrix @ rectified_from_reference @ np.linalg.inv(camera.matrix)
    source_from_reference = (invert(source.world_from_camera) @ reference.world_from_camera)[:3, :3]
    other = homography @ camera.matrix @ source_from_reference.T @ np.linalg.inv(source.frame.camera.matrix)
    images = [
        cv2.warpPerspective(cv2.cvtColor(view.frame.image, cv2.COLOR_RGB2GRAY), mapping, size)
        for view, mapping in ((reference, homography), (source, other))
    ]
    baseline = (rectified_from_reference @ center)[0]
    disparity = _disparity(*images, *(matrix[0, 0] * baseline / np.array(depth_range)))
    v, u = np.mgrid[:height, :width]
    pixels = np.stack([u, v, np.ones_like(u)]).reshape(3, -1).astype(np.float64)
    there = homography @ pixels
    there = there[:2] / there[2]
    columns, rows = (there.reshape(2, height, width)).astype(np.float32)
    found = cv2.remap(disparity, columns, rows, cv2.INTER_NEAREST, borderValue=float("nan"))
    # Depth along the rectified axis, converted to the axis of the reference, of the same point on the ray.
    rays = rectified_from_reference @ np.linalg.inv(camera.matrix) @ pixels
    with np.errstate(divide="ignore", invalid="ignore"):
        return matrix[0, 0] * baseline / found / rays[2].reshape(height, width)


def _rectified_axes(center: np.ndarray) -> np.ndarray | None:
    """Return the rotation (3, 3) of the x axis to the baseline; ``None`` for a baseline along the view."""
    length = np.linalg.norm(center)
    if not length > 0 or np.linalg.norm(center[:2]) < _MIN_ACROSS * length:
        return None
    x = center / length
    x = x if x[np.argmax(np.abs(x[:2]))] > 0 else -x  # avoids turning the image upside down
    z = np.array([0.0, 0.0, 1.0]) - x[2] * x
    z /= np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z])


def _canvas(matrix: np.ndarray, rotation: np.ndarray, width: int, height: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Return calibration matrix and size of rectified images that contain the whole reference."""
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1.0]]).T
    rays = rotation @ np.linalg.inv(matrix) @ corners
    focal = float(np.sqrt(matrix[0, 0] * matrix[1, 1]))
    spread = focal * rays[:2] / rays[2]
    low, high = np.floor(spread.min(axis=1)), np.ceil(spread.max(axis=1))
    limit = 2 * max(width, height)
    size = tuple(int(side) for side in np.minimum(high - low + 1, limit))
    return np.array([[focal, 0, -low[0]], [0, focal, -low[1]], [0, 0, 1.0]]), size


def _disparity(image0: np.ndarray, image1: np.ndarray, nearest: float, farthest: float) -> np.ndarray:
    """Return disparities (H, W) float32 from image 0 to image 1, NaN where unknown."""
    low, high = sorted((nearest, farthest))
    first = int(np.floor(low)) - 1
    count = -(-int(np.ceil(high) + 2 - first) // _DISPARITIES) * _DISPARITIES
    matcher = cv2.StereoSGBM_create(
        minDisparity=first,
        numDisparities=min(count, _MAX_DISPARITIES),
        blockSize=_WINDOW_PX,
        P1=_PENALTIES[0],
        P2=_PENALTIES[1],
        disp12MaxDiff=1,
        uniquenessRatio=_UNIQUENESS_PERCENT,
        speckleWindowSize=_SPECKLE[0],
        speckleRange=_SPECKLE[1],
        mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )
    fixed_point = matcher.compute(image0, image1)
    disparity = fixed_point.astype(np.float32) / _SUBPIXELS
    return np.where(fixed_point < first * _SUBPIXELS, np.float32("nan"), disparity)
