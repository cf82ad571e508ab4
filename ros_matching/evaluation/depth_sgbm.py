"""The classical baseline of stereo: OpenCV's semi-global block matching on rectified pairs of keyframes.

Hirschmueller's method (PAMI 2008), pair by pair; where several pairs see a pixel, the median of their depths.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import cv2
import numpy as np

from ros_matching.datatypes import DepthMap, Keyframe
from ros_matching.errors import GeometryError
from ros_matching.geometry.se3 import invert

_WINDOW_PX = 5
_PENALTIES = 8 * _WINDOW_PX**2, 32 * _WINDOW_PX**2  # as OpenCV's documentation suggests for grey images
_UNIQUENESS_PERCENT = 10
_SPECKLE = 100, 2  # pixels of a patch that is dropped, disparities that it may span
_DISPARITIES = 16  # their number has to be a multiple of this
_MAX_DISPARITIES = 512
_SUBPIXELS = 16  # OpenCV's fixed-point disparities
_MIN_ACROSS = 0.5  # share of the baseline across the view: pairs along it cannot be rectified


class SemiGlobalMatching:
    """Depth of keyframes from all pairs with their sources."""

    def estimate(self, reference: Keyframe, sources: Sequence[Keyframe], depth_range: tuple[float, float]) -> DepthMap:
        """The depth map at the full image size, NaN where no pair matches; the confidence is the share that does."""
        near, far = depth_range
        if not sources or not 0 < near < far:
            raise GeometryError(
                f"stereo needs sources and a range 0 < near < far, got {len(sources)} sources and {depth_range}"
            )
        camera = reference.frame.camera
        depths = np.stack([_pair_depth(reference, source, depth_range) for source in sources])
        depths[~((depths >= near) & (depths <= far))] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # where no pair matches, the median is NaN, as it should be
            depth = np.nanmedian(depths, axis=0)
        return DepthMap(depth, np.isfinite(depths).mean(axis=0), camera)


def _pair_depth(reference: Keyframe, source: Keyframe, depth_range: tuple[float, float]) -> np.ndarray:
    """Depth (H, W) of the reference from one pair."""
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
    # Depth along the rectified axis, then along the reference's: both are of the same point on the same ray.
    rays = rectified_from_reference @ np.linalg.inv(camera.matrix) @ pixels
    with np.errstate(divide="ignore", invalid="ignore"):
        return matrix[0, 0] * baseline / found / rays[2].reshape(height, width)


def _rectified_axes(center: np.ndarray) -> np.ndarray | None:
    """The rotation (3, 3) that turns the x axis along the baseline; ``None`` where that runs along the view."""
    length = np.linalg.norm(center)
    if not length > 0 or np.linalg.norm(center[:2]) < _MIN_ACROSS * length:
        return None
    x = center / length
    x = x if x[np.argmax(np.abs(x[:2]))] > 0 else -x  # turning the image upside down serves nothing
    z = np.array([0.0, 0.0, 1.0]) - x[2] * x
    z /= np.linalg.norm(z)
    return np.stack([x, np.cross(z, x), z])


def _canvas(matrix: np.ndarray, rotation: np.ndarray, width: int, height: int) -> tuple[np.ndarray, tuple[int, int]]:
    """The calibration matrix and size of rectified images that hold the whole reference."""
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1.0]]).T
    rays = rotation @ np.linalg.inv(matrix) @ corners
    focal = float(np.sqrt(matrix[0, 0] * matrix[1, 1]))
    spread = focal * rays[:2] / rays[2]
    low, high = np.floor(spread.min(axis=1)), np.ceil(spread.max(axis=1))
    limit = 2 * max(width, height)
    size = tuple(int(side) for side in np.minimum(high - low + 1, limit))
    return np.array([[focal, 0, -low[0]], [0, focal, -low[1]], [0, 0, 1.0]]), size


def _disparity(image0: np.ndarray, image1: np.ndarray, nearest: float, farthest: float) -> np.ndarray:
    """Disparities (H, W) float32 from image 0 to image 1, NaN where there is none."""
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
