"""Ray intersection of height fields: marching until the ray dips below the ground, then regula falsi."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ros_matching.scenes.primitives import HeightField
from ros_matching.scenes.shapes import Samples, SurfacePoints, any_face_overlaps, bounding_faces, dot, surface_moves
from ros_matching.scenes.tiles import TILE_PX, TileGrid

_MAX_STEPS = 500
_BLOCK = 16  # cells; no step is longer than this
_REFINEMENTS = 5
_MIN_STEP_CELLS, _MIN_STEP = 0.5, 0.01  # chords through a crest shorter than this, absolute and relative, may be missed


class _Field:
    """One height field on the device, in grid units along x and y and metres along z."""

    def __init__(self, field: HeightField, device: torch.device) -> None:
        self.origin = torch.tensor(field.origin, dtype=torch.float64, device=device)
        self.to_grid = torch.tensor([1 / field.cell_m, 1 / field.cell_m, 1.0], dtype=torch.float64, device=device)
        self.cell_m = field.cell_m
        self.rows, self.columns = field.heights.shape
        self.lowest, self.highest = float(field.heights.min()), float(field.heights.max())
        self._patches = _bilinear_patches(field.heights, device)
        slope_y, slope_x = np.gradient(field.heights, field.cell_m)
        self._slopes = torch.cat([_bilinear_patches(slope_x, device), _bilinear_patches(slope_y, device)], 1)
        self._steepest = _steepest_around(self._patches.view(self.rows - 1, self.columns - 1, 4), field.cell_m)

    def height(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Height (N,) above the origin at grid positions (N,)."""
        return self._evaluate(self._patches, x, y).squeeze(1)

    def steepest_around(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The steepest slope (N,) within ``_BLOCK`` cells of grid positions (N,) inside the field."""
        row, column = (y / _BLOCK).int(), (x / _BLOCK).int()
        blocks = self._steepest.shape
        number = row.clamp_(0, blocks[0] - 1) * blocks[1] + column.clamp_(0, blocks[1] - 1)
        return self._steepest.view(-1).index_select(0, number)

    def normals(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Unit normals (3, N), smooth across cells."""
        slopes = self._evaluate(self._slopes, x, y).T
        normals = torch.cat([-slopes, torch.ones_like(x)[None]])
        return normals.mul_(dot(normals, normals).rsqrt_())

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
        """Prepare the batch for eyes (B, 3) along rays (B, 3, 3), both float64."""
        return HeightFieldsInView(self, eyes, rays)


class HeightFieldsInView:
    """Height fields in images."""

    def __init__(self, batch: HeightFields, eyes: torch.Tensor, rays: torch.Tensor) -> None:
        self._fields = batch.fields
        self._bounds = batch.bounds.seen_from(eyes, rays)
        self._eyes = [((eyes - field.origin) * field.to_grid).float() for field in batch.fields]
        self._rays = [(rays * field.to_grid[:, None]).float() for field in batch.fields]

    def overlaps(self, grid: TileGrid) -> torch.Tensor:
        """Return (B, T, N) bool, True for tiles in which a field may appear."""
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
            rays = (functions.view(-1, 3) @ grid.positions).view(len(mine), 3, -1).transpose(0, 1)  # (3, n, P)
            eyes = self._eyes[number][views].T[..., None].expand_as(rays)
            end = nearest[mine].reciprocal_()
            depth = torch.full_like(end, torch.inf)
            centers = slice(None, None, grid.samples)
            depth[:, centers] = _march_all(field, eyes[..., centers], rays[..., centers], end[:, centers])
            if grid.samples > 1:
                rough = _spread_to_samples(grid, depth[:, centers], depth)
                depth[rough] = _march(field, eyes[:, rough], rays[:, rough], end[rough])
            found[mine] = depth.reciprocal_()
        return found

    def surface(self, samples: Samples, numbers: torch.Tensor) -> SurfacePoints:
        """The points of the fields (N,) at the samples."""
        count = len(numbers)
        uv, jacobian, normals = (torch.empty(size, count, device=numbers.device) for size in (2, 4, 3))
        for number, field in enumerate(self._fields):
            mine = (numbers == number).nonzero().squeeze(1)
            part = samples.select(mine)
            depth = part.inverse_depth.reciprocal()
            to_metres = field.to_grid.reciprocal().float()
            eyes = (self._eyes[number] * to_metres).T.index_select(1, part.views)
            points = eyes.addcmul_(depth, part.rays)
            normals[:, mine] = field.normals(*(points[:2] / field.cell_m))
            ray_steps = (self._rays[number] * to_metres[:, None])[..., :2].reshape(-1, 6).T
            ray_steps = ray_steps.index_select(1, part.views).view(3, 2, -1)
            moves = surface_moves(ray_steps, part.rays, normals[:, mine], depth)
            uv[:, mine], jacobian[:, mine] = points[:2], moves[:2].reshape(4, -1)
        return SurfacePoints(uv, jacobian, normals)


def _steepest_around(patches: torch.Tensor, cell_m: float) -> torch.Tensor:
    """The steepest slope in each block of cells and its eight neighbours, from the cells' coefficients (ny, nx, 4)."""
    _, along_x, along_y, both = patches.unbind(-1)
    steep_x = torch.maximum(along_x.abs(), (along_x + both).abs())
    steep_y = torch.maximum(along_y.abs(), (along_y + both).abs())
    slopes = torch.hypot(steep_x, steep_y)[None] / cell_m
    blocks = torch.nn.functional.max_pool2d(slopes, _BLOCK, ceil_mode=True)
    return torch.nn.functional.max_pool2d(blocks, 3, stride=1, padding=1)[0]


def _bilinear_patches(values: np.ndarray, device: torch.device) -> torch.Tensor:
    """The coefficients (cells, 4) of 1, x, y and x y of a grid's (ny, nx) cells."""
    a, b, c, d = values[:-1, :-1], values[:-1, 1:], values[1:, :-1], values[1:, 1:]
    patches = np.stack([a, b - a, c - a, a - b - c + d], -1).reshape(-1, 4)
    return torch.from_numpy(patches.astype(np.float32)).to(device)


def _spread_to_samples(grid: TileGrid, centers: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
    """Give all samples of a pixel the depth of its centre, and return (n, P) bool, True if they need their own.

    Those are where the ground ends, within a pixel: at its crests and where other things stand before it.
    """
    hits = centers.isfinite().float().view(-1, 1, TILE_PX, TILE_PX)
    some = torch.nn.functional.max_pool2d(hits, 3, stride=1, padding=1) > 0
    every = torch.nn.functional.max_pool2d(-hits, 3, stride=1, padding=1) < 0
    rough = (some & ~every).view(len(centers), -1, 1).expand(-1, -1, grid.samples).reshape(depth.shape).clone()
    rough[:, :: grid.samples] = False
    depth.copy_(centers.repeat_interleave(grid.samples, 1))
    return rough


def _march_all(field: _Field, eyes: torch.Tensor, rays: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """``_march`` for rays (3, n, k)."""
    return _march(field, eyes.reshape(3, -1), rays.reshape(3, -1), end.reshape(-1)).view(end.shape)


def _march(field: _Field, eyes: torch.Tensor, rays: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """Depths (N,) where rays (3, N) from eyes (3, N), in grid units, first go below the ground before ``end`` (N,).

    A step is as long as the steepest slope around allows, but at least half a cell or a hundredth of the distance.
    Infinite where nothing is hit.
    """
    start, stop = _box_interval(field, eyes, rays, end)
    gap = _gap(field, eyes, rays, start)
    active = ((start < stop) & (gap > 0)).nonzero().squeeze(1)
    ray = _Marching(active, *(values.index_select(-1, active) for values in (eyes, rays, start, gap, stop)))
    brackets = []
    for _ in range(_MAX_STEPS):
        if not len(ray.number):
            break
        after = ray.depth + _step(field, ray)
        gap_after = _gap(field, ray.eyes, ray.rays, after)
        hit = (gap_after <= 0).nonzero().squeeze(1)
        brackets.append((ray.number[hit], ray.depth[hit], ray.gap[hit], after[hit], gap_after[hit]))
        ray = ray.moved(after, gap_after)
    depth = torch.full_like(end, torch.inf)
    if brackets:
        number, near, gap_near, far, gap_far = (torch.cat(column) for column in zip(*brackets, strict=True))
        depth[number] = _refine(field, eyes[:, number], rays[:, number], (near, gap_near), (far, gap_far))
    return torch.where(depth <= stop, depth, torch.inf)


@dataclass(frozen=True)
class _Marching:
    """The rays that are still above the ground: their indices, constants, positions and heights above it."""

    number: torch.Tensor
    eyes: torch.Tensor
    rays: torch.Tensor
    depth: torch.Tensor
    gap: torch.Tensor
    stop: torch.Tensor

    def moved(self, depth: torch.Tensor, gap: torch.Tensor) -> _Marching:
        """The rays after a step, less those that hit or left."""
        going = (gap > 0) & (depth < self.stop)
        kept = going.nonzero().squeeze(1)
        parts = (self.number, self.eyes, self.rays, depth, gap, self.stop)
        return _Marching(*(part.index_select(-1, kept) for part in parts))


def _step(field: _Field, ray: _Marching) -> torch.Tensor:
    along = torch.hypot(ray.rays[0], ray.rays[1])  # cells per unit of depth
    x, y, _ = torch.addcmul(ray.eyes, ray.rays, ray.depth)
    closing = field.steepest_around(x, y).mul_(along).mul_(field.cell_m).sub_(ray.rays[2])
    longest = _BLOCK / along
    safe = torch.where(closing > 0, ray.gap / closing, longest)
    least = torch.maximum(_MIN_STEP_CELLS / torch.maximum(along, -ray.rays[2] / field.cell_m), _MIN_STEP * ray.depth)
    return torch.minimum(torch.maximum(safe, least), longest)


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
    x, y, z = torch.addcmul(eyes, rays, depth)
    return z - field.height(x, y)


def _box_interval(
    field: _Field, eyes: torch.Tensor, rays: torch.Tensor, end: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The interval from entering the field's bounding box to leaving it or reaching ``end``."""
    lower = torch.tensor([0.0, 0.0, field.lowest - 1e-3], device=eyes.device)[:, None]
    upper = torch.tensor([field.columns - 1.0, field.rows - 1.0, field.highest + 1e-3], device=eyes.device)[:, None]
    inverse = torch.where(rays.abs() < 1e-12, 1e-12, rays).reciprocal_()
    first, second = (lower - eyes) * inverse, (upper - eyes) * inverse
    start = torch.minimum(first, second).amax(0).clamp_(min=0.0)
    return start, torch.minimum(torch.maximum(first, second).amin(0), end)
