"""A street on uneven ground: houses, columns and boulders, tens of metres."""

from __future__ import annotations

import numpy as np

from ros_matching.scenes.builder import SceneBuilder
from ros_matching.scenes.patterns import noise
from ros_matching.scenes.primitives import HeightField, Surface
from ros_matching.scenes.scene import FreeSpace, Light, Scene
from ros_matching.scenes.textures import TextureSource

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
            _stand(builder, front, (x + size[0] / 2, y), size, rng.normal(0, 3))
            x += size[0] + rng.uniform(0.5, 5.0)
    for _ in range(26):
        x, y = rng.uniform(-40, 40), rng.choice([-1, 1]) * rng.uniform(4.2, 8.0)
        _street_thing(builder, x, y)
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


def _street_thing(builder: SceneBuilder, x: float, y: float) -> None:
    rng, foot = builder.rng, (x, y, builder.ground_height(x, y) - 0.15)
    match rng.integers(4):
        case 0:
            builder.cylinder(builder.surface("clutter", 2.0), foot, rng.uniform(0.15, 0.4), rng.uniform(3.0, 6.0))
        case 1:
            radius = rng.uniform(0.4, 1.0)
            builder.sphere(builder.surface("clutter", 2.5), (x, y, foot[2] + 0.7 * radius), radius)
        case 2:
            size = rng.uniform(0.8, 2.0), rng.uniform(0.8, 1.5), rng.uniform(0.8, 2.0)
            _stand(builder, builder.surface("bricks", 2.0), (x, y), size, rng.uniform(0, 90))
        case _:
            size = rng.uniform(1.0, 2.0)
            _stand(builder, builder.surface("poster", size), (x, y), (size, 0.15, size + 0.6), rng.uniform(-30, 30))


def _stand(
    builder: SceneBuilder,
    surface: Surface,
    at: tuple[float, float],
    size: tuple[float, float, float],
    heading_deg: float,
) -> None:
    """A box on the ground, sunk a little where that slopes."""
    z = builder.ground_height(*at) + size[2] / 2 - min(0.1 * size[2], 0.5)
    builder.box(surface, (at[0], at[1], z), size, heading_deg)
