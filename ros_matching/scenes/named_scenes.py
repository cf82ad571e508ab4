"""The scenes that ``scene:NAME`` renders: a furnished room, and a street on uneven ground."""

from __future__ import annotations

import numpy as np

from ros_matching.scenes.builder import SceneBuilder
from ros_matching.scenes.patterns import noise
from ros_matching.scenes.primitives import HeightField, Surface
from ros_matching.scenes.scene import FreeSpace, Light, Scene
from ros_matching.scenes.textures import TextureSource


def room(textures: TextureSource, rng: np.random.Generator) -> Scene:
    """Walls with posters, shelves, tables with things on them, boxes and columns; the middle is free."""
    length, width, height = rng.uniform(5.5, 7.5), rng.uniform(4.5, 6.0), rng.uniform(2.5, 3.0)
    builder = SceneBuilder(textures, rng)
    builder.floor(rng.choice(["planks", "tiles", "carpet"]), (0, 0, 0), (length, width), 2.0)
    builder.floor("plaster", (0, 0, height), (length, width), 2.5)
    for heading_deg in (0.0, 90.0, 180.0, 270.0):
        _wall(builder, heading_deg, length, width, height)
    _furnish(builder, length, width)
    light = Light((rng.uniform(-1, 1), rng.uniform(-1, 1), height - 0.3), ambient=0.55)
    # furniture is within 0.9 m of the walls: FreeSpace excludes that strip, the clearance avoids the rest
    half = length / 2 - 1.3, width / 2 - 1.3
    return builder.build(light, FreeSpace((-half[0], -half[1], 1.1), (half[0], half[1], 1.8), 0.35, 0.4))


def _wall(builder: SceneBuilder, heading_deg: float, length: float, width: float, height: float) -> None:
    rng = builder.rng
    along_x = heading_deg in (90.0, 270.0)
    span, reach = (length, width / 2) if along_x else (width, length / 2)
    forward = np.round([np.cos(np.radians(heading_deg)), np.sin(np.radians(heading_deg)), 0.0])
    right = np.array([forward[1], -forward[0], 0.0])
    middle = forward * reach + [0, 0, height / 2]
    kind = rng.choice(["plaster", "bricks", "clutter"], p=[0.55, 0.33, 0.12])
    builder.wall(builder.surface(kind, 3.0 if kind == "clutter" else 2.2), tuple(middle), heading_deg, (span, height))
    for slot in np.arange(-span / 2 + 0.7, span / 2 - 0.6, 1.15):
        size = (rng.uniform(0.5, 1.0), rng.uniform(0.5, 1.1))
        center = middle - forward * 0.01 + right * slot + [0, 0, rng.uniform(-0.1, 0.5)]
        builder.wall(builder.surface("poster", size), tuple(center), heading_deg, size)


def _furnish(builder: SceneBuilder, length: float, width: float) -> None:
    rng = builder.rng
    for side in (-1, 1):
        builder.table((rng.uniform(-0.8, 0.8), side * (width / 2 - 0.45)), (rng.uniform(1.4, 2.0), 0.75, 0.75), 0.0)
        _shelf(builder, side * (length / 2 - 0.25), rng.uniform(-0.6, 0.6))
    for x, y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        corner = x * (length / 2 - 0.5), y * (width / 2 - 0.5), 0.0
        if rng.random() < 0.4:
            builder.cylinder(builder.surface("tiles", 1.2), corner, rng.uniform(0.15, 0.3), rng.uniform(0.6, 2.2))
        else:
            size = rng.uniform(0.4, 0.7)
            surface = builder.surface(rng.choice(["poster", "clutter"]), 0.9)
            builder.box(surface, (corner[0], corner[1], size / 2), (size, size, size), rng.uniform(-20, 20))
            builder.thing((corner[0], corner[1], size), 0.15)
    for _ in range(3):
        foot = rng.uniform(-length / 2 + 0.5, length / 2 - 0.5), rng.choice([-1, 1]) * (width / 2 - 1.05), 0.0
        builder.thing(foot, rng.uniform(0.12, 0.2))


def _shelf(builder: SceneBuilder, x: float, y: float) -> None:
    """Boards with books and things, 1.6 m wide along y."""
    rng = builder.rng
    wood = builder.surface("planks", 1.5)
    for level in (0.05, 0.5, 0.95, 1.4, 1.85):
        builder.box(wood, (x, y, level), (0.35, 1.6, 0.03))
        if level < 1.8:
            for slot in np.arange(-0.62, 0.7, 0.31):
                if rng.random() < 0.75:
                    builder.thing((x, y + slot, level + 0.015), rng.uniform(0.08, 0.13))
    for end in (-0.8, 0.8):
        builder.box(wood, (x, y + end, 0.95), (0.35, 0.03, 1.9))


_EXTENT_M, _CELL_M = 128.0, 0.5


def outdoor(textures: TextureSource, rng: np.random.Generator) -> Scene:
    """Two rows of houses along x with things standing in the street between them, hills around, sky above."""
    builder = SceneBuilder(textures, rng)
    builder.add(_ground(builder))
    for side in (-1, 1):
        x = -44.0
        while x < 44.0:
            size = rng.uniform(7, 13), rng.uniform(6, 10), rng.uniform(7, 12)
            y = side * (rng.uniform(8.5, 11.0) + size[1] / 2)
            front = builder.surface("facade", (rng.uniform(10, 13), size[2]))
            stand(builder, front, (x + size[0] / 2, y), size, rng.normal(0, 3))
            x += size[0] + rng.uniform(0.5, 5.0)
    for _ in range(26):
        x, y = rng.uniform(-40, 40), rng.choice([-1, 1]) * rng.uniform(4.2, 8.0)
        street_thing(builder, x, y)
    sun = tuple(1e4 * np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.7, 0.7), 0.8]))
    space = FreeSpace((-30.0, -4.0, 1.2), (30.0, 4.0, 2.2), 0.8, 1.4)
    return builder.build(Light(sun, ambient=0.5), space, with_sky=True)


def _ground(builder: SceneBuilder) -> HeightField:
    """Gently uneven in the street, rising to hills at the rim."""
    count = int(_EXTENT_M / _CELL_M)
    x = (np.arange(count) - (count - 1) / 2) * _CELL_M
    distance = np.hypot(*np.meshgrid(x, x))
    hills = np.clip((distance - 35.0) / 25.0, 0.0, 1.5) ** 2
    relief = noise(builder.rng, count, 4, 4, 0.4).astype(np.float64)
    heights = 0.15 * relief + hills * (3.0 + 1.0 * relief)
    texture = builder.surface("ground", 8.0)
    return HeightField((x[0], x[0], 0.0), heights, _CELL_M, texture)


def street_thing(builder: SceneBuilder, x: float, y: float) -> None:
    """A pole, a bush, a crate or a board at random, at most 2.1 m wide."""
    rng, foot = builder.rng, (x, y, builder.ground_height(x, y) - 0.15)
    match rng.integers(4):
        case 0:
            builder.cylinder(builder.surface("clutter", 2.0), foot, rng.uniform(0.15, 0.4), rng.uniform(3.0, 6.0))
        case 1:
            radius = rng.uniform(0.4, 1.0)
            builder.sphere(builder.surface("clutter", 2.5), (x, y, foot[2] + 0.7 * radius), radius)
        case 2:
            size = rng.uniform(0.8, 2.0), rng.uniform(0.8, 1.5), rng.uniform(0.8, 2.0)
            stand(builder, builder.surface("bricks", 2.0), (x, y), size, rng.uniform(0, 90))
        case _:
            size = rng.uniform(1.0, 2.0)
            stand(builder, builder.surface("poster", size), (x, y), (size, 0.15, size + 0.6), rng.uniform(-30, 30))


def stand(
    builder: SceneBuilder,
    surface: Surface,
    at: tuple[float, float],
    size: tuple[float, float, float],
    heading_deg: float,
) -> None:
    """A box on the ground, sunk a little where that slopes."""
    z = builder.ground_height(*at) + size[2] / 2 - min(0.1 * size[2], 0.5)
    builder.box(surface, (at[0], at[1], z), size, heading_deg)
