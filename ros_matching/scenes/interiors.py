"""Parts of buildings: walls with doorways and posters, and furniture along them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ros_matching.scenes.builder import SceneBuilder
from ros_matching.scenes.primitives import Surface

DOOR_M = (1.0, 2.1)  # width and height of a doorway
_DOOR_CLEARANCE_M = 1.3  # from the middle of a doorway to the middle of furniture along its wall


@dataclass(frozen=True)
class WallLine:
    """A wall from ``start`` to ``end`` (2,) in metres, seen from its left side, ``height`` high."""

    start: tuple[float, float]
    end: tuple[float, float]
    height: float

    @property
    def length(self) -> float:
        """Length in metres."""
        return float(np.linalg.norm(np.subtract(self.end, self.start)))

    @property
    def along(self) -> np.ndarray:
        """Unit vector (2,) from start to end."""
        return np.subtract(self.end, self.start) / self.length

    @property
    def heading_deg(self) -> float:
        """The heading of a viewer who faces the wall."""
        return float(np.degrees(np.arctan2(-self.along[0], self.along[1])))

    def at(self, along: float, z: float, off: float = 0.0) -> tuple[float, float, float]:
        """The point at a distance along the wall and ``off`` from it, metres."""
        x, y = self.start + self.along * along + np.array([-self.along[1], self.along[0]]) * off
        return float(x), float(y), z

    def offset_of(self, point: tuple[float, float]) -> tuple[float, float]:
        """Distances of a point (2,) along the wall and from it."""
        relative = np.subtract(point, self.start)
        return float(relative @ self.along), float(relative @ [-self.along[1], self.along[0]])


def room_walls(lower: tuple[float, float], upper: tuple[float, float], height: float) -> list[WallLine]:
    """The four walls of a room, seen from inside."""
    (x0, y0), (x1, y1) = lower, upper
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    return [WallLine(start, end, height) for start, end in pairwise(corners)]


def put_wall(builder: SceneBuilder, line: WallLine, kind: str, doors: Sequence[float] = ()) -> None:
    """A wall of a kind of surface, with doorways whose middles are at ``doors`` along it."""
    put_wall_of(builder, line, builder.surface(kind, 3.0 if kind == "clutter" else 2.2), doors)


def put_wall_of(builder: SceneBuilder, line: WallLine, surface: Surface, doors: Sequence[float] = ()) -> None:
    """A wall with that surface, with doorways whose middles are at ``doors`` along it."""
    width, height = DOOR_M
    edges = [0.0, *(edge for door in sorted(doors) for edge in (door - width / 2, door + width / 2)), line.length]
    for left, right in zip(edges[::2], edges[1::2], strict=True):
        if right - left > 1e-6:
            center = line.at((left + right) / 2, line.height / 2)
            builder.wall(surface, center, line.heading_deg, (right - left, line.height))
    for door in doors:
        center = line.at(door, (height + line.height) / 2)
        builder.wall(surface, center, line.heading_deg, (width, line.height - height))


def put_posters(builder: SceneBuilder, line: WallLine, doors: Sequence[float] = (), step_m: float = 1.15) -> None:
    """Posters along a wall, at some distance from its doorways."""
    rng = builder.rng
    for slot in np.arange(0.7, line.length - 0.5, step_m):
        size = (rng.uniform(0.5, 1.0), rng.uniform(0.5, 1.1))
        if all(abs(slot - door) > (DOOR_M[0] + size[0]) / 2 + 0.1 for door in doors):
            center = line.at(slot, line.height / 2 + rng.uniform(-0.1, 0.5), 0.01)
            builder.wall(builder.surface("poster", size), center, line.heading_deg, size)


def door_frame(builder: SceneBuilder, center: tuple[float, float], along: np.ndarray, thickness_m: float) -> None:
    """Jambs and lintel of a doorway in a wall along the unit vector (2,)."""
    wood = builder.surface("planks", 1.2)
    width, height = DOOR_M
    heading_deg = float(np.degrees(np.arctan2(along[1], along[0])))
    for side in (-1, 1):
        x, y = np.add(center, along * side * width / 2)
        builder.box(wood, (x, y, height / 2), (0.06, thickness_m, height), heading_deg)
    builder.box(wood, (*center, height), (width + 0.06, thickness_m, 0.06), heading_deg)


def furnish(builder: SceneBuilder, line: WallLine, doors: Sequence[float] = ()) -> None:
    """Furniture along a wall, at most 0.75 m deep, away from its doorways and from the corners."""
    for slot in np.linspace(0.8, line.length - 0.8, max(round((line.length - 1.6) / 1.45) + 1, 1)):
        if all(abs(slot - door) > _DOOR_CLEARANCE_M for door in doors) and builder.rng.random() < 0.9:
            _PIECES[builder.rng.integers(len(_PIECES))](builder, line, float(slot))


def _table(builder: SceneBuilder, line: WallLine, slot: float) -> None:
    size = (builder.rng.uniform(1.0, 1.4), 0.65, builder.rng.uniform(0.7, 0.78))
    builder.table(line.at(slot, 0.0, 0.4)[:2], size, line.heading_deg + 90)


def bookcase(builder: SceneBuilder, line: WallLine, slot: float) -> None:
    """Boards with rows of books, 1.1 m wide."""
    rng, heading_deg = builder.rng, line.heading_deg
    wood = builder.surface("planks", 1.5)
    levels = np.arange(0.05, rng.uniform(1.3, 2.1), 0.42)
    for level in levels:
        builder.box(wood, line.at(slot, level, 0.18), (0.32, 1.1, 0.03), heading_deg)
        width = rng.uniform(0.5, 1.0)
        books = builder.surface("poster", (width, 0.35))
        center = line.at(slot + rng.uniform(-0.5, 0.5) * (1.0 - width), level + 0.14, 0.18)
        builder.box(books, center, (0.22, width, 0.25), heading_deg)
    for end in (-0.56, 0.56):
        height = levels[-1] + 0.3
        builder.box(wood, line.at(slot + end, height / 2, 0.18), (0.34, 0.03, height), heading_deg)


def _chest(builder: SceneBuilder, line: WallLine, slot: float) -> None:
    rng = builder.rng
    size = (rng.uniform(0.4, 0.55), rng.uniform(0.6, 1.1), rng.uniform(0.5, 1.1))
    builder.box(
        builder.surface(rng.choice(["planks", "clutter"]), 0.9),
        line.at(slot, size[2] / 2, 0.32),
        size,
        line.heading_deg,
    )
    builder.thing(line.at(slot + rng.uniform(-0.2, 0.2), size[2], 0.32), rng.uniform(0.1, 0.16))


def _sofa(builder: SceneBuilder, line: WallLine, slot: float) -> None:
    cloth, heading_deg = builder.surface("carpet", 1.0), line.heading_deg
    builder.box(cloth, line.at(slot, 0.22, 0.4), (0.7, 1.3, 0.44), heading_deg)
    builder.box(cloth, line.at(slot, 0.55, 0.14), (0.2, 1.3, 0.6), heading_deg)
    builder.box(builder.surface("clutter", 0.6), line.at(slot + 0.3, 0.56, 0.35), (0.15, 0.4, 0.3), heading_deg)


def column(builder: SceneBuilder, line: WallLine, slot: float) -> None:
    """A low column with a ball, such as a plant in its pot."""
    rng = builder.rng
    height = rng.uniform(0.4, 0.9)
    builder.cylinder(builder.surface("tiles", 1.2), line.at(slot, 0.0, 0.2), 0.16, height)
    builder.sphere(builder.surface("ground", 0.8), line.at(slot, height + 0.16, 0.2), 0.18)


_PIECES: tuple[Callable[[SceneBuilder, WallLine, float], None], ...] = (_table, bookcase, _chest, _sofa, column)
