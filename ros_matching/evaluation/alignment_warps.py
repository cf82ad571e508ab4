"""Photos and what they look like after a random affine transformation, homography or thin-plate spline.

The distributions are those that CNNGeometric is trained with (Rocco et al. 2017, its published code), in coordinates
from -1 to 1 along the sides of the image: affine with a rotation of 15 degrees either way, stretched by 0.75 to 1.25
along any two axes and shifted by up to 0.25; corners, or the nine points of a regular grid, moved by up to 0.4 along
each axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ros_matching.datatypes import ImageTransform
from ros_matching.io.images import read_image

_SHOWN = 9 / 16  # of the photo's sides; around it, the photo continues for what a transformation brings into view
_ROTATION_DEG, _STRETCH_DEG = 15.0, 30.0
_STRETCH = (0.75, 1.25)
_SHIFT = 0.25
_MOVE = 0.4


@dataclass(frozen=True)
class AlignmentPair:
    """Image 1 (H, W, 3) uint8 shows the middle of a photo, image 0 the same after ``truth``, which aligns them."""

    model: str
    image0: np.ndarray
    image1: np.ndarray
    truth: ImageTransform


def alignment_pairs(
    photos: Sequence[Path], models: Sequence[str], size: tuple[int, int], seed: int = 0
) -> Iterator[AlignmentPair]:
    """One pair of each photo and model, of ``size`` (width, height); the same pairs for the same seed."""
    for number, path in enumerate(photos):
        photo = read_image(path)
        for model in models:
            rng = np.random.default_rng((seed, number, list(MODELS).index(model)))
            yield alignment_pair(photo, model, size, rng)


def alignment_pair(photo: np.ndarray, model: str, size: tuple[int, int], rng: np.random.Generator) -> AlignmentPair:
    """A photo (H, W, 3) uint8 before and after a random transformation of that ``model``, one of ``MODELS``."""
    truth = random_transform(model, size, rng)
    width, height = size
    u, v = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    pixels = np.column_stack([u.ravel(), v.ravel()])
    image0, image1 = (_seen(photo, points, size) for points in (truth.map_points(pixels), pixels))
    return AlignmentPair(model, image0, image1, truth)


def random_transform(model: str, size: tuple[int, int], rng: np.random.Generator) -> ImageTransform:
    """A random transformation of that ``model`` between images of ``size`` (width, height)."""
    region = (0.0, 0.0, size[0] - 1.0, size[1] - 1.0)
    return MODELS[model](region, rng)


def _affine(region: tuple[float, float, float, float], rng: np.random.Generator) -> ImageTransform:
    angle, axis = np.radians(rng.uniform(-1, 1, 2) * (_ROTATION_DEG, _STRETCH_DEG))
    stretch = _rotation(-axis) @ np.diag(rng.uniform(*_STRETCH, 2)) @ _rotation(axis)
    matrix = np.eye(3)
    matrix[:2, :2] = _rotation(angle) @ stretch
    matrix[:2, 2] = rng.uniform(-_SHIFT, _SHIFT, 2)
    return _of_unit_matrix(matrix, region)


def _homography(region: tuple[float, float, float, float], rng: np.random.Generator) -> ImageTransform:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    moved = corners + rng.uniform(-_MOVE, _MOVE, (4, 2)).astype(np.float32)
    return _of_unit_matrix(cv2.getPerspectiveTransform(corners, moved), region)


def _spline(region: tuple[float, float, float, float], rng: np.random.Generator) -> ImageTransform:
    y, x = np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], indexing="ij")
    moved = np.stack([x, y], axis=2) + rng.uniform(-_MOVE, _MOVE, (3, 3, 2))
    pixels = _pixels_from_unit(region)
    return ImageTransform(np.eye(3), region, moved * np.diag(pixels)[:2] + pixels[:2, 2])


MODELS: Mapping[str, Callable[[tuple[float, float, float, float], np.random.Generator], ImageTransform]] = {
    "affine": _affine,
    "homography": _homography,
    "tps": _spline,
}


def _of_unit_matrix(matrix: np.ndarray, region: tuple[float, float, float, float]) -> ImageTransform:
    pixels = _pixels_from_unit(region)
    return ImageTransform(pixels @ matrix @ np.linalg.inv(pixels), region)


def _pixels_from_unit(region: tuple[float, float, float, float]) -> np.ndarray:
    u0, v0, u1, v1 = region
    return np.array([[(u1 - u0) / 2, 0, (u0 + u1) / 2], [0, (v1 - v0) / 2, (v0 + v1) / 2], [0, 0, 1]])


def _rotation(angle_rad: float) -> np.ndarray:
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[cosine, -sine], [sine, cosine]])


def _seen(photo: np.ndarray, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The photo at points (W * H, 2) of image 1, (H, W, 3); beyond its border it is mirrored."""
    sides = np.array(photo.shape[1::-1])
    middle, last = (sides - 1) / 2, np.array(size) - 1
    at = (middle + (2 * points / last - 1) * _SHOWN * middle).astype(np.float32).reshape(size[1], size[0], 2)
    return cv2.remap(photo, at[:, :, 0], at[:, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
