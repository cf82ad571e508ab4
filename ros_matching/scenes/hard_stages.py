"""Static scenes for pairs of hard views: a furnished room, and walls of repeated parts.

Lengths in metres, z up. Cameras look along x at the stage's target, from its side of smaller x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ros_matching.scenes.builder import SceneBuilder
from ros_matching.scenes.primitives import Surface
from ros_matching.scenes.random_textures import WorldTextures
from ros_matching.scenes.scene import FreeSpace, Light, Scene
from ros_matching.scenes.scene_objects import FURNITURE
from ros_matching.scenes.world_layouts import pictures, shell

_ROOM_M = 8.0
_HEIGHT_M = 3.2
_CLEARANCE_M = 0.35
_SPACE = FreeSpace((-3.6, -3.6, 0.3), (3.6, 3.6, 2.9), _CLEARANCE_M, 0.5)


@dataclass(frozen=True)
class Stage:
    """A scene, the point ``target`` (3,) that cameras look at, and the range of their distances from it."""

    scene: Scene
    target: np.ndarray
    distances_m: tuple[float, float]


def furnished_stage(rng: np.random.Generator) -> Stage:
    """A room with pictures on its walls, and a table and furniture around the target."""
    builder = SceneBuilder(WorldTextures(weak=0.1, repeated=0.0, shared=0.2), rng, glossy=0.1)
    shell(builder, (_ROOM_M, _ROOM_M), 0.0, _HEIGHT_M)
    for heading_deg in (0.0, 90.0, 270.0):
        pictures(builder, heading_deg, _ROOM_M, _ROOM_M / 2, _HEIGHT_M)
    center = np.array([1.2, rng.uniform(-0.3, 0.3)])
    builder.table(tuple(center), (rng.uniform(0.8, 1.3), rng.uniform(0.6, 0.8), 0.72), rng.uniform(0, 180))
    for angle in np.radians(rng.uniform(-35, 35) + np.array([-110, -60, 0, 60, 110])):
        foot = center + rng.uniform(0.9, 1.5) * np.array([np.cos(angle), np.sin(angle)])
        FURNITURE[rng.integers(len(FURNITURE))](builder, (*foot, 0.0), rng.uniform(0, 360))
    light = Light((rng.uniform(-2, 1), rng.uniform(-2, 2), _HEIGHT_M - 0.2), ambient=rng.uniform(0.4, 0.8))
    return Stage(builder.build(light, _SPACE), np.array([*center, rng.uniform(0.7, 1.0)]), (2.2, 3.0))


def repeated_stage(rng: np.random.Generator) -> Stage:
    """A wall of equal windows, equal boxes on shelves, or equal tiles; a few parts are unlike the others.

    Without those no matcher could find out by how many periods one image is shifted against the other.
    """
    builder = SceneBuilder(WorldTextures(weak=0.0, repeated=0.7, shared=0.5), rng)
    shell(builder, (_ROOM_M, _ROOM_M), 0.0, _HEIGHT_M)
    kind: Callable[[SceneBuilder], None] = (_windows, _shelves, _tiles)[rng.integers(3)]
    kind(builder)
    light = Light((-2.0, rng.uniform(-3, 3), _HEIGHT_M - 0.1), ambient=rng.uniform(0.5, 0.85))
    return Stage(builder.build(light, _SPACE), np.array([_WALL_X, rng.uniform(-0.3, 0.3), 1.5]), (2.4, 3.4))


_WALL_X = 2.0
_WIDTH_M = 2 * 3.6  # of the repeated part


def _cells(width: float, height: float, lowest: float) -> list[tuple[float, float]]:
    """The centres (y, z) of the cells of a wall."""
    columns = np.arange(-_WIDTH_M / 2 + width / 2, _WIDTH_M / 2, width)
    rows = np.arange(lowest + height / 2, _HEIGHT_M - height / 2, height)
    return [(float(y), float(z)) for z in rows for y in columns]


def _unlike(builder: SceneBuilder, usual: Surface, size: tuple[float, float], fraction: float) -> Surface:
    return builder.surface("picture", size) if builder.rng.random() < fraction else usual


def _windows(builder: SceneBuilder) -> None:
    """A facade: a repeated wall with equal windows that stand out from it."""
    rng = builder.rng
    builder.wall(builder.surface("wall", 2.0), (_WALL_X, 0, _HEIGHT_M / 2), 0.0, (_WIDTH_M, _HEIGHT_M))
    size = rng.uniform(0.35, 0.5), rng.uniform(0.45, 0.7)
    window, sill = builder.surface("picture", size), builder.surface("wood", 0.5)
    depth = rng.uniform(0.06, 0.2)
    for y, z in _cells(size[0] + rng.uniform(0.15, 0.3), size[1] + rng.uniform(0.2, 0.35), 0.1):
        surface = _unlike(builder, window, size, 0.06)
        builder.box(surface, (_WALL_X - depth / 2, y, z), (depth, *size))
        builder.box(sill, (_WALL_X - depth, y, z - size[1] / 2 - 0.03), (2 * depth, size[0] + 0.06, 0.04))


def _shelves(builder: SceneBuilder) -> None:
    """Boards with equal boxes in equal distances; some are missing or unlike."""
    rng = builder.rng
    size = rng.uniform(0.16, 0.28), rng.uniform(0.2, 0.32)
    step, level = size[0] + rng.uniform(0.05, 0.12), size[1] + rng.uniform(0.1, 0.2)
    wood, goods = builder.surface("wood", 0.8), builder.surface("picture", size)
    builder.wall(builder.surface("wall", 2.0), (_WALL_X + 0.4, 0, _HEIGHT_M / 2), 0.0, (_WIDTH_M, _HEIGHT_M))
    cells = _cells(step, level, 0.1)
    for z in sorted({z for _, z in cells}):
        builder.box(wood, (_WALL_X + 0.15, 0.0, z - level / 2), (0.4, _WIDTH_M, 0.03))
    for y, z in cells:
        if rng.random() > 0.08:
            surface = _unlike(builder, goods, size, 0.05)
            builder.box(surface, (_WALL_X + 0.15, y, z - level / 2 + size[1] / 2 + 0.016), (0.3, *size))


def _tiles(builder: SceneBuilder) -> None:
    """A wall of alternating tiles of two motifs, a floor of one, and a bench in front of it."""
    rng = builder.rng
    side = rng.uniform(0.25, 0.45)
    motifs = [builder.surface("picture", (side, side)) for _ in range(3)]
    cells = _cells(side, side, 0.0)
    for y, z in cells:
        number = round((y - cells[0][0]) / side) + round((z - cells[0][1]) / side)
        surface = _unlike(builder, motifs[number % 2], (side, side), 0.04)
        builder.wall(surface, (_WALL_X, y, z), 0.0, (0.97 * side, 0.97 * side))
    for x in np.arange(_WALL_X - side / 2, -1.5, -side):
        for y in np.arange(-_WIDTH_M / 2 + side / 2, _WIDTH_M / 2, side):
            builder.floor_panel(motifs[2], (x, y, 0.01), 0.0, (0.97 * side, 0.97 * side))
    for y in rng.uniform(-1.5, 1.5, 3):
        builder.thing((_WALL_X - rng.uniform(0.2, 0.7), y, 0.01), rng.uniform(0.15, 0.3))
