"""Pairs of images with known correspondences of their cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ros_matching.training.photometric import distort
from ros_matching.training.photos import PhotoPair, map_points, photo_pair
from ros_matching.training.views import ViewTuple, pixel_grid, project_points, relative_pose


class CellPair(NamedTuple):
    """``images`` (2, 3, H, W) uint8 and ``targets`` (2, N, 2).

    ``targets[0]`` is where the centres of the cells of image 0, row by row, appear in image 1, x and y in cells whose
    centres are at integers; NaN if not visible or unknown. ``targets[1]`` is the other direction.
    """

    images: Tensor
    targets: Tensor


def cell_centres(width: int, height: int, cell_px: int) -> Tensor:
    """The centres (N, 2) in pixels of the cells of an image, row by row; pixel centres are at integers."""
    return pixel_grid(width, height, cell_px) - 0.5


def photo_cells(photos: Sequence[Path], size: tuple[int, int], cell_px: int, rng: np.random.Generator) -> CellPair:
    """Two views of ``size`` (width, height) of one of the photos, under a homography."""
    photo, other = (photos[row] for row in rng.choice(len(photos), 2, replace=False))
    pair = photo_pair(photo, other, size, rng)
    centres = cell_centres(*size, cell_px).double().numpy()
    to1 = map_points(pair.view1_from_view0, centres)
    to0 = map_points(np.linalg.inv(pair.view1_from_view0), centres)
    to1[~(_shows(pair, centres) & _within(to1, size))] = np.nan
    to0[~_shows(pair, to0)] = np.nan
    images = np.stack([distort(view, rng) for view in (pair.view0, pair.view1)])
    targets = torch.from_numpy(np.stack([to1, to0])).float()
    return CellPair(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), _in_cells(targets, cell_px))


def view_cells(views: ViewTuple, cell_px: int) -> CellPair:
    """The first two of some views with depth; hidden cells and such that move have no target."""
    height, width = views["images"].shape[-2:]
    centres = cell_centres(width, height, cell_px)
    targets = []
    for a, b in ((0, 1), (1, 0)):
        points, is_visible = project_points(
            centres,
            views["depth"][a],
            views["intrinsics"][a],
            views["intrinsics"][b],
            relative_pose(views["world_from_camera"][a], views["world_from_camera"][b]),
            views["depth"][b],
            moving_a=views["moving"][a],
            moving_b=views["moving"][b],
            tolerance=0.05,
        )
        targets.append(points.masked_fill(~is_visible[:, None], torch.nan))
    return CellPair(views["images"][:2], _in_cells(torch.stack(targets), cell_px))


def varied_cells(maps: Tensor, targets: Tensor, rng: np.random.Generator) -> dict[str, Tensor]:
    """``maps`` (2, D, h, w) and ``targets`` (2, N, 2), mirrored left to right, upside down and swapped at random."""
    rows, columns = maps.shape[-2:]
    targets = targets.unflatten(1, (rows, columns))
    for axis, last in ((-1, columns - 1), (-2, rows - 1)):
        if rng.random() < 0.5:
            maps = maps.flip(axis)
            targets = targets.flip(axis - 1).clone()
            targets[..., -1 - axis] = last - targets[..., -1 - axis]
    if rng.random() < 0.5:
        maps, targets = maps.flip(0), targets.flip(0)
    return {"maps": maps, "targets": targets.flatten(1, 2)}


def _in_cells(points_px: Tensor, cell_px: int) -> Tensor:
    return (points_px + 0.5) / cell_px - 0.5


def _within(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return ((points >= 0) & (points <= np.array(size) - 1)).all(axis=1)


def _shows(pair: PhotoPair, points: np.ndarray) -> np.ndarray:
    """Return True for points (N, 2) inside view 0 and the photo."""
    inside = _within(points, pair.inside0.shape[::-1])
    x, y = np.where(inside[:, None], points, 0).round().astype(int).T
    return inside & (pair.inside0[y, x] > 0)
