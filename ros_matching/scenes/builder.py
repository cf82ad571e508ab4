"""Putting primitives together: textures by kind, furniture by one call each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from ros_matching.scenes.floor_plan import FloorPlan
from ros_matching.scenes.primitives import Box, Cylinder, HeightField, Primitive, Rectangle, Sphere, Surface
from ros_matching.scenes.routes import Route
from ros_matching.scenes.scene import FreeSpace, Light, Scene
from ros_matching.scenes.textures import TextureSource


class SceneBuilder:
    """Collects primitives. Lengths in metres, z up, headings in degrees about z from x towards y.

    ``glossy`` is the fraction of polished surfaces.
    """

    def __init__(self, textures: TextureSource, rng: np.random.Generator, *, glossy: float = 0.0) -> None:
        self.rng = rng
        self._textures, self._glossy = textures, glossy
        self._primitives: list[Primitive] = []

    def surface(self, kind: str, size_m: float | tuple[float, float]) -> Surface:
        """A texture of a kind, one copy covering ``size_m``, shifted at random if it covers a square."""
        texture = self._textures.texture(kind, self.rng)
        gloss = self.rng.uniform(0.1, 0.8) if self._glossy and self.rng.random() < self._glossy else 0.0
        if isinstance(size_m, tuple):
            return Surface(texture, size_m, gloss=gloss)
        return Surface(texture, (size_m, size_m), tuple(self.rng.uniform(0, 2, 2)), gloss)

    def floor(self, kind: str, center: tuple[float, float, float], size: tuple[float, float], texture_m: float) -> None:
        """A horizontal rectangle."""
        pose = _pose(center, np.diag([1.0, -1.0, -1.0]))
        self._primitives.append(Rectangle(pose, (size[0] / 2, size[1] / 2), self.surface(kind, texture_m)))

    def floor_panel(
        self, surface: Surface, center: tuple[float, float, float], heading_deg: float, size: tuple[float, float]
    ) -> None:
        """A sheet that lies flat, face up, of length and width."""
        pose = _pose(center, _turned(heading_deg) @ np.diag([1.0, -1.0, -1.0]))
        self._primitives.append(Rectangle(pose, (size[0] / 2, size[1] / 2), surface))

    def wall(
        self, surface: Surface, center: tuple[float, float, float], heading_deg: float, size: tuple[float, float]
    ) -> None:
        """An upright rectangle of width and height, upright for a viewer along the heading."""
        pose = _pose(center, _looking(heading_deg))
        self._primitives.append(Rectangle(pose, (size[0] / 2, size[1] / 2), surface))

    def box(
        self,
        surface: Surface,
        center: tuple[float, float, float],
        size: tuple[float, float, float],
        heading_deg: float = 0.0,
    ) -> None:
        """A box of length, width and height."""
        pose = _pose(center, _turned(heading_deg))
        self._primitives.append(Box(pose, (size[0] / 2, size[1] / 2, size[2] / 2), surface))

    def cylinder(self, surface: Surface, foot: tuple[float, float, float], radius: float, height: float) -> None:
        """An upright cylinder standing on its foot."""
        pose = _pose((foot[0], foot[1], foot[2] + height / 2), _turned(self.rng.uniform(0, 360)))
        self._primitives.append(Cylinder(pose, radius, height / 2, surface))

    def rod(
        self, surface: Surface, start: tuple[float, float, float], end: tuple[float, float, float], radius: float
    ) -> None:
        """A cylinder from one point to another."""
        along = np.subtract(end, start)
        length = float(np.linalg.norm(along))
        pose = _pose(np.add(start, end) / 2, _upright(along / length))
        self._primitives.append(Cylinder(pose, radius, length / 2, surface))

    def panel(
        self,
        surface: Surface,
        center: tuple[float, float, float],
        rotation: np.ndarray,
        half_size: tuple[float, float],
    ) -> None:
        """A rectangle at any attitude (3, 3)."""
        self._primitives.append(Rectangle(_pose(center, rotation), half_size, surface))

    def sphere(self, surface: Surface, center: tuple[float, float, float], radius: float) -> None:
        """A ball in any orientation."""
        rotation = Rotation.from_rotvec(self.rng.normal(0, 1, 3)).as_matrix()
        self._primitives.append(Sphere(_pose(center, rotation), radius, surface))

    def table(self, center: tuple[float, float], size: tuple[float, float, float], heading_deg: float) -> None:
        """A table of length, width and height on the floor, with things standing on it."""
        length, width, height = size
        wood, rotation = self.surface("planks", 1.2), _turned(heading_deg)
        at = np.array([*center, 0.0])
        self.box(wood, (*center, height - 0.02), (length, width, 0.04), heading_deg)
        for x, y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            leg = at + rotation @ [x * (length / 2 - 0.06), y * (width / 2 - 0.06), (height - 0.04) / 2]
            self.box(wood, tuple(leg), (0.06, 0.06, height - 0.04), heading_deg)
        slots = np.linspace(-length / 2 + 0.2, length / 2 - 0.2, max(int(length / 0.4), 2))
        for x in slots:
            foot = at + rotation @ [x, self.rng.uniform(-0.2, 0.2) * width, height]
            self.thing(tuple(foot), self.rng.uniform(0.08, 0.15))

    def thing(self, foot: tuple[float, float, float], radius: float) -> None:
        """A small object at random: a carton, a tin or a ball, at most ``radius`` wide about its foot."""
        x, y, z = foot
        match self.rng.integers(3):
            case 0:
                height = radius * self.rng.uniform(1.0, 2.5)
                size = (radius * 1.5, radius * self.rng.uniform(0.6, 1.4), height)
                surface = self.surface("poster", 2 * radius)
                self.box(surface, (x, y, z + height / 2), size, self.rng.uniform(0, 360))
            case 1:
                height = radius * self.rng.uniform(1.2, 2.5)
                self.cylinder(self.surface("poster", 2.5 * radius), foot, radius * 0.7, height)
            case _:
                self.sphere(self.surface("clutter", 3 * radius), (x, y, z + radius), radius)

    def add(self, primitive: Primitive) -> None:
        """Any primitive."""
        self._primitives.append(primitive)

    def ground_height(self, x: float, y: float) -> float:
        """Height of the height fields added so far, 0 without."""
        fields = [primitive for primitive in self._primitives if isinstance(primitive, HeightField)]
        return max((float(field.height(np.array([[x, y]]))[0]) for field in fields), default=0.0)

    def apart(self, put: Callable[[], None]) -> tuple[Primitive, ...]:
        """Remove the primitives that ``put`` adds from the scene and return them, as a moving object."""
        before, self._primitives = self._primitives, []
        put()
        added, self._primitives = tuple(self._primitives), before
        return added

    @property
    def primitives(self) -> tuple[Primitive, ...]:
        """The primitives added so far."""
        return tuple(self._primitives)

    def build(
        self,
        light: Light,
        free_space: FreeSpace,
        *,
        with_sky: bool = False,
        route: Route | None = None,
        plan: FloorPlan | None = None,
    ) -> Scene:
        """Return the scene of all added primitives."""
        sky = self._textures.texture("sky", self.rng) if with_sky else None
        return Scene(self.primitives, light, sky, free_space, route, plan)


def _pose(position: tuple[float, float, float], rotation: np.ndarray) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, position
    return pose


def _turned(heading_deg: float) -> np.ndarray:
    return Rotation.from_euler("z", heading_deg, degrees=True).as_matrix()


def _upright(direction: np.ndarray) -> np.ndarray:
    """A rotation whose z axis is a unit direction."""
    x = np.cross(direction, np.eye(3)[np.abs(direction).argmin()])
    x /= np.linalg.norm(x)
    return np.column_stack([x, np.cross(direction, x), direction])


def _looking(heading_deg: float) -> np.ndarray:
    """Camera axes (x right, y down, z forward) of a level look along a heading."""
    forward = _turned(heading_deg)[:, 0]
    down = np.array([0.0, 0.0, -1.0])
    return np.column_stack([np.cross(down, forward), down, forward])
