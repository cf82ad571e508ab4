"""Photos seen again under random homographies, whose truth is exact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ros_matching.evaluation.pairs import reduced
from ros_matching.geometry.planar import map_points
from ros_matching.io.images import read_image

_ROTATION_SIGMA_DEG = 15.0
_SCALES = (0.6, 1.65)
_JITTER = 0.2  # of the sides, by which a corner moves
_SHIFT = 0.1  # of the sides
_MIN_OVERLAP = 0.4  # of the first image, seen in the second one
_MARGIN_PX = 8  # from where the second image shows nothing: the edge there is no part of the scene
_OVERSAMPLING = 2  # against aliasing where the homography makes the photo smaller
_GAIN = (0.75, 1.25)
_GAMMA = (0.8, 1.25)
_NOISE_SIGMA = 3.0  # grey levels


@dataclass(frozen=True)
class WarpedPair:
    """A photo and how it looks after a homography, under another light and with noise.

    ``image0`` and ``image1`` (H, W, 3) uint8; ``homography1_from_0`` (3, 3) of pixels; ``visible1`` (H, W) bool is
    where image 1 shows the photo, up to a few pixels from where it ends.
    """

    image0: np.ndarray
    image1: np.ndarray
    homography1_from_0: np.ndarray
    visible1: np.ndarray


def warped_pairs(photos: Sequence[Path], size_px: int, seed: int = 0) -> Iterator[WarpedPair]:
    """One pair of each photo, reduced to ``size_px`` on its longer side; the same pairs for the same seed."""
    for number, photo in enumerate(photos):
        yield warped_pair(reduced(read_image(photo), size_px), np.random.default_rng((seed, number)))


def warped_pair(image: np.ndarray, rng: np.random.Generator) -> WarpedPair:
    """The image (H, W, 3) uint8 and a random view of it."""
    height, width = image.shape[:2]
    homography = random_homography(width, height, rng)
    fill = tuple(map(float, image.mean(axis=(0, 1))))
    enlarge = np.array(
        [[_OVERSAMPLING, 0, (_OVERSAMPLING - 1) / 2], [0, _OVERSAMPLING, (_OVERSAMPLING - 1) / 2], [0, 0, 1]]
    )
    large = cv2.warpPerspective(
        image,
        enlarge @ homography,
        (_OVERSAMPLING * width, _OVERSAMPLING * height),
        flags=cv2.INTER_LINEAR,
        borderValue=fill,
    )
    warped = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)
    return WarpedPair(image, _lit(warped, rng), homography, _visible(width, height, homography))


def random_homography(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Rotation, scale, shift and perspective (3, 3) of an image's pixels, as a camera moved before a plane gives them.

    Drawn again until the two views share at least 40 % of the image.
    """
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], dtype=np.float64)
    sides = np.array([width, height])
    while True:
        angle = np.radians(rng.normal(0, _ROTATION_SIGMA_DEG))
        scale = np.exp(rng.uniform(*np.log(_SCALES)))
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        moved = corners + rng.uniform(-_JITTER, _JITTER, (4, 2)) * sides
        center = (sides - 1) / 2
        moved = (moved - center) @ turn.T + center + rng.uniform(-_SHIFT, _SHIFT, 2) * sides
        if not cv2.isContourConvex(moved.astype(np.float32)):
            continue
        homography = cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32))
        if _overlap(homography, width, height) >= _MIN_OVERLAP:
            return homography


def _overlap(homography: np.ndarray, width: int, height: int, steps: int = 20) -> float:
    """The share of image 0 that lies within image 1."""
    u, v = np.meshgrid(np.linspace(0, width - 1, steps), np.linspace(0, height - 1, steps))
    mapped = map_points(homography, np.column_stack([u.ravel(), v.ravel()]))
    return float(np.mean(inside(mapped, width, height)))


def inside(points_px: np.ndarray, width: int, height: int) -> np.ndarray:
    """Which of the points (N, 2) lie on an image, (N,) bool; NaN does not."""
    return ((points_px >= 0) & (points_px <= (width - 1, height - 1))).all(axis=1)


def _visible(width: int, height: int, homography: np.ndarray) -> np.ndarray:
    shown = cv2.warpPerspective(
        np.ones((height, width), np.uint8), homography, (width, height), flags=cv2.INTER_NEAREST
    )
    kernel = np.ones((2 * _MARGIN_PX + 1, 2 * _MARGIN_PX + 1), np.uint8)
    return cv2.erode(shown, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1) > 0


def _lit(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image under another exposure and gamma, and with noise."""
    levels = np.power(np.arange(256) / 255, rng.uniform(*_GAMMA)) * 255 * rng.uniform(*_GAIN)
    noisy = levels.astype(np.float32)[image] + rng.normal(0, _NOISE_SIGMA, image.shape).astype(np.float32)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
