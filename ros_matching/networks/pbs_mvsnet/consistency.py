"""Geometric consistency of depth maps: there and back again (equations 1 and 2).

Depth maps are tensors (h, w) along z with NaN where unknown; intrinsics are matrices (3, 3) of the depth maps' pixels,
``source_from_reference`` (4, 4), all of one type and device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ros_matching.networks.pbs_mvsnet.warping import normalized, pixel_grid


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
    """Whether pixels (2, n) lie in an image of that height and width; those that are NaN do not."""
    u, v = pixels.unbind(0)
    return (u >= 0) & (u <= size[1] - 1) & (v >= 0) & (v <= size[0] - 1)


def seen_in_source(
    depth: Tensor, intrinsics: Tensor, source_intrinsics: Tensor, source_from_reference: Tensor, size: tuple[int, ...]
) -> Tensor:
    """Which reference pixels (h, w) have their point inside of a source image of that height and width."""
    points = unproject(pixel_grid(*depth.shape, like=depth), depth.flatten(), intrinsics)
    rotation, translation = source_from_reference[:3, :3], source_from_reference[:3, 3:]
    pixels, _ = project(rotation @ points + translation, source_intrinsics)
    return is_inside(pixels, size).view(depth.shape)


def reproject(
    depth: Tensor, intrinsics: Tensor, source_depth: Tensor, source_intrinsics: Tensor, source_from_reference: Tensor
) -> tuple[Tensor, Tensor]:
    """Where each reference pixel comes back to, p' (2, h, w), and at which depth, d' (h, w).

    By its own depth it goes to the source, there takes the source's depth (bilinear), and by that returns. NaN where
    it leaves the source's image or a depth on its way is unknown.
    """
    grid = pixel_grid(*depth.shape, like=depth)
    rotation, translation = source_from_reference[:3, :3], source_from_reference[:3, 3:]
    there, z = project(rotation @ unproject(grid, depth.flatten(), intrinsics) + translation, source_intrinsics)
    found = _sample(source_depth, there, z)
    points = unproject(torch.cat([there, torch.ones_like(found)[None]]), found, source_intrinsics)
    back, back_depth = project(rotation.T @ (points - translation), intrinsics)
    return back.view(2, *depth.shape), back_depth.view(depth.shape)


def is_consistent(depth: Tensor, pixels: Tensor, depths: Tensor, max_error_px: float, max_error: float) -> Tensor:
    """Where a reprojection (``reproject``) agrees with the reference depth: (h, w) bool.

    ``|p' - p| < max_error_px`` (1) and ``|d' - d| < max_error * d`` (2).
    """
    home = pixel_grid(*depth.shape, like=depth)[:2].view_as(pixels)
    near = torch.linalg.vector_norm(pixels - home, dim=0) < max_error_px
    return near & ((depths - depth).abs() < max_error * depth)


def _sample(depth: Tensor, pixels: Tensor, z: Tensor) -> Tensor:
    """Depths (n,) at pixels (2, n), bilinear; NaN outside, behind the camera, and beside an unknown depth."""
    inside = is_inside(pixels, depth.shape)
    u, v = torch.where(inside, pixels, 0)
    grid = normalized(u, v, torch.ones_like(z), *depth.shape)[None, None]
    # The border mode: a rounding error outside of the last row must not mix in a zero.
    sampled = functional.grid_sample(depth[None, None], grid, padding_mode="border", align_corners=True).flatten()
    return torch.where(inside, sampled, torch.nan)
