"""ALIKED's keypoint detection (DKD, Zhao et al. 2022), for inference: from a score map to points to sub-pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ros_matching.networks.aliked.deformable import pixels_to_grid

RADIUS_PX = 2
_THRESHOLD = 0.2
_TEMPERATURE = 0.1  # of the soft arg-max
_SUPPRESSIONS = 2


def keypoints_of(score: Tensor, max_keypoints: int) -> tuple[Tensor, Tensor]:
    """At most ``max_keypoints`` keypoints (N, 2) in pixels and their scores (N,) of a score map (H, W) from 0 to 1.

    Maxima above 0.2, or where there are none above the mean, at least ``RADIUS_PX`` from the border.
    """
    height, width = score.shape
    inner = torch.zeros_like(score, dtype=torch.bool)
    inner[RADIUS_PX:-RADIUS_PX, RADIUS_PX:-RADIUS_PX] = True
    maxima = _suppressed(score[None, None])[0, 0] & inner
    mask = maxima & (score > _THRESHOLD)
    if not mask.any():
        mask = maxima & (score > score.mean())
    index = mask.flatten().nonzero()[:, 0]
    index = index[score.flatten()[index].argsort(descending=True, stable=True)[:max_keypoints]]
    points = torch.stack([index % width, index // width], dim=1) + _shift(score, index)
    grid = pixels_to_grid(points, width, height)[None, None]
    return points, functional.grid_sample(score[None, None], grid, align_corners=True)[0, 0, 0]


def _suppressed(score: Tensor) -> Tensor:
    """The maxima (B, 1, H, W) bool within ``RADIUS_PX``; next to a maximum's surroundings, others get another try."""
    found = score == _pooled(score)
    for _ in range(_SUPPRESSIONS):
        covered = _pooled(found.to(score)) > 0
        rest = torch.where(covered, 0.0, score)
        found |= (rest == _pooled(rest)) & ~covered
    return found


def _pooled(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, kernel_size=2 * RADIUS_PX + 1, stride=1, padding=RADIUS_PX)


def _shift(score: Tensor, index: Tensor) -> Tensor:
    """The soft arg-max (N, 2) over the pixels within ``RADIUS_PX`` of the maxima, from these."""
    steps = torch.arange(-RADIUS_PX, RADIUS_PX + 1, device=score.device)
    around = index[:, None] + (steps[:, None] * score.shape[1] + steps).flatten()
    weight = (score.flatten()[around] / _TEMPERATURE).softmax(dim=1)
    dy, dx = torch.meshgrid(steps.to(score), steps.to(score), indexing="ij")
    return weight @ torch.stack([dx.flatten(), dy.flatten()], dim=1)
