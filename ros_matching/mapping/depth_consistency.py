"""Geometric consistency of the depth maps of several views, and the depths that it keeps (equations 1 and 2).

A depth is projected to another view, takes that view's depth there, and comes back. Tensors of depth are (h, w) along z
with NaN where unknown; intrinsics are matrices (3, 3) of the depth maps' pixels, ``source_from_reference`` (4, 4), all
of one type and device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ros_matching.datatypes import DepthMap, Keyframe, PointCloud
from ros_matching.geometry.se3 import invert
from ros_matching.mapping.config import ConsistencyConfig
from ros_matching.mapping.result import MappingCounts
from ros_matching.networks.pbs_mvsnet.warping import is_inside, normalized, pixel_grid, project, unproject


def reproject(
    depth: Tensor, intrinsics: Tensor, source_depth: Tensor, source_intrinsics: Tensor, source_from_reference: Tensor
) -> tuple[Tensor, Tensor]:
    """Project reference pixels to the source and back; return pixels p' (2, h, w) and depths d' (h, w).

    The way there uses the reference depth, the way back the source depth at that position (bilinear). NaN if the
    position is outside the source image or a depth is unknown.
    """
    grid = pixel_grid(*depth.shape, like=depth)
    rotation, translation = source_from_reference[:3, :3], source_from_reference[:3, 3:]
    there, z = project(rotation @ unproject(grid, depth.flatten(), intrinsics) + translation, source_intrinsics)
    found = _sample(source_depth, there, z)
    points = unproject(torch.cat([there, torch.ones_like(found)[None]]), found, source_intrinsics)
    back, back_depth = project(rotation.T @ (points - translation), intrinsics)
    return back.view(2, *depth.shape), back_depth.view(depth.shape)


def is_consistent(depth: Tensor, pixels: Tensor, depths: Tensor, max_error_px: float, max_error: float) -> Tensor:
    """Return (h, w) bool, True if a reprojection (``reproject``) agrees with the reference depth.

    ``|p' - p| < max_error_px`` (1) and ``|d' - d| < max_error * d`` (2).
    """
    home = pixel_grid(*depth.shape, like=depth)[:2].view_as(pixels)
    near = torch.linalg.vector_norm(pixels - home, dim=0) < max_error_px
    return near & ((depths - depth).abs() < max_error * depth)


def _sample(depth: Tensor, pixels: Tensor, z: Tensor) -> Tensor:
    """Depths (n,) at pixels (2, n), bilinear; NaN outside, behind the camera, and next to an unknown depth."""
    inside = is_inside(pixels, depth.shape)
    u, v = torch.where(inside, pixels, 0)
    grid = normalized(u, v, torch.ones_like(z), *depth.shape)[None, None]
    # The border mode: a rounding error outside of the last row must not mix in a zero.
    sampled = functional.grid_sample(depth[None, None], grid, padding_mode="border", align_corners=True).flatten()
    return torch.where(inside, sampled, torch.nan)


class Agreement(NamedTuple):
    """``count`` (h, w) int: how many sources agree with a depth; ``depth`` (h, w): the mean of it and of theirs.

    ``close`` (h, w) int counts those that agree to half of the depth error.
    """

    count: np.ndarray
    depth: np.ndarray
    close: np.ndarray


def agreement(
    reference: DepthMap,
    world_from_reference: np.ndarray,
    sources: Sequence[tuple[DepthMap, np.ndarray]],
    max_error_px: float,
    max_depth_error: float,
) -> Agreement:
    """Compare a depth map with sources, (depth map, world_from_camera), by equations 1 and 2."""
    depth = torch.from_numpy(np.asarray(reference.depth, np.float64))
    intrinsics = torch.from_numpy(reference.camera.matrix)
    count, total = np.zeros(reference.depth.shape, np.int64), depth.numpy().copy()
    close = np.zeros_like(count)
    for source, world_from_source in sources:
        source_from_reference = torch.from_numpy(invert(world_from_source) @ world_from_reference)
        source_depth = torch.from_numpy(np.asarray(source.depth, np.float64))
        source_intrinsics = torch.from_numpy(source.camera.matrix)
        back = reproject(depth, intrinsics, source_depth, source_intrinsics, source_from_reference)
        consistent = is_consistent(depth, *back, max_error_px, max_depth_error).numpy()
        count += consistent
        close += is_consistent(depth, *back, max_error_px, 0.5 * max_depth_error).numpy()
        total[consistent] += back[1].numpy()[consistent]
    return Agreement(count, total / (count + 1), close)


def filter_depth(
    depth_map: DepthMap,
    world_from_camera: np.ndarray,
    others: Sequence[tuple[DepthMap, np.ndarray]],
    config: ConsistencyConfig,
) -> tuple[DepthMap, MappingCounts]:
    """Return the depths that are confident and consistent with enough others, (depth map, world_from_camera).

    A kept depth is the mean of the depth and those of the consistent views, in this camera. A very confident one needs
    a view fewer. Flying points at depth edges and isolated depths are removed.
    """
    agreed = agreement(depth_map, world_from_camera, others, config.max_error_px, config.max_depth_error)
    confident = depth_map.confidence >= config.min_confidence
    consistent = agreed.count >= config.min_consistent
    is_strong = depth_map.confidence > config.strong_confidence
    consistent |= is_strong & (agreed.close >= max(config.min_consistent - 1, 1))
    kept = confident & consistent & np.isfinite(depth_map.depth)
    depth = np.where(kept, agreed.depth, np.nan).astype(np.float32)
    if config.max_edge_error:
        depth[flying_points(depth, config.max_edge_error)] = np.nan
    depth[isolated_depths(depth, config.min_neighbours)] = np.nan
    kept = np.isfinite(depth)
    counts = MappingCounts(
        depths=int(np.isfinite(depth_map.depth).sum()),
        confident=int((confident & np.isfinite(depth_map.depth)).sum()),
        consistent=int(kept.sum()),
    )
    return DepthMap(depth, np.where(kept, depth_map.confidence, 0), depth_map.camera), counts


def flying_points(depth: np.ndarray, max_error: float) -> np.ndarray:
    """Return (h, w) bool, True for depths between two surfaces, as a network has them at depth edges; NaN is unknown.

    The inverse depth of a plane is linear in the image. A depth is on a surface if, along its row and along its
    column, the two pixels on one side extrapolate to it within ``max_error``, relative. Where no side is known, it is
    not judged.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / depth
        found = np.zeros(depth.shape, bool)
        for axis in (0, 1):
            errors = [
                np.abs(2 * _shifted(inverse, axis, side) - _shifted(inverse, axis, 2 * side) - inverse) / inverse
                for side in (1, -1)
            ]
            found |= np.fmin(*errors) > max_error
    return found


def isolated_depths(depth: np.ndarray, min_neighbours: int) -> np.ndarray:
    """Return (h, w) bool, True for depths with fewer known ones among the 8 pixels around them."""
    known = np.isfinite(depth)
    around = np.pad(known, 1).astype(np.int64)
    rows = around[:-2] + around[1:-1] + around[2:]
    count = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] - known
    return known & (count < min_neighbours)


def _shifted(values: np.ndarray, axis: int, steps: int) -> np.ndarray:
    """Return values (h, w) moved along an axis, NaN where nothing comes from."""
    moved = np.full_like(values, np.nan)
    source, target = [slice(None)] * 2, [slice(None)] * 2
    source[axis] = slice(max(-steps, 0), values.shape[axis] - max(steps, 0))
    target[axis] = slice(max(steps, 0), values.shape[axis] - max(-steps, 0))
    moved[tuple(target)] = values[tuple(source)]
    return moved


def depth_points(depth_map: DepthMap, keyframe: Keyframe) -> PointCloud:
    """Return the known depths as points in camera coordinates, with the colours of the keyframe's image."""
    rows, columns = np.nonzero(np.isfinite(depth_map.depth))
    rays = depth_map.camera.unproject(np.column_stack([columns, rows]))
    u, v = np.rint(keyframe.frame.camera.project(rays)).astype(np.int64).T
    colors = keyframe.frame.image[v, u]
    return PointCloud(rays * depth_map.depth[rows, columns, None], colors, depth_map.confidence[rows, columns])
