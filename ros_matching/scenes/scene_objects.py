"""Scene objects, made of a few primitives each; many of them thin.

Every function puts one thing at its ``foot`` (3,), metres, the middle of where it stands, turned by a heading.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from scipy.spatial.transform import Rotation

from ros_matching.scenes.builder import SceneBuilder

Foot = tuple[float, float, float]
SceneObject = Callable[[SceneBuilder, Foot, float], None]


def place(foot: Foot, heading_deg: float) -> Callable[[float, float, float], Foot]:
    """From coordinates of the thing (ahead, left, up from its foot) to the world's."""
    cosine, sine = np.cos(np.radians(heading_deg)), np.sin(np.radians(heading_deg))
    return lambda x, y, z: (foot[0] + cosine * x - sine * y, foot[1] + sine * x + cosine * y, foot[2] + z)


def chair(builder: SceneBuilder, foot: Foot, heading_deg: float) -> None:
    """Four legs, a seat and a back, sometimes of bars."""
    rng, at = builder.rng, place(foot, heading_deg)
    wood = builder.surface("wood", 0.6)
    height, half = rng.uniform(0.42, 0.5), rng.uniform(0.19, 0.25)
    builder.box(wood, at(0, 0, height), (2 * half, 2 * half, 0.03), heading_deg)
    for x, y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        builder.rod(wood, at(x * half, y * half, 0), at(x * half, y * half, height), 0.015)
    if rng.random() < 0.5:
        builder.box(wood, at(-half, 0, height + 0.3), (0.03, 2 * half, 0.35), heading_deg)
    else:
        for y in np.linspace(-half, half, int(rng.integers(3, 7))):
            builder.rod(wood, at(-half, y, height), at(-half, y, height + 0.5), 0.012)
        builder.rod(wood, at(-half, -half, height + 0.5), at(-half, half, height + 0.5), 0.02)


def shelf(builder: SceneBuilder, foot: Foot, heading_deg: float) -> None:
    """Boards with rows of books and things."""
    rng, at = builder.rng, place(foot, heading_deg)
    wood = builder.surface("wood", 1.0)
    width, depth = rng.uniform(0.7, 1.4), rng.uniform(0.25, 0.4)
    levels = np.arange(0.05, rng.uniform(0.9, 2.1), rng.uniform(0.3, 0.45))
    for level in levels:
        builder.box(wood, at(0, 0, level), (depth, width, 0.025), heading_deg)
        if rng.random() < 0.5:
            _books(builder, at, level + 0.013, width, heading_deg)
        else:
            for y in np.arange(-width / 2 + 0.12, width / 2 - 0.1, 0.3):
                builder.thing(at(0, y, level + 0.013), rng.uniform(0.06, 0.11))
    for y in (-width / 2, width / 2):
        height = levels[-1] + 0.05
        builder.box(wood, at(0, y, height / 2), (depth, 0.025, height), heading_deg)


def _books(
    builder: SceneBuilder, at: Callable[[float, float, float], Foot], level: float, width: float, heading_deg: float
) -> None:
    rng = builder.rng
    surfaces = [builder.surface("object", 0.3) for _ in range(2)]
    y = -width / 2 + 0.05
    while y < width / 2 - 0.1:
        thick, height = rng.uniform(0.02, 0.06), rng.uniform(0.16, 0.27)
        builder.box(
            surfaces[rng.integers(2)], at(0, y + thick / 2, level + height / 2), (0.18, thick, height), heading_deg
        )
        y += thick + (rng.uniform(0.05, 0.3) if rng.random() < 0.2 else 0.002)


def lamp(builder: SceneBuilder, foot: Foot, heading_deg: float) -> None:
    """A thin pole with a shade."""
    rng, at = builder.rng, place(foot, heading_deg)
    height = rng.uniform(1.2, 1.8)
    builder.rod(builder.surface("wood", 0.5), at(0, 0, 0), at(0, 0, height), 0.014)
    if rng.random() < 0.5:
        builder.sphere(builder.surface("object", 0.5), at(0, 0, height), rng.uniform(0.1, 0.2))
    else:
        builder.cylinder(builder.surface("object", 0.4), at(0, 0, height - 0.1), rng.uniform(0.12, 0.22), 0.25)


def plant(builder: SceneBuilder, foot: Foot, heading_deg: float) -> None:
    """A pot with leaves: small flat pieces at all angles."""
    rng, at = builder.rng, place(foot, heading_deg)
    size = rng.uniform(0.6, 1.4)
    builder.cylinder(builder.surface("object", 0.4), foot, 0.15 * size, 0.28 * size)
    leaf = builder.surface("leaves", 0.5)
    for _ in range(rng.integers(8, 16)):
        tip = at(*(size * rng.normal(0, 0.22, 2)), size * rng.uniform(0.4, 1.1))
        builder.rod(leaf, at(0, 0, 0.25 * size), tip, 0.006 * size)
        half = size * rng.uniform(0.03, 0.07), size * rng.uniform(0.08, 0.16)
        builder.panel(leaf, tip, Rotation.from_rotvec(rng.normal(0, 1.2, 3)).as_matrix(), half)


def stack(builder: SceneBuilder, foot: Foot, heading_deg: float) -> None:
    """A stack of cartons, often all equal."""
    rng = builder.rng
    size = rng.uniform(0.25, 0.5, 3)
    surface, z = builder.surface("object", float(size.max())), foot[2]
    for _ in range(rng.integers(1, 4)):
        shift = rng.normal(0, 0.03, 2)
        center = (foot[0] + shift[0], foot[1] + shift[1], z + size[2] / 2)
        builder.box(surface, center, tuple(size), heading_deg + rng.normal(0, 12))
        z += size[2]
        if rng.random() < 0.5:
            surface = builder.surface("object", float(size.max()))


def bottle(builder: SceneBuilder, foot: Foot, heading_deg: float) -> None:
    """A cylinder with a thin neck."""
    rng = builder.rng
    radius, height = rng.uniform(0.025, 0.045), rng.uniform(0.12, 0.2)
    surface = builder.surface("object", 0.25)
    builder.cylinder(surface, foot, radius, height)
    builder.cylinder(surface, (foot[0], foot[1], foot[2] + height), radius * 0.35, height * 0.5)


def person(builder: SceneBuilder, foot: Foot, heading_deg: float) -> None:
    """Somebody standing: legs, trunk, arms and head."""
    rng, at = builder.rng, place(foot, heading_deg)
    tall = rng.uniform(1.5, 1.9)
    trousers, shirt = builder.surface("object", 0.6), builder.surface("object", 0.7)
    for side in (-1, 1):
        builder.rod(trousers, at(rng.uniform(-0.2, 0.2), 0.11 * side, 0), at(0, 0.1 * side, 0.48 * tall), 0.08)
        hand = at(rng.uniform(-0.1, 0.4), 0.32 * side, rng.uniform(0.4, 0.7) * tall)
        builder.rod(shirt, at(0, 0.2 * side, 0.8 * tall), hand, 0.05)
    builder.cylinder(shirt, at(0, 0, 0.46 * tall), 0.18, 0.38 * tall)
    builder.sphere(builder.surface("object", 0.5), at(0, 0, 0.92 * tall), 0.11)


def car(builder: SceneBuilder, foot: Foot, heading_deg: float) -> None:
    """A body, a cabin and four wheels."""
    rng, at = builder.rng, place(foot, heading_deg)
    length, width = rng.uniform(3.4, 4.8), rng.uniform(1.6, 1.9)
    paint, glass = builder.surface("object", (length, 1.2)), builder.surface("object", 1.5)
    builder.box(paint, at(0, 0, 0.6), (length, width, 0.7), heading_deg)
    builder.box(glass, at(-0.1 * length, 0, 1.2), (0.5 * length, 0.85 * width, 0.55), heading_deg)
    tyre = builder.surface("object", 0.7)
    for x, y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        inner, outer = at(x * 0.32 * length, y * 0.4 * width, 0.32), at(x * 0.32 * length, y * 0.52 * width, 0.32)
        builder.rod(tyre, inner, outer, 0.32)


def tree(builder: SceneBuilder, foot: Foot, heading_deg: float) -> None:
    """A trunk with branches and balls of leaves."""
    rng, at = builder.rng, place(foot, heading_deg)
    height = rng.uniform(2.5, 6.0)
    bark, leaves = builder.surface("wood", 1.0), builder.surface("leaves", rng.uniform(1.0, 3.0))
    builder.rod(bark, at(0, 0, -0.3), at(0, 0, height), rng.uniform(0.08, 0.2))
    for _ in range(rng.integers(3, 7)):
        spread, up = rng.normal(0, 0.18 * height, 2), rng.uniform(0.6, 1.1)
        builder.rod(bark, at(0, 0, height * rng.uniform(0.4, 0.8)), at(*spread, up * height), 0.04)
        if rng.random() < 0.75:
            builder.sphere(leaves, at(*spread, up * height), height * rng.uniform(0.08, 0.2))


def lamp_post(builder: SceneBuilder, foot: Foot, heading_deg: float) -> None:
    """A tall thin pole with an arm."""
    rng, at = builder.rng, place(foot, heading_deg)
    height, metal = rng.uniform(4.0, 7.0), builder.surface("wood", 1.0)
    builder.rod(metal, at(0, 0, -0.3), at(0, 0, height), 0.07)
    builder.rod(metal, at(0, 0, height), at(1.2, 0, height + 0.3), 0.04)
    builder.box(metal, at(1.4, 0, height + 0.3), (0.6, 0.2, 0.12), heading_deg)


def sign(builder: SceneBuilder, foot: Foot, heading_deg: float) -> None:
    """A board on two posts."""
    rng, at = builder.rng, place(foot, heading_deg)
    width, height, up = rng.uniform(0.5, 1.6), rng.uniform(0.4, 1.0), rng.uniform(0.8, 1.6)
    builder.box(
        builder.surface("picture", (width, height)), at(0, 0, up + height / 2), (0.04, width, height), heading_deg
    )
    for y in (-0.4 * width, 0.4 * width):
        builder.rod(builder.surface("wood", 0.5), at(-0.04, y, -0.2), at(-0.04, y, up + height), 0.025)


def railing(builder: SceneBuilder, foot: Foot, heading_deg: float) -> None:
    """Posts with bars between them and gaps."""
    rng, at = builder.rng, place(foot, heading_deg)
    length, height = rng.uniform(1.5, 4.0), rng.uniform(0.8, 1.1)
    metal = builder.surface("wood", 0.8)
    for level in (height, *(height * np.linspace(0.15, 0.7, rng.integers(0, 3)))):
        builder.rod(metal, at(-length / 2, 0, level), at(length / 2, 0, level), 0.025)
    for x in np.linspace(-length / 2, length / 2, int(length / rng.uniform(0.2, 0.6)) + 2):
        builder.rod(metal, at(x, 0, -0.1), at(x, 0, height), 0.014)


def rock(builder: SceneBuilder, foot: Foot, heading_deg: float) -> None:
    """A boulder: two or three balls in one another, and a slab."""
    rng, at = builder.rng, place(foot, heading_deg)
    size, stone = rng.uniform(0.4, 1.6), builder.surface("ground", 2.0)
    for _ in range(rng.integers(1, 4)):
        spread = rng.normal(0, 0.4 * size, 2)
        builder.sphere(stone, at(*spread, 0.3 * size), size * rng.uniform(0.4, 0.8))
    builder.box(stone, at(0.5 * size, 0, 0.1 * size), tuple(size * rng.uniform(0.4, 1.0, 3)), heading_deg)


def cable(builder: SceneBuilder, start: Foot, end: Foot, radius: float) -> None:
    """A wire that hangs between two points."""
    fraction = np.linspace(0, 1, 7)
    points = np.outer(1 - fraction, start) + np.outer(fraction, end)
    sag = builder.rng.uniform(0.02, 0.15) * np.linalg.norm(np.subtract(end, start))
    points[:, 2] -= 4 * sag * fraction * (1 - fraction)
    surface = builder.surface("wood", 0.5)
    for a, b in pairwise(points):
        builder.rod(surface, tuple(a), tuple(b), radius)


FURNITURE: tuple[SceneObject, ...] = (chair, shelf, lamp, plant, stack, stack, railing)
STREET: tuple[SceneObject, ...] = (tree, lamp_post, sign, railing, car, stack, plant, person, rock)
NATURE: tuple[SceneObject, ...] = (tree, tree, rock, rock, sign, railing, lamp_post, stack)
