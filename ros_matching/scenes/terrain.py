"""Ray intersection of height fields: marching until the ray dips below the ground, then regula falsi."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ros_matching.scenes.primitives import HeightField
from ros_matching.scenes.shapes import Samples, SurfacePoints, any_face_overlaps, bounding_faces, surface_moves
from ros_matching.scenes.tiles import TileGrid

_MAX_STEPS = 500
_REFINEMENTS = 5
_MIN_STEP_CELLS = 0.5  # chords shorter than this through a crest may be missed


class _Field:
    """One height field on the device, in grid units along x and y and metres along z."""

    def __init__(self, field: HeightField, device: torch.device) -> None:
        self.origin = torch.tensor(field.origin, dtype=torch.float64, device=device)
        self.to_grid = torch.tensor([1 / field.cell_m, 1 / field.cell_m, 1.0], dtype=torch.float64, device=device)
        self.cell_m, self.max_slope = field.cell_m, field.max_slope
        self.rows, self.columns = field.heights.shape
        self.lowest, self.highest = float(field.heights.min()), float(field.heights.max())
        self._patches = _bilinear_patches(field.heights, device)
        slope_y, slope_x = np.gradient(field.heights, field.cell_m)
        self._slopes = torch.cat([_bilinear_patches(slope_x, device), _bilinear_patches(slope_y, device)], 1)

    def height(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Height (N,) above the origin at grid positions (N,)."""
        return self._evaluate(self._patches, x, y).squeeze(1)

    def normals(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Unit normals (N, 3), smooth across cells."""
        slopes = self._evaluate(self._slopes, x, y)
        return torch.nn.functional.normalize(torch.cat([-slopes, torch.ones_like(slopes[:, :1])], 1), dim=1)

    def _evaluate(self, patches: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        column = x.clamp(0, self.columns - 1.001).floor()
        row = y.clamp(0, self.rows - 1.001).floor()
        fx, fy = (x - column)[:, None], (y - row)[:, None]
        cells = (row * (self.columns - 1) + column).int()
        c0, cx, cy, cxy = patches.index_select(0, cells).unflatten(1, (-1, 4)).unbind(2)
        return c0 + cx * fx + (cy + cxy * fx) * fy


class HeightFields:
    """A batch of height fields."""

    def __init__(self, fields: Sequence[HeightField], device: torch.device) -> None:
        self.fields = [_Field(field, device) for field in fields]
        poses, half_sizes = np.tile(np.eye(4), (len(fields), 1, 1)), np.zeros((len(fields), 3))
        for pose, half_size, field in zip(poses, half_sizes, fields, strict=True):
            ny, nx = field.heights.shape
            low, high = field.heights.min(), field.heights.max()
            half_size[:] = (nx - 1) * field.cell_m / 2, (ny - 1) * field.cell_m / 2, (high - low) / 2 + 1e-3
            pose[:3, 3] = field.origin + np.array([half_size[0], half_size[1], (low + high) / 2])
        self.bounds = bounding_faces(poses, half_sizes, device)

    def seen_from(self, eyes: torch.Tensor, rays: torch.Tensor) -> HeightFieldsInView:
        """The batch seen from eyes (B, 3) along rays (B, 3, 3), both float64."""
        return HeightFieldsInView(self, eyes, rays)


class HeightFieldsInView:
    """Height fields in images."""

    def __init__(self, batch: HeightFields, eyes: torch.Tensor, rays: torch.Tensor) -> None:
        self._fields = batch.fields
        self._bounds = batch.bounds.seen_from(eyes, rays)
        self._eyes = [((eyes - field.origin) * field.to_grid).float() for field in batch.fields]
        self._rays = [(rays * field.to_grid[:, None]).float() for field in batch.fields]

    def overlaps(self, grid: TileGrid) -> torch.Tensor:
        """Where each may appear, (B, T, N) bool."""
        return any_face_overlaps(self._bounds, grid)

    def inverse_depth(
        self, grid: TileGrid, tiles: torch.Tensor, rows: torch.Tensor, nearest: torch.Tensor
    ) -> torch.Tensor:
        """1 / z (n, P); 0 where missed."""
        found = torch.zeros_like(nearest)
        for number, field in enumerate(self._fields):
            mine = (rows % len(self._fields) == number).nonzero().squeeze(1)
            views = rows[mine] // len(self._fields)
            functions = grid.at_tile(self._rays[number][views], tiles[mine])
            rays = (functions.view(-1, 3) @ grid.positions).view(len(mine), 3, -1).transpose(1, 2).reshape(-1, 3)
            eyes = self._eyes[number][views].repeat_interleave(nearest.shape[1], 0)
            depth = _march(field, eyes, rays, 1.0 / nearest[mine].reshape(-1))
            found[mine] = (1.0 / depth).view(len(mine), -1)
        return found

    def surface(self, samples: Samples, numbers: torch.Tensor) -> SurfacePoints:
        """The points of the fields (N,) seen at the samples."""
        count = len(numbers)
        uv, jacobian = torch.empty(count, 2, device=numbers.device), torch.empty(count, 4, device=numbers.device)
        normals = torch.empty(count, 3, device=numbers.device)
        depth = 1.0 / samples.inverse_depth[:, None]
        for number, field in enumerate(self._fields):
            mine = (numbers == number).nonzero().squeeze(1)
            views = samples.views[mine]
            to_metres = (1.0 / field.to_grid).float()
            points = self._eyes[number][views] + depth[mine] * samples.rays[mine] / to_metres
            normals[mine] = field.normals(points[:, 0], points[:, 1])
            ray_steps = self._rays[number][views][..., :2] * to_metres[:, None]
            moves = surface_moves(ray_steps, samples.rays[mine], normals[mine], depth[mine])
            uv[mine] = points[:, :2] * field.cell_m
            jacobian[mine] = moves[:, :2].reshape(-1, 4)
        return SurfacePoints(uv, jacobian, normals)


def _bilinear_patches(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """The coefficients (cells, 4) of 1, x, y and x y of a grid's (ny, nx) cells."""
    a, b, c, d = values[:-1, :-1], values[:-1, 1:], values[1:, :-1], values[1:, 1:]
    patches = np.stack([a, b - a, c - a, a - b - c + d], -1).reshape(-1, 4)
    return torch.from_numpy(patches.astype(np.float32)).to(device)


def _march(field: _Field, eyes: torch.Tensor, rays: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """Depths (N,) where rays (N, 3) from eyes (N, 3), in grid units, first go below the ground before ``end`` (N,).

    A step is as long as the steepest slope allows, and never shorter than half a cell. Infinite where nothing is hit.
    """
    start, stop = _box_interval(field, eyes, rays, end)
    along_m = torch.hypot(rays[:, 0], rays[:, 1]) * field.cell_m
    closing = field.max_slope * along_m - rays[:, 2]  # the fastest that ray and ground can near each other
    shortest = _MIN_STEP_CELLS * field.cell_m / torch.maximum(along_m, -rays[:, 2])
    depth = torch.full_like(end, torch.inf)
    rows = ((start < stop) & (closing > 0)).nonzero().squeeze(1)
    now, gap = start[rows], _gap(field, eyes[rows], rays[rows], start[rows])
    for _ in range(_MAX_STEPS):
        rows, now, gap = _keep((gap > 0) & (now < stop[rows]), rows, now, gap)
        if not len(rows):
            break
        after = now + torch.maximum(gap / closing[rows], shortest[rows])
        gap_after = _gap(field, eyes[rows], rays[rows], after)
        hit, inside = (gap_after <= 0).nonzero().squeeze(1), rows[gap_after <= 0]
        depth[inside] = _refine(field, eyes[inside], rays[inside], (now[hit], gap[hit]), (after[hit], gap_after[hit]))
        now, gap = after, gap_after
    return torch.where(depth <= stop, depth, torch.inf)


def _refine(
    field: _Field,
    eyes: torch.Tensor,
    rays: torch.Tensor,
    above: tuple[torch.Tensor, torch.Tensor],
    below: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """The root between (depth, gap) above and below the ground, by regula falsi in the Illinois form."""
    (near, gap_near), (far, gap_far) = above, below
    root = far
    for _ in range(_REFINEMENTS):
        root = near + (far - near) * gap_near / (gap_near - gap_far)
        gap = _gap(field, eyes, rays, root)
        over = gap > 0
        gap_far = torch.where(over, gap_far / 2, gap)
        gap_near = torch.where(over, gap, gap_near / 2)
        near, far = torch.where(over, root, near), torch.where(over, far, root)
    return root


def _gap(field: _Field, eyes: torch.Tensor, rays: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    x, y, z = torch.addcmul(eyes, rays, depth[:, None]).unbind(1)
    return z - field.height(x, y)


def _keep(mask: torch.Tensor, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    kept = mask.nonzero().squeeze(1)
    return tuple(value[kept] for value in values)


def _box_interval(
    field: _Field, eyes: torch.Tensor, rays: torch.Tensor, end: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where rays enter the field's bounding box, and where they leave it or reach ``end``."""
    lower = torch.tensor([0.0, 0.0, field.lowest - 1e-3], device=eyes.device)
    upper = torch.tensor([field.columns - 1.0, field.rows - 1.0, field.highest + 1e-3], device=eyes.device)
    inverse = 1.0 / torch.where(rays.abs() < 1e-12, 1e-12, rays)
    first, second = (lower - eyes) * inverse, (upper - eyes) * inverse
    start = torch.minimum(first, second).amax(1).clamp_(min=0.0)
    return start, torch.minimum(torch.maximum(first, second).amin(1), end)
