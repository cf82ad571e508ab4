"""Streets with a route: once round a block of houses, and along a terrace of equal houses."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ros_matching.scenes.builder import SceneBuilder
from ros_matching.scenes.floor_plan import FloorPlan
from ros_matching.scenes.indoor_loops import ring_cells, ring_portals
from ros_matching.scenes.named_scenes import street_thing
from ros_matching.scenes.routes import Route
from ros_matching.scenes.scene import FreeSpace, Light, Scene
from ros_matching.scenes.textures import TextureSource, with_variants

_HALF_M, _DEEPEST_M, _HOUSE_M = 7.5, 1.2, 8.0  # half the street, how far houses stand back, their depth


def block(textures: TextureSource, rng: np.random.Generator) -> Scene:
    """Streets around a block of houses, about 300 m once round, between closed rows of houses; driven as by a car."""
    builder = SceneBuilder(with_variants(textures, 2), rng)
    width = rng.uniform(68, 82)
    size = np.array([width, 150.0 - width])
    cells = ring_cells(size, _HALF_M, piece_m=20.0)
    for low, high in cells:
        grown = high - low + 2 * _DEEPEST_M
        builder.floor("ground", (*((low + high) / 2), 0.0), tuple(grown), 8.0)
    _rows_of_houses(builder, size)
    for low, high in cells:
        _things_in_street(builder, low, high)
    corners = np.array([[0, 0], [size[0], 0], size, [0, size[1]]], np.float64)
    route = Route(np.column_stack([corners, np.full(4, 1.6)]), True, key_m=3.0, sway_m=0.8, swing_rad=0.06)
    lower, upper = (np.array(bounds) for bounds in zip(*cells, strict=True))
    plan = FloorPlan(lower, upper, ring_portals(lower, upper), builder.primitives, margin_m=_DEEPEST_M + 0.1)
    space = FreeSpace((15.0, -3.0, 1.2), (size[0] - 15.0, 3.0, 2.2), clearance_m=0.8, speed_m_s=5.0)
    return builder.build(_sun(rng), space, with_sky=True, route=route, plan=plan)


def _rows_of_houses(builder: SceneBuilder, size: np.ndarray) -> None:
    """Along both sides of all four streets, without gaps."""
    for axis in range(2):
        length = size[axis]
        for across, outward in ((0.0, -1), (size[1 - axis], 1)):
            for side, start, end in (
                (outward, -_HALF_M - _HOUSE_M, length + _HALF_M + _HOUSE_M),
                (-outward, _HALF_M, length - _HALF_M),
            ):
                _row(builder, axis, (start, end), across + side * _HALF_M, side)


def _row(builder: SceneBuilder, axis: int, ends: tuple[float, float], front: float, side: int) -> None:
    """Houses along x (axis 0) or y, whose fronts are at ``front`` or a little behind it, away to ``side``."""
    rng = builder.rng
    lengths = rng.uniform(7, 12, max(round((ends[1] - ends[0]) / 9.5), 1))
    edges = ends[0] + np.concatenate([[0.0], lengths.cumsum() * (ends[1] - ends[0]) / lengths.sum()])
    for left, right in pairwise(edges):
        height, back = rng.uniform(8, 12), rng.uniform(0.0, _DEEPEST_M)
        along, across = (left + right) / 2, front + side * (back + _HOUSE_M / 2)
        center = (along, across) if axis == 0 else (across, along)
        extent = (right - left, _HOUSE_M) if axis == 0 else (_HOUSE_M, right - left)
        facade = builder.surface("facade", (right - left, height))
        builder.box(facade, (*center, height / 2), (*extent, height))


def _things_in_street(builder: SceneBuilder, low: np.ndarray, high: np.ndarray) -> None:
    """Along both sides of a piece of the street; at a crossing in its corners."""
    rng, size = builder.rng, high - low
    middle, axis = (low + high) / 2, int(size.argmax())
    is_crossing = size.max() < 2.1 * _HALF_M
    for _ in range(4 if is_crossing else 6):
        along = rng.choice([-1, 1]) * rng.uniform(5.4, 6.2) if is_crossing else rng.uniform(-0.47, 0.47) * size[axis]
        offset = np.array([along, rng.choice([-1, 1]) * rng.uniform(5.2, 6.2)])
        street_thing(builder, *(middle + (offset if axis == 0 else offset[::-1])))


def terrace(textures: TextureSource, rng: np.random.Generator) -> Scene:
    """A street of 150 m between equal houses, with equal trees before them. The route goes along it once."""
    builder = SceneBuilder(textures, rng)
    house_m, count = 8.0, 21
    facade, bark, leaves = (
        builder.surface("facade", (house_m, 9.0)),
        builder.surface("planks", 1.0),
        builder.surface("ground", 2.0),
    )
    paving = builder.surface("tiles", house_m)
    for number in range(count):
        x = number * house_m
        for side in (-1, 1):
            builder.box(facade, (x, side * (_HALF_M + _HOUSE_M / 2), 4.5), (house_m, _HOUSE_M, 9.0))
            builder.cylinder(bark, (x + 2.0, side * 5.5, 0.0), 0.15, 3.0)
            builder.sphere(leaves, (x + 2.0, side * 5.5, 3.4), 1.1)
        builder.floor_panel(paving, (x, 0.0, 0.0), 0.0, (house_m, 2 * _HALF_M))
    for end, side in ((-0.5, -1), (count - 0.5, 1)):
        builder.box(facade, (end * house_m + side * 4.0, 0.0, 4.5), (8.0, 2 * _HALF_M, 9.0))
    corners = np.array([[2.0, 0.0, 1.6], [(count - 2) * house_m, 0.0, 1.6]])
    route = Route(corners, False, key_m=3.0, sway_m=0.8, swing_rad=0.12)
    space = FreeSpace((0.0, -3.0, 1.2), ((count - 2) * house_m, 3.0, 2.2), clearance_m=0.8, speed_m_s=3.0)
    return builder.build(_sun(rng), space, with_sky=True, route=route)


def _sun(rng: np.random.Generator) -> Light:
    return Light(tuple(1e4 * np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.7, 0.7), 0.8])), ambient=0.5)
