"""Layouts of ten to a hundred metres: a street, and open terrain."""

from __future__ import annotations

import numpy as np

from ros_matching.scenes.builder import SceneBuilder
from ros_matching.scenes.patterns import noise
from ros_matching.scenes.primitives import HeightField
from ros_matching.scenes.props import NATURE, STREET, Prop, cable, car, person
from ros_matching.scenes.scene import FreeSpace, Light
from ros_matching.scenes.worlds import Mover, World


def street_world(builder: SceneBuilder) -> World:
    """Two rows of houses with what stands in a street, on a flat or an uneven ground; cars and people move."""
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
    """Hills with trees, rocks and huts, seen by who walks or flies."""
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
    builder: SceneBuilder, props: tuple[Prop, ...], count: int, half: tuple[float, float], min_y: float = 0.0
) -> None:
    """Things on the ground within ``half`` of the origin along x and y, at least ``min_y`` from the x axis."""
    rng = builder.rng
    for _ in range(count):
        x, y = rng.uniform(-half[0], half[0]), rng.choice([-1, 1]) * rng.uniform(min_y, half[1])
        prop = props[rng.integers(len(props))]
        prop(builder, (x, y, builder.ground_height(x, y)), rng.uniform(0, 360))


def _sun(rng: np.random.Generator) -> Light:
    toward = np.array([*rng.uniform(-0.8, 0.8, 2), rng.uniform(0.4, 1.0)])
    return Light(tuple(1e4 * toward), ambient=rng.uniform(0.35, 0.8))
