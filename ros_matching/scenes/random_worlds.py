"""Random worlds to train on: a static scene, things that move in it, and where to look.

    world = room_world(SceneBuilder(WorldTextures(photos), np.random.default_rng(seed)))

A world's things that move are elsewhere in every view: ``with_movers`` puts each into the scene once a view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from ros_matching.errors import SceneError
from ros_matching.scenes.builder import SceneBuilder
from ros_matching.scenes.primitives import Primitive
from ros_matching.scenes.scene import Scene


@dataclass(frozen=True)
class Mover:
    """A moving object: its primitives, its centre of rotation (3,), and its range of motion in metres."""

    primitives: tuple[Primitive, ...]
    pivot: tuple[float, float, float]
    reach_m: float

    def random_pose(self, rng: np.random.Generator) -> tuple[Primitive, ...]:
        """Return the object at a random position and heading within its range, at the same height."""
        motion = np.eye(4)
        motion[:3, :3] = Rotation.from_euler("z", rng.uniform(-180, 180), degrees=True).as_matrix()
        target = np.add(self.pivot, [*rng.uniform(-self.reach_m, self.reach_m, 2), 0.0])
        motion[:3, 3] = target - motion[:3, :3] @ self.pivot
        return tuple(replace(part, world_from_local=motion @ part.world_from_local) for part in self.primitives)


@dataclass(frozen=True)
class World:
    """A scene with ``free_space``, the box ``lower`` to ``upper`` (3,) of interesting surfaces, and its movers."""

    name: str
    scene: Scene
    lower: tuple[float, float, float]
    upper: tuple[float, float, float]
    movers: tuple[Mover, ...] = ()

    def __post_init__(self) -> None:
        if self.scene.free_space is None:
            raise SceneError(f"World {self.name} needs a scene with a free_space for cameras")


Layout = Callable[[SceneBuilder], World]


def random_world(
    layouts: Sequence[Layout], builder: SceneBuilder, probabilities: Sequence[float] | None = None
) -> World:
    """A world of one of the layouts, drawn with these probabilities, uniform by default."""
    return layouts[builder.rng.choice(len(layouts), p=probabilities)](builder)


def with_movers(world: World, eyes: np.ndarray, rng: np.random.Generator) -> tuple[Scene, np.ndarray, np.ndarray]:
    """The scene for cameras at ``eyes`` (B, 3), with every mover at a random pose in each view.

    Returns the scene, which of its N primitives are present in which view (B, N), and which of them move (N,) bool.
    A mover too close to a camera is left out of its view.
    """
    static = tuple(world.scene.primitives)
    added, views = [], []
    for view, eye in enumerate(eyes):
        for mover in world.movers:
            parts = mover.random_pose(rng)
            gap = min(float(part.distance(eye[None])[0]) for part in parts)
            if gap > world.scene.free_space.clearance_m:
                added.extend(parts)
                views.extend([view] * len(parts))
    present = np.ones((len(eyes), len(static) + len(added)), bool)
    present[:, len(static) :] = np.arange(len(eyes))[:, None] == np.array(views, int)[None]
    moves = np.arange(present.shape[1]) >= len(static)
    return replace(world.scene, primitives=(*static, *added)), present, moves
