"""Holes of a depth map in weakly textured planes, filled by the known depths around them.

Multi-view stereo has no depth on a white wall, but at its edges and stains. An image region without gradients is
mostly one surface; where the known depths in it fit a plane, its unknown pixels near known ones are on that plane. The
inverse depth of a plane is linear in the image.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from ros_matching.datatypes import DepthMap

_GRADIENTS = (2.0, 4.0, 8.0)  # grey levels of 255 a pixel: regions of weak, then of more texture
_SMOOTHING_PX = 1.0
_MIN_AREA_PX = 40
_MIN_KNOWN_PX = 30
_MIN_KNOWN = 0.25  # fraction of the region
_MIN_INLIERS = 0.9  # of the known depths
_ITERATIONS = 6
_REACH_PX = 6  # known depths of the region that a filled pixel has in a window of twice this size
_NEIGHBOURS = 8  # least number of them
_CONFIDENCE = 0.5  # of a filled depth, relative to the plane's


def fill_planes(depth_map: DepthMap, image: np.ndarray, usable: np.ndarray | None, max_error: float) -> DepthMap:
    """Return the depth map with filled holes.

    ``image`` (H, W, 3) uint8 is that of the camera in any size; ``usable`` (h, w) bool excludes pixels; ``max_error``
    is the largest relative distance of a known depth from its plane.
    """
    grey = _grey(image, depth_map.depth.shape)
    for gradient in _GRADIENTS:
        depth_map = _filled(depth_map, _regions(grey, gradient), usable, max_error)
    return depth_map


def _grey(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    grey = cv2.resize(grey, (shape[1], shape[0]), interpolation=cv2.INTER_AREA).astype(np.float32)
    return cv2.GaussianBlur(grey, (0, 0), _SMOOTHING_PX)


def _regions(grey: np.ndarray, gradient: float) -> list[tuple[tuple[slice, slice], np.ndarray]]:
    """Return the connected regions of smaller gradients: the slices of their boxes, and their pixels in these."""
    along, across = (cv2.Sobel(grey, cv2.CV_32F, dx, dy, ksize=3) / 8 for dx, dy in ((1, 0), (0, 1)))
    flat = (np.hypot(along, across) < gradient).astype(np.uint8)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(flat, connectivity=4)
    found = []
    for label, (left, top, width, height, area) in enumerate(boxes):
        if label and area >= _MIN_AREA_PX:
            box = slice(top, top + height), slice(left, left + width)
            found.append((box, labels[box] == label))
    return found


def _filled(
    depth_map: DepthMap,
    regions: list[tuple[tuple[slice, slice], np.ndarray]],
    usable: np.ndarray | None,
    max_error: float,
) -> DepthMap:
    depth, confidence = depth_map.depth.copy(), depth_map.confidence.copy()
    for box, region in regions:
        known = region & np.isfinite(depth[box])
        if known.sum() < max(_MIN_KNOWN * region.sum(), _MIN_KNOWN_PX):
            continue
        near = cv2.boxFilter(
            known.astype(np.float32), -1, (2 * _REACH_PX + 1,) * 2, normalize=False, borderType=cv2.BORDER_CONSTANT
        )
        missing = region & ~known & (near >= _NEIGHBOURS)
        if usable is not None:
            missing &= usable[box]
        plane = _plane(1 / depth[box][known], np.argwhere(known), max_error) if missing.any() else None
        if plane is None:
            continue
        inverse = np.argwhere(missing) @ plane[:2] + plane[2]
        values = depth[box]
        values[missing] = np.where(inverse > 0, 1 / np.where(inverse > 0, inverse, 1), np.nan)
        confidence[box][missing] = _CONFIDENCE * np.median(confidence[box][known])
    return replace(depth_map, depth=depth, confidence=np.where(np.isfinite(depth), confidence, 0))


def _plane(inverse: np.ndarray, pixels: np.ndarray, max_error: float) -> np.ndarray | None:
    """Return (a, b, c) with ``inverse = a row + b column + c`` for depths that fit a plane, robustly, else ``None``.

    ``pixels`` (N, 2) are rows and columns of the inverse depths (N,).
    """
    system = np.column_stack([pixels, np.ones(len(pixels))]).astype(np.float64)
    weights = np.ones(len(inverse))
    for _ in range(_ITERATIONS):
        plane = np.linalg.lstsq(system * weights[:, None], inverse * weights, rcond=None)[0]
        errors = np.abs(system @ plane - inverse) / inverse
        weights = np.maximum(errors, max_error / 3) ** -0.5  # least absolute errors
    return plane if (errors < max_error).mean() >= _MIN_INLIERS else None
