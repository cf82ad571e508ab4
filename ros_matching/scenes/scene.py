"""A synthetic scene: primitives, one light, the sky, and where a camera may go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ros_matching.errors import SceneError
from ros_matching.scenes.floor_plan import FloorPlan
from ros_matching.scenes.primitives import HeightField, Primitive
from ros_matching.scenes.routes import Route


@dataclass(frozen=True)
class Light:
    """A lamp at ``position`` (3,) metres; far away it is a sun. ``ambient`` is the fraction of ambient light."""

    position: tuple[float, float, float]
    ambient: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.ambient <= 1:
            raise SceneError(f"Light.ambient must be between 0 and 1, got {self.ambient}")


@dataclass(frozen=True)
class FreeSpace:
    """The free space for a camera: a box ``lower`` to ``upper`` (3,) metres, whose heights are above the ground there.

    ``clearance_m`` is the smallest distance to surfaces; ``speed_m_s`` a typical speed of a camera.
    """

    lower: tuple[float, float, float]
    upper: tuple[float, float, float]
    clearance_m: float
    speed_m_s: float


@dataclass(frozen=True)
class Scene:
    """Primitives under one light. ``sky`` is a texture (S, S, 3) around everything, or ``None`` for black.

    A large scene has a ``route`` through it, and a ``plan`` of what can be seen from where.
    """

    primitives: Sequence[Primitive]
    light: Light = Light((0.0, 0.0, 1e4), ambient=1.0)
    sky: np.ndarray | None = None
    free_space: FreeSpace | None = None
    route: Route | None = None
    plan: FloorPlan | None = None

    def __post_init__(self) -> None:
        if not self.primitives:
            raise SceneError("Scene needs at least one primitive, got none")

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance (N,) in metres from points (N, 3) to the nearest primitive; negative inside one."""
        return np.min([primitive.distance(points) for primitive in self.primitives], axis=0)

    def ground_height(self, xy: np.ndarray) -> np.ndarray:
        """Height (N,) of the ground at world positions (N, 2): that of the height fields, else 0."""
        fields = [primitive for primitive in self.primitives if isinstance(primitive, HeightField)]
        return np.max([field.height(xy) for field in fields], axis=0) if fields else np.zeros(len(xy))
