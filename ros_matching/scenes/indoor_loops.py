"""Large interiors with a route: a house, the corridor ring of an office floor, and equal cells in a row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ros_matching.scenes.builder import SceneBuilder
from ros_matching.scenes.floor_plan import FloorPlan, Portal
from ros_matching.scenes.interiors import (
    DOOR_M,
    WallLine,
    bookcase,
    column,
    door_frame,
    furnish,
    put_posters,
    put_wall,
    put_wall_of,
    room_walls,
)
from ros_matching.scenes.primitives import Surface
from ros_matching.scenes.routes import Route
from ros_matching.scenes.scene import FreeSpace, Light, Scene
from ros_matching.scenes.textures import TextureSource, with_variants

_HEIGHT_M, _WALL_M, _EYE_M = 2.7, 0.12, 1.4
_LIGHT = Light((4e4, 2.5e4, 3e4), ambient=0.6)  # far: equal cells are lit equally
Point = tuple[float, float]


def house(textures: TextureSource, rng: np.random.Generator) -> Scene:
    """Six furnished rooms, three by two, with doors all round and across; the route is a figure of eight.

    It crosses every doorway and comes back to a room it knows after four, eight and ten rooms.
    """
    builder = SceneBuilder(with_variants(textures, 4), rng)
    x = np.cumsum([0.0, *rng.uniform(4.2, 5.4, 3)])
    y = np.cumsum([0.0, *rng.uniform(4.0, 4.8, 2)])
    lower = [(x[column], y[row]) for row in range(2) for column in range(3)]
    upper = [(x[column + 1], y[row + 1]) for row in range(2) for column in range(3)]
    middles = [tuple(np.add(low, high) / 2 + rng.uniform(-0.2, 0.2, 2)) for low, high in zip(lower, upper, strict=True)]
    doors = {
        (a, b): _between(lower, upper, a, b, rng) for a, b in ((0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5))
    }
    for room, (low, high) in enumerate(zip(lower, upper, strict=True)):
        _room(builder, low, high, [door for rooms, door in doors.items() if room in rooms])
    for (a, b), door in doors.items():
        door_frame(builder, door, np.array([0.0, 1.0]) if b - a == 1 else np.array([1.0, 0.0]), _WALL_M + 0.04)
    corners = _through_doors((0, 1, 4, 3, 0, 1, 2, 5, 4, 3), middles, doors)
    plan = FloorPlan(
        np.array(lower), np.array(upper), [_doorway(a, b, doors[a, b]) for a, b in doors], builder.primitives
    )
    space = FreeSpace((*np.add(lower[0], 1.4), 1.1), (*np.subtract(upper[0], 1.4), 1.7), clearance_m=0.3, speed_m_s=0.7)
    return builder.build(_LIGHT, space, route=Route(corners, True, key_m=0.5, sway_m=0.12), plan=plan)


def _between(
    lower: Sequence[Point], upper: Sequence[Point], a: int, b: int, rng: np.random.Generator
) -> tuple[float, float]:
    """The middle of a doorway between two rooms, b the one to the right of a or above it."""
    shift = rng.uniform(-0.4, 0.4)
    if b - a == 1:
        return upper[a][0], (lower[a][1] + upper[a][1]) / 2 + shift
    return (lower[a][0] + upper[a][0]) / 2 + shift, upper[a][1]


def _doorway(a: int, b: int, door: Point) -> Portal:
    half = np.array([0.0, 1.0] if b - a == 1 else [1.0, 0.0]) * DOOR_M[0] / 2
    return Portal(a, b, tuple(door - half), tuple(door + half))


def _room(builder: SceneBuilder, lower: Point, upper: Point, doors: Sequence[Point]) -> None:
    """Floor, ceiling and furnished walls of a room whose walls are half a wall from ``lower`` and ``upper``."""
    rng = builder.rng
    center, size = np.add(lower, upper) / 2, np.subtract(upper, lower)
    builder.floor(rng.choice(["planks", "tiles", "carpet"]), (*center, 0.0), tuple(size), 2.0)
    builder.floor("plaster", (*center, _HEIGHT_M), tuple(size), 2.5)
    for line in room_walls(tuple(np.add(lower, _WALL_M / 2)), tuple(np.subtract(upper, _WALL_M / 2)), _HEIGHT_M):
        offsets = [line.offset_of(door) for door in doors]
        along = [offset for offset, away in offsets if abs(away) < _WALL_M]
        put_wall(builder, line, rng.choice(["plaster", "bricks", "clutter"], p=[0.55, 0.33, 0.12]), along)
        put_posters(builder, line, along)
        furnish(builder, line, along)


def _through_doors(
    rooms: Sequence[int], middles: Sequence[Point], doors: dict[tuple[int, int], tuple[float, float]]
) -> np.ndarray:
    """Corners (K, 3) of a closed route through the middles of rooms, straight through each doorway."""
    corners = []
    for here, there in zip(rooms, [*rooms[1:], rooms[0]], strict=True):
        door = np.array(doors[min(here, there), max(here, there)])
        across = np.array([1.0, 0.0] if abs(there - here) == 1 else [0.0, 1.0]) * np.sign(there - here) * 0.7
        corners += [middles[here], door - across, door + across]
    return np.column_stack([corners, np.full(len(corners), _EYE_M)])


def corridor(textures: TextureSource, rng: np.random.Generator) -> Scene:
    """The corridor around the core of an office floor: equal doors, notice boards, cupboards and plants; a ring."""
    builder = SceneBuilder(with_variants(textures, 4), rng)
    size = np.array([rng.uniform(20, 24), rng.uniform(13, 16)])  # of the middle line
    half = rng.uniform(1.1, 1.3)
    floor, wall = builder.surface(rng.choice(["carpet", "tiles"]), 2.0), builder.surface("plaster", 2.2)
    door = builder.surface("planks", (0.95, 2.05))
    cells = ring_cells(size, half, piece_m=5.0)
    for low, high in cells:
        center, extent = (low + high) / 2, high - low
        builder.floor_panel(floor, (*center, 0.0), 0.0, tuple(extent))
        builder.floor("plaster", (*center, _HEIGHT_M), tuple(extent), 2.5)
        builder.box(builder.surface("tiles", 1.2), (*center, _HEIGHT_M - 0.03), (0.6, 0.6, 0.05))
        for line in room_walls(tuple(low), tuple(high), _HEIGHT_M):
            if _is_wall_of_ring(line, size, half):
                _corridor_wall(builder, line, wall, door)
    corners = np.array([[0, 0], [size[0], 0], size, [0, size[1]]], np.float64)
    route = Route(np.column_stack([corners, np.full(4, 1.5)]), True, key_m=0.6, sway_m=0.2)
    lower, upper = (np.array(bounds) for bounds in zip(*cells, strict=True))
    plan = FloorPlan(lower, upper, ring_portals(lower, upper), builder.primitives)
    space = FreeSpace((3.0, -0.5, 1.2), (size[0] - 3.0, 0.5, 1.8), clearance_m=0.3, speed_m_s=1.0)
    return builder.build(_LIGHT, space, route=route, plan=plan)


def _is_wall_of_ring(line: WallLine, size: np.ndarray, half: float) -> bool:
    """Return True for the outer and inner sides of a ring, False for the openings between its pieces."""
    middle = np.add(line.start, line.end) / 2
    outside = np.minimum(middle + half, size + half - middle).min() < 1e-6
    inside = ((middle >= half - 1e-6) & (middle <= size - half + 1e-6)).all()
    return bool(outside or inside)


def _corridor_wall(builder: SceneBuilder, line: WallLine, wall: Surface, door: Surface) -> None:
    rng = builder.rng
    put_wall_of(builder, line, wall)
    doors = [line.length / 2] if line.length > 3.5 else []
    for slot in doors:
        builder.wall(door, line.at(slot, 1.025, 0.02), line.heading_deg, (0.95, 2.05))
        door_frame(builder, line.at(slot, 0.0, 0.0)[:2], line.along, 0.06)
    put_posters(builder, line, doors, step_m=1.0)
    for slot in (0.9, line.length - 0.9):
        if rng.random() < 0.3 and doors:
            (bookcase if rng.random() < 0.4 else column)(builder, line, slot)


def ring_cells(size: np.ndarray, half: float, piece_m: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Corners (2,), (2,) of the pieces of a ring about the rectangle from (0, 0) to ``size``, in order of the way."""
    corners = [np.array([0.0, 0.0]), np.array([size[0], 0.0]), size, np.array([0.0, size[1]])]
    cells = []
    for start, end in zip(corners, [*corners[1:], corners[0]], strict=True):
        along = (end - start) / np.linalg.norm(end - start)
        side = np.abs(along[::-1]) * half
        cells.append((start - half, start + half))
        count = max(round((np.linalg.norm(end - start) - 2 * half) / piece_m), 1)
        at = np.linspace(half, np.linalg.norm(end - start) - half, count + 1)
        for first, last in pairwise(at):
            ends = np.array([start + along * first, start + along * last])
            cells.append((ends.min(0) - side, ends.max(0) + side))
    return cells


def ring_portals(lower: np.ndarray, upper: np.ndarray) -> list[Portal]:
    """The openings between successive cells of a ring."""
    portals = []
    for first in range(len(lower)):
        second = (first + 1) % len(lower)
        start, end = np.maximum(lower[first], lower[second]), np.minimum(upper[first], upper[second])
        portals.append(Portal(first, second, tuple(start), tuple(end)))
    return portals


def cells(textures: TextureSource, rng: np.random.Generator) -> Scene:
    """Twelve rooms in a row, each with a piece of corridor behind it, all equal down to the last poster.

    The route goes through them once: whoever recognises a place there is wrong.
    """
    builder = SceneBuilder(with_variants(textures, 4), rng)
    seed, room, passage = int(rng.integers(2**31)), np.array([5.0, 4.4]), np.array([3.2, 2.2])
    lower, upper, corners = [], [], []
    for number in range(12):
        builder.rng = np.random.default_rng(seed)  # the same again
        x = number * (room[0] + passage[0])
        low, high = np.array([x, -room[1] / 2]), np.array([x + room[0], room[1] / 2])
        _room(builder, tuple(low), tuple(high), [(low[0], 0.0), (high[0], 0.0)])
        door_frame(builder, (high[0], 0.0), np.array([0.0, 1.0]), _WALL_M + 0.04)
        far_low, far_high = np.array([high[0], -passage[1] / 2]), np.array([high[0] + passage[0], passage[1] / 2])
        _room(builder, tuple(far_low), tuple(far_high), [(far_low[0], 0.0), (far_high[0], 0.0)])
        door_frame(builder, (far_high[0], 0.0), np.array([0.0, 1.0]), _WALL_M + 0.04)
        lower += [low, far_low]
        upper += [high, far_high]
        swerve = [(x + 0.7, 0.0), (x + 1.8, 0.7), (x + 3.2, -0.7), (x + room[0] - 0.7, 0.0)]
        corners += [*swerve, (high[0] + 0.7, 0.0), (far_high[0] - 0.7, 0.0)]
    for x, heading_deg in ((lower[0][0], 180.0), (upper[-1][0], 0.0)):
        builder.wall(builder.surface("planks", DOOR_M), (x, 0.0, DOOR_M[1] / 2), heading_deg, DOOR_M)
    portals = [
        Portal(first, first + 1, (upper[first][0], -DOOR_M[0] / 2), (upper[first][0], DOOR_M[0] / 2))
        for first in range(len(lower) - 1)
    ]
    plan = FloorPlan(np.array(lower), np.array(upper), portals, builder.primitives)
    route = Route(np.column_stack([corners, np.full(len(corners), _EYE_M)]), False, key_m=0.5, sway_m=0.08)
    space = FreeSpace((1.4, -0.8, 1.1), (room[0] - 1.4, 0.8, 1.7), clearance_m=0.3, speed_m_s=0.7)
    return builder.build(_LIGHT, space, route=route, plan=plan)
