"""Pairs of views of a photo, taken under random homographies: exact correspondences between real textures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from ros_matching.config import Config, parameter
from ros_matching.errors import TrainingError
from ros_matching.networks.posfeat.extractor import LITE
from ros_matching.networks.posfeat.keypoints import hessian_response, local_maxima

_MIN_SIDE_PX = 120
_ATTEMPTS = 20


@dataclass(frozen=True)
class HomographyConfig(Config):
    """Settings of the difference of two views of a photo; spreads are standard deviations."""

    rotation_deg: float = parameter(15.0, "spread of the rotation about the optical axis", minimum=0)
    max_zoom: float = parameter(1.65, "largest ratio of the scales, either way", minimum=1)
    corner_jitter: float = parameter(
        0.2, "displacement of corners for perspective, as a fraction of the sides", minimum=0, maximum=0.4
    )
    min_overlap: float = parameter(
        0.35, "fraction of the first view that is visible in the second", minimum=0, maximum=1
    )


@dataclass(frozen=True)
class PhotoPair:
    """Two views (H, W, 3) uint8 RGB of a photo, and ``view1_from_view0`` (3, 3), which maps their pixels.

    Beyond the photo there is another one. ``inside0`` (H, W) uint8 is 1 where the first view shows the photo itself.
    ``view0_from_photo`` (3, 3) maps the pixels of the photo as it is in its file.
    """

    view0: np.ndarray
    view1: np.ndarray
    view1_from_view0: np.ndarray
    inside0: np.ndarray
    view0_from_photo: np.ndarray


def photo_pair(
    photo: Path,
    background: Path,
    size: tuple[int, int],
    rng: np.random.Generator,
    config: HomographyConfig = HomographyConfig(),
) -> PhotoPair:
    """Two views of ``size`` (width, height). Raises ``TrainingError`` for a file that is no image."""
    image, image_from_photo = _read(photo), np.eye(3)
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
        image_from_photo[0] = [-1, 0, image.shape[1] - 1]
    quad0 = _first_quad(image.shape[1::-1], size, rng, config)
    view0_from_photo = _from_quad(quad0, size)
    for _ in range(_ATTEMPTS):
        view1_from_photo = _from_quad(_second_quad(quad0, rng, config), size)
        view1_from_view0 = view1_from_photo @ np.linalg.inv(view0_from_photo)
        if _overlap(view1_from_view0, size) >= config.min_overlap:
            break
    else:
        view1_from_photo, view1_from_view0 = view0_from_photo, np.eye(3)
    behind = cv2.resize(_read(background), size, interpolation=cv2.INTER_AREA)
    view0, inside0 = _warped(image, view0_from_photo, behind)
    view1, _ = _warped(image, view1_from_photo, np.ascontiguousarray(behind[::-1]))
    view1_from_view0 /= view1_from_view0[2, 2]
    return PhotoPair(view0, view1, view1_from_view0, inside0, view0_from_photo @ image_from_photo)


def map_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 2) under a homography; NaN behind the horizon."""
    mapped = points @ matrix[:, :2].T + matrix[:, 2]
    return mapped[:, :2] / np.where(mapped[:, 2:] > 1e-9, mapped[:, 2:], np.nan)


def choose_points(
    view: np.ndarray, inside: np.ndarray, count: int, keypoint_fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """``count`` points (count, 2) of a view: some where keypoints lie, others anywhere; some may repeat.

    All lie where ``inside`` is set; there are fewer keypoints if the view has fewer.
    """
    wanted = round(count * keypoint_fraction)
    keypoints = _keypoints(view, inside)
    keypoints = keypoints[rng.permutation(len(keypoints))[:wanted]] + rng.uniform(-0.5, 0.5, (1, 2))
    rows, columns = np.nonzero(inside)
    if len(rows) == 0:
        rows, columns = np.nonzero(np.ones_like(inside))
    chosen = rng.integers(0, len(rows), count - len(keypoints))
    anywhere = np.column_stack([columns[chosen], rows[chosen]]) + rng.uniform(-0.5, 0.5, (len(chosen), 2))
    limit = np.array([view.shape[1] - 1, view.shape[0] - 1])
    return np.clip(np.concatenate([keypoints, anywhere]), 0, limit)


def _keypoints(view: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The pixels (N, 2) inside at which PoSFeat-lite may find a keypoint."""
    grey = torch.from_numpy(view).float().mean(dim=2)[None, None] / 255
    response = hessian_response(grey)
    maxima = local_maxima(response, LITE.nms_radius_px) & (response > LITE.min_response)
    return np.argwhere(maxima[0, 0].numpy() & (inside > 0))[:, ::-1].astype(np.float64)


def _read(photo: Path) -> np.ndarray:
    image = cv2.imread(str(photo), cv2.IMREAD_COLOR)
    if image is None or min(image.shape[:2]) < _MIN_SIDE_PX:
        raise TrainingError(f"{photo} is not an image of {_MIN_SIDE_PX} pixels or more a side; remove it")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _first_quad(
    photo_size: Sequence[int], size: tuple[int, int], rng: np.random.Generator, config: HomographyConfig
) -> np.ndarray:
    """The corners (4, 2) in the photo of a view that lies within it, a little bent."""
    width, height = photo_size
    largest = min(width / size[0], height / size[1])
    side = np.array(size) * largest * rng.uniform(0.5, 0.95)
    corner = rng.uniform(0, 1, 2) * (np.array([width - 1, height - 1]) - side).clip(min=0)
    quad = corner + np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * side
    return quad + rng.uniform(-0.5, 0.5, (4, 2)) * config.corner_jitter * side * 0.5


def _second_quad(quad: np.ndarray, rng: np.random.Generator, config: HomographyConfig) -> np.ndarray:
    """The corners of another view near the first: rotated, scaled, moved and distorted."""
    centre, side = quad.mean(axis=0), np.ptp(quad, axis=0)
    angle = np.radians(config.rotation_deg) * rng.standard_normal()
    zoom = config.max_zoom ** rng.uniform(-1, 1)
    rotation = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (quad - centre) @ rotation.T + centre + 0.15 * side * rng.standard_normal(2)
    return moved + rng.uniform(-1, 1, (4, 2)) * config.corner_jitter * side * zoom * 0.5


def _from_quad(quad: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float32)
    return cv2.getPerspectiveTransform(quad.astype(np.float32), corners)


def _overlap(view1_from_view0: np.ndarray, size: tuple[int, int]) -> float:
    width, height = size
    grid = np.stack(np.meshgrid(np.linspace(0, width - 1, 12), np.linspace(0, height - 1, 9)), axis=-1).reshape(-1, 2)
    with np.errstate(invalid="ignore"):
        mapped = map_points(view1_from_view0, grid)
        return float(((mapped >= 0) & (mapped <= (width - 1, height - 1))).all(axis=1).mean())


def _warped(image: np.ndarray, view_from_photo: np.ndarray, background: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A view of the photo in front of a background, smoothed if it is reduced, and the mask of the photo."""
    size = background.shape[1::-1]
    middle = np.linalg.solve(view_from_photo, [size[0] / 2, size[1] / 2, 1])
    shrink = 1 / max(_local_scale(view_from_photo, middle[:2] / middle[2]), 1e-3)
    if shrink > 1.2:
        # By its size: given factors, OpenCV scales by these and rounds the size, and the corners do not coincide.
        small = cv2.resize(image, [round(side / shrink) for side in image.shape[1::-1]], interpolation=cv2.INTER_AREA)
        fx, fy = small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]
        # Pixel centres are at integers: (x + 1/2) f - 1/2.
        small_from_photo = np.array([[fx, 0, (fx - 1) / 2], [0, fy, (fy - 1) / 2], [0, 0, 1]])
        view_from_photo, image = view_from_photo @ np.linalg.inv(small_from_photo), small
    view = cv2.warpPerspective(image, view_from_photo, size, flags=cv2.INTER_LINEAR)
    ones = np.ones(image.shape[:2], np.uint8)
    inside = cv2.warpPerspective(ones, view_from_photo, size, flags=cv2.INTER_NEAREST)
    return np.where(inside[..., None] > 0, view, background), inside


def _local_scale(matrix: np.ndarray, point: np.ndarray) -> float:
    """The root of how areas grow under a homography around a point."""
    w = matrix[2, :2] @ point + matrix[2, 2]
    return float(np.sqrt(abs(np.linalg.det(matrix)) / abs(w) ** 3))
