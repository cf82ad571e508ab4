"""Samples of multi-view recipes: several views of one place, and correspondences between views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypedDict

import numpy as np
import torch
from torch import Tensor

from ros_matching.errors import TrainingError


class ViewTuple(TypedDict):
    """V views of one size.

    ``images`` (V, 3, H, W) uint8; ``depth`` (V, H, W) float32 along z, NaN unknown; ``moving`` (V, H, W) bool, of
    moving objects; ``intrinsics`` (V, 3, 3) float32; ``world_from_camera`` (V, 4, 4) float32, where the world is the
    first camera: its pose is the identity.
    """

    images: torch.Tensor
    depth: torch.Tensor
    moving: torch.Tensor
    intrinsics: torch.Tensor
    world_from_camera: torch.Tensor


class ViewSource(Protocol):
    """An endless supply of samples, each determined by its index alone."""

    def sample(self, index: int) -> ViewTuple:
        """The sample of an index."""


class MixedViews:
    """Samples of several sources, drawn by weight."""

    def __init__(self, sources: Sequence[ViewSource], weights: Sequence[float], seed: int = 0) -> None:
        if len(sources) != len(weights) or not sources or min(weights) < 0 or not sum(weights) > 0:
            raise TrainingError(
                f"MixedViews needs a weight of 0 or more for each source, got {len(sources)} sources and {weights}"
            )
        self._sources, self._seed = sources, seed
        self._probabilities = np.asarray(weights, np.float64) / np.sum(weights)

    def sample(self, index: int) -> ViewTuple:
        """The sample of an index, from a source drawn by it."""
        rng = np.random.default_rng((self._seed, index))
        return self._sources[rng.choice(len(self._sources), p=self._probabilities)].sample(index)


def view_tuple(
    images: np.ndarray,
    depth: np.ndarray,
    intrinsics: np.ndarray,
    world_from_camera: np.ndarray,
    moving: np.ndarray | None = None,
) -> ViewTuple:
    """The sample of images (V, H, W, 3) uint8, depth (V, H, W), K (V, 3, 3) and poses (V, 4, 4) in any world.

    The world is moved to the first camera in float64, so that float32 does not cost digits far from its origin.
    """
    poses = np.linalg.inv(world_from_camera[0]) @ world_from_camera
    return ViewTuple(
        images=torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        depth=torch.from_numpy(np.ascontiguousarray(depth, np.float32)),
        moving=torch.from_numpy(np.zeros(depth.shape, bool) if moving is None else np.ascontiguousarray(moving)),
        intrinsics=torch.from_numpy(np.asarray(intrinsics, np.float32)),
        world_from_camera=torch.from_numpy(poses.astype(np.float32)),
    )


DEPTH_TOLERANCE = 0.02  # relative; a surface that is this much nearer hides the point
_SMOOTH = 1.05  # neighbouring depths of a ratio beyond this are of two surfaces, and are not interpolated


@torch.no_grad()
def sample_depth(depth: Tensor, points_px: Tensor) -> Tensor:
    """Depth (..., N) of maps (..., H, W) at points (..., N, 2); NaN where unknown or outside of the image.

    Bilinear in inverse depth, which is exact on planes; at the rim of a surface, the depth of the nearest pixel.
    """
    height, width = depth.shape[-2:]
    limit = points_px.new_tensor([width - 1, height - 1])
    inside = ((points_px >= -0.5) & (points_px <= limit + 0.5)).all(-1)
    points = torch.minimum(points_px.nan_to_num(0.0).clamp_min(0.0), limit)
    # x0 < width - 1, so that there is always a neighbour on the right
    corner = torch.minimum(points.floor(), (limit - 1).clamp_min(0.0))
    fx, fy = (points - corner).unbind(-1)
    x, y = corner.long().unbind(-1)
    first, right, down = y * width + x, min(width - 1, 1), width if height > 1 else 0
    flat = depth.flatten(-2)
    corners = torch.stack([flat.gather(-1, first + step) for step in (0, right, down, down + right)])
    weights = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy])
    smooth = corners.amax(0) <= _SMOOTH * corners.amin(0)  # false where any is NaN
    blended = (weights / corners).sum(0).reciprocal()
    nearest = flat.gather(-1, first + (fx > 0.5) * right + (fy > 0.5) * down)
    return torch.where(smooth, blended, nearest).masked_fill(~inside, torch.nan)


@torch.no_grad()
def transform_points(
    points_px: Tensor, depth: Tensor, k_a: Tensor, k_b: Tensor, b_from_a: Tensor
) -> tuple[Tensor, Tensor]:
    """Pixels (..., N, 2) and depth (..., N) in b of points (..., N, 2) of a that are ``depth`` (..., N) away along z.

    ``k_a``, ``k_b`` (..., 3, 3) and ``b_from_a`` (..., 4, 4) are broadcast; NaN stays NaN.
    """
    ones = torch.ones_like(points_px[..., :1])
    rays = _turned(torch.linalg.inv(k_a), torch.cat([points_px, ones], -1))
    moved = _turned(b_from_a[..., :3, :3], rays * depth[..., None]) + b_from_a[..., None, :3, 3]
    projected = _turned(k_b, moved)
    return projected[..., :2] / projected[..., 2:], moved[..., 2]


@torch.no_grad()
def project_points(
    points_px: Tensor,
    depth_a: Tensor,
    k_a: Tensor,
    k_b: Tensor,
    b_from_a: Tensor,
    depth_b: Tensor | None = None,
    *,
    moving_a: Tensor | None = None,
    moving_b: Tensor | None = None,
    tolerance: float = DEPTH_TOLERANCE,
) -> tuple[Tensor, Tensor]:
    """Project points (..., N, 2) of view a to view b, (..., N, 2), with their visibility there, (..., N).

    ``depth_a`` (..., H, W) are the depth maps of a. With those of b, ``depth_b``, a point is visible only if both agree
    on its distance within ``tolerance`` (relative); without, hidden points count as visible. ``moving_a`` and
    ``moving_b`` (..., H, W) bool mark moving objects, whose points are not valid. Both views have the same size.
    """
    points_b, distance = transform_points(points_px, sample_depth(depth_a, points_px), k_a, k_b, b_from_a)
    height, width = depth_a.shape[-2:]
    limit = points_px.new_tensor([width - 0.5, height - 0.5])
    valid = (distance > 0) & ((points_b > -0.5) & (points_b < limit)).all(-1)
    if depth_b is not None:
        sampled = sample_depth(depth_b, points_b)
        valid = valid & ((distance - sampled).abs() <= tolerance * torch.minimum(distance, sampled))
    for moving, points in ((moving_a, points_px), (moving_b, points_b)):
        if moving is not None:
            valid = valid & ~_at(moving, points)
    return points_b, valid


@torch.no_grad()
def relative_pose(world_from_a: Tensor, world_from_b: Tensor) -> Tensor:
    """``b_from_a`` (..., 4, 4) of two poses."""
    rotation = world_from_b[..., :3, :3].mT
    b_from_a = torch.zeros_like(world_from_a)
    b_from_a[..., :3, :3] = _turned(rotation, world_from_a[..., :3, :3].mT).mT
    b_from_a[..., :3, 3] = _turned(rotation, (world_from_a - world_from_b)[..., None, :3, 3])[..., 0, :]
    b_from_a[..., 3, 3] = 1.0
    return b_from_a


def pixel_grid(width: int, height: int, step: int = 1, device: torch.device | str = "cpu") -> Tensor:
    """Every ``step``-th pixel of an image, (N, 2), row by row; the first is half a step from the rim."""
    x = torch.arange(step // 2, width, step, device=device, dtype=torch.float32)
    y = torch.arange(step // 2, height, step, device=device, dtype=torch.float32)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(-1, 2)


@torch.no_grad()
def overlap(
    depth_a: Tensor,
    depth_b: Tensor,
    k_a: Tensor,
    k_b: Tensor,
    b_from_a: Tensor,
    *,
    step: int = 8,
    tolerance: float = 0.05,
) -> Tensor:
    """Return the fraction (...) of the surface in a that is visible in b; 0 if no depth is known.

    Arguments as for ``project_points``; measured at every ``step``-th pixel of a with known depth.
    """
    height, width = depth_a.shape[-2:]
    points = pixel_grid(width, height, step, depth_a.device).expand(*depth_a.shape[:-2], -1, -1)
    _, valid = project_points(points, depth_a, k_a, k_b, b_from_a, depth_b, tolerance=tolerance)
    known = depth_a[..., step // 2 :: step, step // 2 :: step].isfinite().sum((-2, -1))
    return valid.sum(-1) / known.clamp_min(1)


def _turned(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Vectors (..., N, 3) times matrices (..., 3, 3).

    Not as a matrix product, which on a GPU may be of few digits (TF32, autocast): a thousandth is a third of a pixel.
    """
    return (matrix[..., None, :, :] * vectors[..., None, :]).sum(-1)


def _at(mask: Tensor, points_px: Tensor) -> Tensor:
    """Values (..., N) of masks (..., H, W) at the pixels nearest to points (..., N, 2); false outside."""
    height, width = mask.shape[-2:]
    x, y = points_px.nan_to_num(-1.0).round().unbind(-1)
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    index = y.clamp(0, height - 1).long() * width + x.clamp(0, width - 1).long()
    return mask.flatten(-2).gather(-1, index) & inside
