"""The floor plan of a large scene: rooms or pieces of a street with openings between them.

A camera sees what is in its own cell, and what is in others through the openings within its field of view (cells and
portals: Airey et al. 1990). Most of a large scene is left out of a view in this way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ros_matching.scenes.primitives import HeightField, Primitive, Rectangle

Interval = tuple[float, float]


@dataclass(frozen=True)
class Portal:
    """An opening between the cells ``first`` and ``second``, from ``start`` (2,) to ``end`` (2,) in metres."""

    first: int
    second: int
    start: tuple[float, float]
    end: tuple[float, float]


class FloorPlan:
    """Cells, which are rectangles in x and y, of a scene's primitives.

    ``lower`` and ``upper`` (C, 2) are the corners of the cells in metres. A primitive belongs to all cells that it
    touches, and to those that are nearer than ``margin_m``. Walls are opaque and higher than what is behind them.
    """

    def __init__(
        self,
        lower: np.ndarray,
        upper: np.ndarray,
        portals: Sequence[Portal],
        primitives: Sequence[Primitive],
        margin_m: float = 0.02,
    ) -> None:
        self.lower, self.upper = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
        self.portals = tuple(portals)
        low, high = (np.array(bounds) for bounds in zip(*map(_bounds, primitives), strict=True))
        grown_lower, grown_upper = self.lower - margin_m, self.upper + margin_m
        self.members = (low <= grown_upper[:, None]).all(2) & (high >= grown_lower[:, None]).all(2)  # (C, N)
        self._portals_of: list[list[tuple[int, np.ndarray]]] = [[] for _ in self.lower]
        for portal in self.portals:
            ends = np.array([portal.start, portal.end])
            self._portals_of[portal.first].append((portal.second, ends))
            self._portals_of[portal.second].append((portal.first, ends))

    def visible(self, poses: np.ndarray, edge_rays: np.ndarray) -> np.ndarray:
        """Primitives (B, N) bool that cameras at poses (B, 4, 4) may see; all of them from outside of the cells.

        ``edge_rays`` (B, 4, 3) point through the corners of the images, in the world.
        """
        seen = np.ones((len(poses), self.members.shape[1]), bool)
        for row, (eye, rays) in enumerate(zip(poses[:, :2, 3], edge_rays, strict=True)):
            cells = np.nonzero((eye >= self.lower).all(1) & (eye <= self.upper).all(1))[0]
            view = _view(rays)
            if len(cells) and view is not None:
                found = {cell for start in cells for cell in self._cells_in_view(int(start), eye, view, (int(start),))}
                seen[row] = self.members[list(found)].any(0)
        return seen

    def _cells_in_view(self, cell: int, eye: np.ndarray, view: Interval, passed: tuple[int, ...]) -> Iterator[int]:
        """The cell and those behind its openings within the headings ``view``."""
        yield cell
        for behind, ends in self._portals_of[cell]:
            if behind not in passed:
                narrowed = _through(ends - eye, view)
                if narrowed is not None:
                    yield from self._cells_in_view(behind, eye, narrowed, (*passed, behind))


def _view(rays: np.ndarray) -> Interval | None:
    """The headings, from right to left, of an image's corner rays (4, 3); ``None`` if it may contain a vertical one."""
    headings = np.arctan2(rays[:, 1], rays[:, 0])
    middle = np.arctan2(*rays[:, 1::-1].sum(0))
    offsets = (headings - middle + np.pi) % (2 * np.pi) - np.pi
    lowest, highest = float(offsets.min()), float(offsets.max())
    return (middle + lowest, middle + highest) if highest - lowest < 0.9 * np.pi else None


def _through(ends: np.ndarray, view: Interval) -> Interval | None:
    """The part of a range of headings, below 180 degrees, in which an opening with ``ends`` (2, 2) from the eye is."""
    twice_area = abs(ends[0, 0] * ends[1, 1] - ends[0, 1] * ends[1, 0])
    if twice_area < 1e-3 * np.linalg.norm(ends[1] - ends[0]):
        return view  # the eye is in the opening, or in line with it
    middle = (view[0] + view[1]) / 2
    first, second = ((np.arctan2(y, x) - middle + np.pi) % (2 * np.pi) - np.pi for x, y in ends)
    low, high = min(first, second), max(first, second)
    half = (view[1] - view[0]) / 2
    if high - low > np.pi:  # the opening is behind the eye and around it
        return None if low < -half and high > half else view
    low, high = max(low, -half), min(high, half)
    return (middle + low, middle + high) if low < high else None


def _bounds(primitive: Primitive) -> tuple[np.ndarray, np.ndarray]:
    """Corners (2,), (2,) of the bounding rectangle in x and y."""
    if isinstance(primitive, HeightField) or not np.isfinite(primitive.half_size).all():
        return np.full(2, -np.inf), np.full(2, np.inf)
    axes = primitive.world_from_local[:2, : 2 if isinstance(primitive, Rectangle) else 3]
    reach = (np.abs(axes) * np.asarray(primitive.half_size)).sum(1)
    center = primitive.world_from_local[:2, 3]
    return center - reach, center + reach
