"""Occupancy grids against a world of known surfaces."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from ros_matching.datatypes import OccupancyGrid
from ros_matching.datatypes.grid import FREE, OCCUPIED
from ros_matching.evaluation.measurement import Column, Table
from ros_matching.geometry.se3 import invert, transform

_LAYER = 0.5  # height between two samples of a column, in cells
_MARGIN = 20  # cells around the grid


@dataclass(frozen=True)
class GridReport:
    """Errors of a grid, over the cells that a robot can reach from the cameras and the surfaces around them.

    Precision: fraction of the free (occupied) cells that are truly free (occupied, or next to such a cell). Recall:
    fraction of the truly free cells (surfaces) that are free (have an occupied cell at most a cell away). ``known`` is
    the fraction of the reachable cells that are not unknown.
    """

    free_precision: float
    free_recall: float
    occupied_precision: float
    occupied_recall: float
    known: float
    reachable_area: float


def evaluate_grid(
    grid: OccupancyGrid,
    distance: Callable[[np.ndarray], np.ndarray],
    centers: np.ndarray,
    heights: tuple[float, float],
) -> GridReport:
    """Compare a grid with the true surfaces.

    ``distance`` returns signed distances (N,) from points (N, 3) in the world of the grid to the nearest surface,
    negative inside of solids. ``centers`` (K, 3) are camera positions, in free space; ``heights`` those of the robot.
    """
    cells = np.pad(grid.cells, _MARGIN, constant_values=-1)
    origin = grid.origin - _MARGIN * grid.resolution
    is_solid = _solid_cells(grid, cells.shape, origin, distance, heights)
    ground = transform(invert(grid.world_from_ground), centers)
    starts = np.floor((ground[:, :2] - origin) / grid.resolution).astype(int)[:, ::-1]
    reachable = _connected(~is_solid, starts)
    surface = is_solid & _dilated(reachable)  # occupied cells that a robot could touch
    free, occupied = cells == FREE, cells == OCCUPIED
    return GridReport(
        free_precision=_fraction(free & reachable, free),
        free_recall=_fraction(free & reachable, reachable),
        occupied_precision=_fraction(occupied & _dilated(is_solid), occupied),
        occupied_recall=_fraction(surface & _dilated(occupied), surface),
        known=_fraction((free | occupied) & reachable, reachable),
        reachable_area=float(reachable.sum() * grid.resolution**2),
    )


def _solid_cells(
    grid: OccupancyGrid,
    shape: tuple[int, int],
    origin: np.ndarray,
    distance: Callable[[np.ndarray], np.ndarray],
    heights: tuple[float, float],
) -> np.ndarray:
    """Return (H, W) bool, True for cells with a surface, or the inside of a solid, between the heights."""
    rows, columns = np.indices(shape)
    x, y = (origin[axis] + grid.resolution * (index + 0.5) for axis, index in enumerate((columns, rows)))
    solid = np.zeros(shape, bool)
    step = _LAYER * grid.resolution
    for height in np.arange(heights[0] + step, heights[1], step):
        points = np.stack([x.ravel(), y.ravel(), np.full(x.size, height)], axis=1)
        solid |= (distance(transform(grid.world_from_ground, points)) < 0.5 * grid.resolution).reshape(shape)
    return solid


def _connected(is_open: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return (H, W) bool, True for open cells that can be reached from cells (K, 2), as row and column."""
    reached = np.zeros(is_open.shape, bool)
    queue: deque[tuple[int, int]] = deque()
    for row, column in starts:
        if 0 <= row < is_open.shape[0] and 0 <= column < is_open.shape[1] and is_open[row, column]:
            reached[row, column] = True
            queue.append((int(row), int(column)))
    while queue:
        row, column = queue.popleft()
        for near, beside in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            inside = 0 <= near < is_open.shape[0] and 0 <= beside < is_open.shape[1]
            if inside and is_open[near, beside] and not reached[near, beside]:
                reached[near, beside] = True
                queue.append((near, beside))
    return reached


def _dilated(mask: np.ndarray) -> np.ndarray:
    """Return the mask (H, W) with its eight neighbours."""
    padded = np.pad(mask, 1)
    shape = mask.shape
    return np.logical_or.reduce(
        [padded[row : row + shape[0], column : column + shape[1]] for row in range(3) for column in range(3)]
    )


def _fraction(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else float("nan")


_COLUMNS = (
    Column("source", "source"),
    Column("resolution", "cell [m]", ".3f"),
    Column("free_precision", "free: precision %", ".1f", 100),
    Column("free_recall", "recall %", ".1f", 100),
    Column("occupied_precision", "occupied: precision %", ".1f", 100),
    Column("occupied_recall", "recall %", ".1f", 100),
    Column("known", "known %", ".1f", 100),
    Column("reachable_area", "reachable [m2]", ".1f"),
)
_NOTE = """\
Over the cells that can be reached, also those that no image shows (1 - known); surfaces at most a cell away count."""


def grid_table(report: GridReport, source: str, resolution: float) -> Table:
    """Return the errors of a grid as a table."""
    row = {"source": source, "resolution": resolution, **asdict(report)}
    return Table("Occupancy grid against the true surfaces", _COLUMNS, [row], _NOTE)
