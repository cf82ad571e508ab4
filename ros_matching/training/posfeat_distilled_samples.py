"""Pairs of views for the distillation of PoSFeat: corresponding keypoints, and the keypoints of a teacher.

A sample is ``images`` (2, 3, H, W) uint8; ``points`` (2, N, 2) pixels, of which row i of the one view and row i of the
other correspond where ``valid`` (N,), and other points of the views elsewhere; ``keypoints`` (2, H, W) uint8, the
teacher's, as ``posfeat_detection.imitation_loss`` takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ros_matching.io.images import read_image
from ros_matching.networks.posfeat.extractor import LITE
from ros_matching.networks.posfeat.keypoints import detect_on_response, hessian_response
from ros_matching.training.photometric import distort
from ros_matching.training.photos import HomographyConfig, map_points, photo_pair
from ros_matching.training.posfeat_detection import keypoint_map
from ros_matching.training.teacher import LabelledPair

_SAME_PX = 1.5  # distance up to which a keypoint is that of a point
_ATTEMPTS = 6
_MIN_CORRESPONDENCES = 64
_MAX_ZOOM = 1.6  # ratio of the scales of two windows, either way
_SMALLEST = 0.55  # of the largest window, the smallest one


def photo_views(
    photos: Sequence[Path],
    labels: np.ndarray | None,
    size: tuple[int, int],
    count: int,
    rng: np.random.Generator,
    grey: bool,
) -> dict[str, Tensor]:
    """Two views of a photo, before another, under a random homography.

    ``labels`` (N, 3) are the teacher's keypoints of the photo, if it has any.
    """
    pair = photo_pair(*photos, size, rng, HomographyConfig())
    views = _seen_by_another_camera([pair.view0, pair.view1], rng, grey)
    found0, found1 = (hessian_keypoints(view) for view in views)
    found0 = found0[pair.inside0[tuple(found0.round().astype(int).T[::-1])] > 0]
    there = map_points(pair.view1_from_view0, found0)
    has = _inside(there, size)
    found0, there = np.concatenate([found0[has], found0[~has]]), there[has]
    labelled = np.zeros((0, 2)) if labels is None else labels[:, :2]
    from_photo = pair.view0_from_photo, pair.view1_from_view0 @ pair.view0_from_photo
    teacher = [points[_inside(points, size)] for points in (map_points(matrix, labelled) for matrix in from_photo)]
    return _sample(views, *_correspondences(found0, there, found1, count, rng), teacher)


def frame_views(
    pair: LabelledPair, size: tuple[int, int], count: int, rng: np.random.Generator, grey: bool
) -> dict[str, Tensor]:
    """Windows of two frames around one of the teacher's correspondences."""
    images = [read_image(file) for file in (pair.image0, pair.image1)]
    ends = pair.matches[:, :2].astype(np.float64), pair.matches[:, 2:].astype(np.float64)
    best: tuple[int, list[np.ndarray], np.ndarray] = (-1, [], np.zeros(0, bool))
    for _ in range(_ATTEMPTS):
        row, zoom = rng.integers(len(pair.matches)), rng.uniform(_SMALLEST, 1)
        zooms = zoom, np.clip(zoom * _MAX_ZOOM ** rng.uniform(-1, 1), _SMALLEST, 1)
        windows = [
            _window(image.shape[1::-1], size, end[row], fraction, rng)
            for image, end, fraction in zip(images, ends, zooms, strict=True)
        ]
        visible = np.logical_and(*(_inside(map_points(w, end), size) for w, end in zip(windows, ends, strict=True)))
        if visible.sum() > best[0]:
            best = int(visible.sum()), windows, visible
        if best[0] >= _MIN_CORRESPONDENCES:
            break
    _, windows, visible = best
    views = [_cut(image, window, size) for image, window in zip(images, windows, strict=True)]
    views = _seen_by_another_camera(views, rng, grey)
    points = [map_points(window, end)[visible] for window, end in zip(windows, ends, strict=True)]
    chosen = rng.permutation(len(points[0]))[: count * 3 // 4]
    teacher = points
    points = [each[chosen] for each in points]
    rest = [_elsewhere(hessian_keypoints(view), own, rng) for view, own in zip(views, points, strict=True)]
    return _sample(views, *_filled(points[0], points[1], rest, count, rng), teacher)


def hessian_keypoints(view: np.ndarray, max_keypoints: int = 1024) -> np.ndarray:
    """The keypoints (N, 2) of a view (H, W, 3) uint8 where PoSFeat-lite looks for them, strongest first."""
    response = hessian_response(torch.from_numpy(view).float().mean(dim=2)[None, None] / 255)
    [found] = detect_on_response(
        response, torch.ones_like(response), LITE.nms_radius_px, LITE.min_response, max_keypoints
    )
    return found.points.double().numpy()


def _correspondences(
    points0: np.ndarray, there: np.ndarray, found1: np.ndarray, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``count`` points of both views with validity: a keypoint near the true position, or else that position."""
    chosen = rng.permutation(len(there))[: count * 3 // 4]
    points1 = there[chosen]
    if len(found1) and len(points1):
        distance, nearest = cKDTree(found1).query(points1)
        points1 = np.where(distance[:, None] < _SAME_PX, found1[nearest], points1)
    rest = [np.delete(points0, chosen, axis=0), _elsewhere(found1, points1, rng)]
    return _filled(points0[chosen], points1, rest, count, rng)


def _elsewhere(found: np.ndarray, taken: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The keypoints that are not at one of the points taken, in random order."""
    if len(found) and len(taken):
        found = found[cKDTree(taken).query(found)[0] > _SAME_PX]
    return found[rng.permutation(len(found))]


def _filled(
    points0: np.ndarray, points1: np.ndarray, rest: list[np.ndarray], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``points`` (2, count, 2), correspondences first, and ``valid`` (count,); repeats points if too few."""
    valid = np.arange(count) < len(points0)
    sides = []
    for pairs, others in zip((points0, points1), rest, strict=True):
        others = others if len(others) else pairs if len(pairs) else np.zeros((1, 2))
        wanted = count - len(pairs)
        repeated = others[np.arange(wanted) % len(others)]
        sides.append(np.concatenate([pairs, repeated]))
    return np.stack(sides), valid


def _sample(
    views: list[np.ndarray], points: np.ndarray, valid: np.ndarray, teacher: Sequence[np.ndarray]
) -> dict[str, Tensor]:
    size = views[0].shape[1::-1]
    return {
        "images": torch.from_numpy(np.stack(views).transpose(0, 3, 1, 2).copy()),
        "points": torch.from_numpy(points.astype(np.float32)),
        "valid": torch.from_numpy(valid),
        "keypoints": torch.from_numpy(np.stack([keypoint_map(one, size) for one in teacher])),
    }


def _seen_by_another_camera(views: list[np.ndarray], rng: np.random.Generator, grey: bool) -> list[np.ndarray]:
    """The views under other light, with other noise; in ``grey`` both as a grey camera has them."""
    views = [distort(view, rng) for view in views]
    if grey:
        views = [cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) for view in views]
    return views


def _window(
    image_size: Sequence[int], size: tuple[int, int], centre: np.ndarray, fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """The map (3, 3) from an image's pixels to those of a window of it, of the shape of ``size``, near a point."""
    limit, wanted = np.array(image_size, float), np.array(size, float)
    side = fraction * wanted * (limit / wanted).min()
    corner = (centre + 0.25 * side * rng.uniform(-1, 1, 2) - side / 2).clip(0, limit - side)
    scale = wanted / side
    # Pixel centres are at integers: (x + 1/2 - corner) scale - 1/2.
    offset = (0.5 - corner) * scale - 0.5
    return np.array([[scale[0], 0, offset[0]], [0, scale[1], offset[1]], [0, 0, 1]])


def _cut(image: np.ndarray, window: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    scale = window[0, 0]
    if scale < 0.9:  # smoothed as by the pixels of a coarser camera
        image = cv2.GaussianBlur(image, (0, 0), 0.5 * (1 / scale**2 - 1) ** 0.5)
    return cv2.warpPerspective(image, window, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _inside(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return ((points >= 1) & (points <= np.array(size) - 2)).all(axis=1)
