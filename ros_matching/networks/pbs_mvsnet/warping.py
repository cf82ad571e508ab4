"""The plane sweep: source feature maps warped to the reference camera at each depth hypothesis.

Projections (B, N, 4, 4) are ``K [R|t]`` over ``0 0 0 1``: from world coordinates to homogeneous pixels of the feature
map, pixel centres at integers. View 0 is the reference.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_MIN_DEPTH = 1e-6  # in the unit of the translations; nearer points lie behind the camera
_OUTSIDE = 10.0  # a normalised coordinate that samples nothing, in maps of any size


def source_from_reference(projections: Tensor) -> tuple[Tensor, Tensor]:
    """``rotation`` (B, N-1, 3, 3) and ``translation`` (B, N-1, 3, 1) that take reference pixels to the sources.

    A reference pixel ``p = (x, y, 1)`` at depth d is the homogeneous source pixel ``d rotation p + translation``.
    """
    exact = projections.double()
    world_from_reference, _ = torch.linalg.inv_ex(exact[:, :1])  # unlike inv, waits for no device
    transform = (exact[:, 1:] @ world_from_reference).to(projections.dtype)
    return transform[..., :3, :3], transform[..., :3, 3:]


def pixel_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Homogeneous pixels (3, height * width), row by row, with the type and device of ``like``."""
    v, u = torch.meshgrid(
        torch.arange(height, dtype=like.dtype, device=like.device),
        torch.arange(width, dtype=like.dtype, device=like.device),
        indexing="ij",
    )
    return torch.stack([u, v, torch.ones_like(u)]).flatten(1)


def normalized(u: Tensor, v: Tensor, z: Tensor, height: int, width: int) -> Tensor:
    """Sampling positions (..., 2) for ``grid_sample(align_corners=True)`` of homogeneous pixels of a map.

    Points behind the camera (z not positive) get a position outside of the map.
    """
    in_front = z > _MIN_DEPTH
    scale = torch.where(in_front, z, 1).reciprocal()
    x = u * scale * (2 / max(width - 1, 1)) - 1
    y = v * scale * (2 / max(height - 1, 1)) - 1
    grid = torch.stack([x, y], dim=-1).clamp(-_OUTSIDE, _OUTSIDE)
    return torch.where(in_front[..., None], grid, _OUTSIDE)


def warp(feature: Tensor, rotation: Tensor, translation: Tensor, depths: Tensor, size: tuple[int, int]) -> Tensor:
    """A source's features (B, C, h', w') in the reference frustum, (B, C, D, h, w); zero outside of it.

    ``rotation`` (B, 3, 3), ``translation`` (B, 3, 1), ``depths`` (B, D), ``size`` = (h, w) of the reference map. Each
    depth plane is a homography; the bilinear samples carry gradients to the features, not to the geometry.
    """
    with torch.no_grad():
        rays = (rotation @ pixel_grid(*size, like=rotation)).unsqueeze(2)
        points = rays * depths[:, None, :, None] + translation.unsqueeze(-1)  # (B, 3, D, h w)
        grid = normalized(*points.unbind(1), *feature.shape[2:])
        grid = grid.view(feature.shape[0], -1, size[1], 2)  # (B, D h, w, 2)
    warped = functional.grid_sample(feature, grid, padding_mode="zeros", align_corners=True)
    return warped.view(*feature.shape[:2], -1, *size)


def unproject(pixels: Tensor, depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Points (3, n) in camera coordinates of homogeneous pixels (3, n) with depths (n,)."""
    inverse, _ = torch.linalg.inv_ex(intrinsics)
    return inverse @ pixels * depth


def project(points: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels (2, n) and depths (n,) of points (3, n) in camera coordinates; NaN where not in front of the camera."""
    u, v, z = (intrinsics @ points).unbind(0)
    z = torch.where(z > 0, z, torch.nan)
    return torch.stack([u / z, v / z]), z


def is_inside(pixels: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return True for pixels (2, n) inside an image of ``size`` (height, width); False for NaN."""
    u, v = pixels.unbind(0)
    return (u >= 0) & (u <= size[1] - 1) & (v >= 0) & (v <= size[0] - 1)


def visible_in_source(
    depth: Tensor, intrinsics: Tensor, source_intrinsics: Tensor, source_from_reference: Tensor, size: tuple[int, ...]
) -> Tensor:
    """Return (h, w) bool, True for reference pixels whose point is inside a source image of ``size``."""
    points = unproject(pixel_grid(*depth.shape, like=depth), depth.flatten(), intrinsics)
    rotation, translation = source_from_reference[:3, :3], source_from_reference[:3, 3:]
    pixels, _ = project(rotation @ points + translation, source_intrinsics)
    return is_inside(pixels, size).view(depth.shape)
