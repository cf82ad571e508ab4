"""The baseline of depth estimation: a plane sweep that takes the best normalised cross-correlation of each pixel.

No prior, no smoothing (Collins 1996 sweeps planes; the score is that of MVS systems such as COLMAP's initial cost).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ros_matching.datatypes import DepthMap, Keyframe
from ros_matching.errors import GeometryError
from ros_matching.geometry.se3 import invert

_MIN_DEVIATION = 1.0  # grey levels: what is flatter has no texture to correlate


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
        """The depth map at the full image size.

        NaN where no source sees the point at any depth, or the image has no texture; the confidence is the
        correlation, averaged over the sources that see the point.
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
        """The correlation (H, W), averaged over the sources that see the pixel; NaN where none does."""
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
    """Reference pixels to source pixels over planes that face the reference."""

    def __init__(self, reference: Keyframe, source: Keyframe) -> None:
        motion = invert(source.world_from_camera) @ reference.world_from_camera
        rays = np.linalg.inv(reference.frame.camera.matrix)
        self._at_infinity = source.frame.camera.matrix @ motion[:3, :3] @ rays
        self._parallax = np.outer(source.frame.camera.matrix @ motion[:3, 3], rays[2])

    def of_plane(self, depth: float) -> np.ndarray:
        return self._at_infinity + self._parallax / depth


class _Patches:
    """An image (H, W) with the statistics of the window around each pixel."""

    def __init__(self, image: np.ndarray, window_px: int) -> None:
        self.image = image
        self._window = (window_px, window_px)
        self._mean, self._variance = self._statistics(image)

    def correlation(self, other: np.ndarray) -> np.ndarray:
        """That of the windows of another image, (H, W) in [-1, 1]; NaN where that is unknown or one has no texture."""
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
    """Grey levels as float32, of zero mean: differences of squares then keep their digits."""
    grey = cv2.cvtColor(view.frame.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return grey - grey.mean()
