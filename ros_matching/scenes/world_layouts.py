"""Layouts of random worlds, from half a metre to a hundred: a table, rooms, a wall, a street, open terrain."""

from __future__ import annotations

import numpy as np

from ros_matching.scenes.builder import SceneBuilder
from ros_matching.scenes.patterns import noise
from ros_matching.scenes.primitives import HeightField
from ros_matching.scenes.random_worlds import Mover, World
from ros_matching.scenes.scene import FreeSpace, Light
from ros_matching.scenes.scene_objects import (
    FURNITURE,
    NATURE,
    STREET,
    SceneObject,
    bottle,
    cable,
    car,
    person,
    plant,
    stack,
)


def table_world(builder: SceneBuilder) -> World:
    """A table top, at height 0, with objects of a few centimetres to decimetres; walls behind it."""
    rng = builder.rng
    size = rng.uniform(0.7, 1.6), rng.uniform(0.5, 1.0)
    builder.box(builder.surface("wood", rng.uniform(0.4, 1.2)), (0, 0, -0.02), (*size, 0.04))
    for x, y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        foot = x * (size[0] / 2 - 0.05), y * (size[1] / 2 - 0.05)
        builder.rod(builder.surface("wood", 0.5), (*foot, -0.75), (*foot, -0.03), 0.03)
    for _ in range(rng.integers(2, 6)):  # sheets of paper, mats
        paper = rng.uniform(0.12, 0.35), rng.uniform(0.12, 0.35)
        spot = (*(rng.uniform(-0.4, 0.4, 2) * size), rng.uniform(0.001, 0.003))
        builder.floor_panel(builder.surface("picture", paper), spot, rng.uniform(0, 360), paper)
    for _ in range(rng.integers(6, 18)):
        foot = (*(rng.uniform(-0.42, 0.42, 2) * size), 0.0)
        if rng.random() < 0.2:
            bottle(builder, foot, 0.0)
        else:
            builder.thing(foot, float(np.exp(rng.uniform(np.log(0.02), np.log(0.12)))))
    for _ in range(rng.integers(0, 3)):
        start, end = (np.array([*(rng.uniform(-0.5, 0.5, 2) * size), rng.uniform(0.02, 0.25)]) for _ in range(2))
        cable(builder, tuple(start), tuple(end), 0.003)
    shell(builder, (rng.uniform(2.5, 5), rng.uniform(2.5, 5)), -0.75, 1.6)
    movers = []
    if rng.random() < 0.4:
        radius = rng.uniform(0.04, 0.12)
        parts = builder.apart(lambda: builder.thing((0.0, 0.0, 0.0), radius))
        movers.append(Mover(parts, (0.0, 0.0, 0.0), 0.4 * size[1]))
    reach = rng.uniform(0.5, 1.0)
    space = FreeSpace((-reach, -reach, 0.08), (reach, reach, rng.uniform(0.5, 0.9)), 0.1, 0.2)
    scene = builder.build(_lamp(rng, 1.5), space)
    half = 0.3 * size[0], 0.3 * size[1]
    return World("table", scene, (-half[0], -half[1], 0.0), (half[0], half[1], 0.15), tuple(movers))


def room_world(builder: SceneBuilder) -> World:
    """A furnished room of three to eight metres."""
    rng = builder.rng
    length, width, height = rng.uniform(3.2, 8), rng.uniform(3, 6), rng.uniform(2.3, 3.2)
    shell(builder, (length, width), 0.0, height)
    for heading_deg, span, reach in ((0, width, length / 2), (90, length, width / 2)):
        for rotation in (0, 180):
            pictures(builder, heading_deg + rotation, span, reach, height)
            _row(builder, heading_deg + rotation, span, reach)
    for _ in range(rng.integers(0, 3)):
        foot = rng.uniform(-0.25, 0.25) * length, rng.uniform(-0.25, 0.25) * width
        if rng.random() < 0.6:
            builder.table(foot, (rng.uniform(0.8, 1.4), rng.uniform(0.5, 0.8), 0.72), rng.uniform(0, 180))
        else:
            _any(builder, (*foot, 0.0), rng.uniform(0, 360))
    for _ in range(rng.integers(0, 3)):
        spot = rng.uniform(-0.4, 0.4) * length, rng.uniform(-0.4, 0.4) * width
        cable(builder, (*spot, height), (spot[0] + 0.01, spot[1], height - rng.uniform(0.3, 0.7)), 0.01)
    half = length / 2 - 0.5, width / 2 - 0.5
    space = FreeSpace((-half[0], -half[1], 0.6), (half[0], half[1], height - 0.4), 0.3, 0.5)
    movers = _people(builder, rng.choice([0, 1, 2], p=[0.55, 0.3, 0.15]), 0.35 * width)
    scene = builder.build(_lamp(rng, height - 0.3), space)
    return World("room", scene, (-length / 2, -width / 2, 0.1), (length / 2, width / 2, 0.8 * height), movers)


def corridor_world(builder: SceneBuilder) -> World:
    """A long passage with equal doors and lamps, pipes along it, and a few things in it."""
    rng = builder.rng
    length, width, height = rng.uniform(8, 20), rng.uniform(1.5, 3.2), rng.uniform(2.2, 3.0)
    shell(builder, (length, width), 0.0, height)
    door, panel = builder.surface("picture", (0.9, 2.0)), builder.surface("object", 0.6)
    spacing = rng.uniform(1.6, 3.0)
    for x in np.arange(-length / 2 + 0.8, length / 2 - 0.6, spacing):
        for side, heading_deg in ((1, 90.0), (-1, 270.0)):
            if rng.random() < 0.8:
                y = side * (width / 2 - 0.03)
                builder.box(door, (x, y, 1.0), (0.9, 0.05, 2.0))
            if rng.random() < 0.4:
                size = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)
                center = x + spacing / 2, side * (width / 2 - 0.01), rng.uniform(1.2, 1.8)
                builder.wall(builder.surface("picture", size), center, heading_deg, size)
        builder.box(panel, (x, 0, height - 0.03), (0.6, 0.3, 0.05))
    for _ in range(rng.integers(0, 4)):
        y, z = rng.choice([-1, 1]) * (width / 2 - rng.uniform(0.06, 0.2)), height - rng.uniform(0.1, 0.4)
        builder.rod(builder.surface("wood", 0.7), (-length / 2, y, z), (length / 2, y, z), rng.uniform(0.02, 0.06))
    for _ in range(rng.integers(1, 6)):
        foot = rng.uniform(-0.45, 0.45) * length, rng.choice([-1, 1]) * (width / 2 - 0.25), 0.0
        (stack if rng.random() < 0.6 else plant)(builder, foot, rng.uniform(0, 360))
    half = length / 2 - 0.6, max(width / 2 - 0.45, 0.25)
    space = FreeSpace((-half[0], -half[1], 0.8), (half[0], half[1], height - 0.5), 0.25, 1.0)
    movers = _people(builder, int(rng.random() < 0.35), 0.3 * width)
    scene = builder.build(_lamp(rng, height - 0.3), space)
    return World("corridor", scene, (-length / 2, -width / 2, 0.3), (length / 2, width / 2, height - 0.3), movers)


def wall_world(builder: SceneBuilder) -> World:
    """A nearly planar scene: pictures on a wall, with or without relief, half a metre to twenty across."""
    rng = builder.rng
    size = float(np.exp(rng.uniform(np.log(0.5), np.log(20))))
    surface = builder.surface("wall", size * rng.uniform(0.7, 2.0))
    builder.wall(surface, (0.5 * size, 0.0, 0.0), 0.0, (6 * size, 4 * size))
    relief = rng.choice([0.0, 0.02, 0.1]) * size
    for _ in range(rng.integers(3, 14)):
        half = size * rng.uniform(0.05, 0.3, 2)
        center = 0.5 * size - 0.001 * size * rng.uniform(1, 3), *(size * rng.uniform(-0.6, 0.6, 2))
        picture = builder.surface("picture", tuple(2 * half))
        if relief and rng.random() < 0.6:
            thick = relief * rng.uniform(0.3, 1.5)
            builder.box(picture, (center[0] - thick / 2, *center[1:]), (thick, 2 * half[0], 2 * half[1]))
        else:
            builder.wall(picture, center, 0.0, tuple(2 * half))
    space = FreeSpace((-1.5 * size, -0.6 * size, -0.6 * size), (0.25 * size, 0.6 * size, 0.6 * size), 0.1 * size, 0.5)
    scene = builder.build(Light((-size, rng.uniform(-1, 1) * size, size), ambient=rng.uniform(0.4, 0.9)), space)
    return World("wall", scene, (0.5 * size, -0.5 * size, -0.4 * size), (0.5 * size, 0.5 * size, 0.4 * size))


def shell(builder: SceneBuilder, size: tuple[float, float], floor: float, ceiling: float) -> None:
    """Floor, ceiling and four walls; neighbouring walls often have the same texture."""
    rng = builder.rng
    builder.floor("floor", (0, 0, floor), size, rng.uniform(1.2, 4.0))
    builder.floor("wall", (0, 0, ceiling), size, rng.uniform(1.5, 5.0))
    for heading_deg, span, reach in ((0, size[1], size[0] / 2), (90, size[0], size[1] / 2)):
        for rotation in (0, 180):
            forward = np.array([np.cos(np.radians(heading_deg + rotation)), np.sin(np.radians(heading_deg + rotation))])
            center = (*(forward * reach), (floor + ceiling) / 2)
            surface = builder.surface("wall", rng.uniform(1.2, 5.0))
            builder.wall(surface, center, heading_deg + rotation, (span, ceiling - floor))


def pictures(builder: SceneBuilder, heading_deg: float, span: float, reach: float, height: float) -> None:
    """Pictures, boards and windows on a wall, without overlap."""
    rng = builder.rng
    forward = np.array([np.cos(np.radians(heading_deg)), np.sin(np.radians(heading_deg)), 0.0])
    right = np.array([forward[1], -forward[0], 0.0])
    for slot in np.arange(-span / 2 + 0.5, span / 2 - 0.4, 1.0):
        if rng.random() < 0.5:
            size = rng.uniform(0.25, 0.9), rng.uniform(0.25, 1.1)
            up = rng.uniform(0.45, 0.7) * height
            center = forward * (reach - 0.01) + right * slot + [0, 0, up]
            builder.wall(builder.surface("picture", size), tuple(center), heading_deg, size)


def _row(builder: SceneBuilder, heading_deg: float, span: float, reach: float) -> None:
    """Furniture along a wall."""
    rng = builder.rng
    forward = np.array([np.cos(np.radians(heading_deg)), np.sin(np.radians(heading_deg)), 0.0])
    left = np.array([-forward[1], forward[0], 0.0])
    for slot in np.arange(-span / 2 + 0.7, span / 2 - 0.5, 1.3):
        if rng.random() < 0.55:
            foot = forward * (reach - rng.uniform(0.3, 0.5)) + left * slot
            _any(builder, tuple(foot), heading_deg + 180 + rng.normal(0, 8))


def _any(builder: SceneBuilder, foot: tuple[float, float, float], heading_deg: float) -> None:
    FURNITURE[builder.rng.integers(len(FURNITURE))](builder, foot, heading_deg)


def _people(builder: SceneBuilder, count: int, reach_m: float) -> tuple[Mover, ...]:
    origin = (0.0, 0.0, 0.0)
    return tuple(Mover(builder.apart(lambda: person(builder, origin, 0.0)), origin, reach_m) for _ in range(count))


def _lamp(rng: np.random.Generator, height: float) -> Light:
    return Light((rng.uniform(-1, 1), rng.uniform(-1, 1), height), ambient=rng.uniform(0.35, 0.85))


def street_world(builder: SceneBuilder) -> World:
    """Two rows of houses with objects of a street, on a flat or an uneven ground; cars and people move."""
    rng = builder.rng
    length, half = rng.uniform(20, 60), rng.uniform(4, 9)
    if rng.random() < 0.5:
        builder.floor("ground", (0, 0, 0), (3 * length, 3 * length), rng.uniform(4, 14))
    else:
        builder.add(_ground(builder, 2 * length, 64, rng.uniform(0.05, 0.25)))
    facade = None
    for side in (-1, 1):
        x = -length / 2
        while x < length / 2:
            size = rng.uniform(5, 13), rng.uniform(5, 9), rng.uniform(4, 14)
            if facade is None or rng.random() < 0.6:
                facade = builder.surface("facade", (rng.uniform(4, 12), rng.uniform(4, 10)))
            center = x + size[0] / 2, side * (half + rng.uniform(0, 1.5) + size[1] / 2), size[2] / 2 - 0.3
            builder.box(facade, center, size, rng.normal(0, 3))
            x += size[0] + (rng.uniform(0.5, 6.0) if rng.random() < 0.5 else 0.0)
    _scatter(builder, STREET, int(rng.integers(6, 20)), (length / 2, half - 0.8), min_y=0.35 * half)
    for _ in range(rng.integers(0, 4)):
        x = rng.uniform(-0.5, 0.5, 2) * length
        cable(builder, (x[0], -half, rng.uniform(4, 7)), (x[1], half, rng.uniform(4, 7)), 0.02)
    reach = 0.35 * length
    space = FreeSpace((-reach, -0.6 * half, 0.8), (reach, 0.6 * half, rng.choice([2.2, 4.0])), 0.6, 1.5)
    movers = []
    for prop in [car, person][: rng.choice([0, 1, 2], p=[0.5, 0.25, 0.25])]:
        spot = (rng.uniform(-0.2, 0.2) * length, 0.0, 0.0)
        movers.append(Mover(builder.apart(lambda prop=prop, spot=spot: prop(builder, spot, 0.0)), spot, 0.5 * half))
    scene = builder.build(_sun(rng), space, with_sky=True)
    return World("street", scene, (-length / 2, -half, 0.5), (length / 2, half, 4.0), tuple(movers))


def terrain_world(builder: SceneBuilder) -> World:
    """Hills with trees, rocks and huts, for walking or flying cameras."""
    rng = builder.rng
    extent = float(np.exp(rng.uniform(np.log(25), np.log(120))))
    builder.add(_ground(builder, extent, 128, extent * rng.uniform(0.01, 0.06)))
    _scatter(builder, NATURE, int(rng.integers(6, 25)), (0.4 * extent, 0.4 * extent))
    for _ in range(rng.integers(0, 5)):
        x, y = rng.uniform(-0.35, 0.35, 2) * extent
        size = rng.uniform(2, 6), rng.uniform(2, 6), rng.uniform(2, 5)
        foot = builder.ground_height(x, y)
        builder.box(
            builder.surface("facade", size[2] * 1.3), (x, y, foot + size[2] / 2 - 0.4), size, rng.uniform(0, 90)
        )
    reach, low = 0.35 * extent, rng.choice([1.2, 5.0])
    space = FreeSpace((-reach, -reach, low), (reach, reach, low + rng.uniform(1.0, 0.15 * extent)), 0.8, 2.0)
    scene = builder.build(_sun(rng), space, with_sky=True)
    return World("terrain", scene, (-0.4 * extent, -0.4 * extent, -0.05 * extent), (0.4 * extent, 0.4 * extent, 1.0))


def _ground(builder: SceneBuilder, extent: float, count: int, relief_m: float) -> HeightField:
    """Rolling ground of ``count`` grid points a side, about the origin."""
    rng, cell = builder.rng, extent / (count - 1)
    heights = relief_m * noise(rng, count, int(rng.integers(3, 8)), 5, rng.uniform(0.3, 0.55)).astype(np.float64)
    surface = builder.surface("ground", rng.uniform(6, 20) if extent > 50 else rng.uniform(4, 12))
    return HeightField((-extent / 2, -extent / 2, 0.0), heights, cell, surface)


def _scatter(
    builder: SceneBuilder, objects: tuple[SceneObject, ...], count: int, half: tuple[float, float], min_y: float = 0.0
) -> None:
    """Place objects on the ground within ``half`` of the origin along x and y, at least ``min_y`` from the x axis."""
    rng = builder.rng
    for _ in range(count):
        x, y = rng.uniform(-half[0], half[0]), rng.choice([-1, 1]) * rng.uniform(min_y, half[1])
        scene_object = objects[rng.integers(len(objects))]
        scene_object(builder, (x, y, builder.ground_height(x, y)), rng.uniform(0, 360))


def _sun(rng: np.random.Generator) -> Light:
    toward = np.array([*rng.uniform(-0.8, 0.8, 2), rng.uniform(0.4, 1.0)])
    return Light(tuple(1e4 * toward), ambient=rng.uniform(0.35, 0.8))
