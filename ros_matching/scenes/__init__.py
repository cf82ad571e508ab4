"""The synthetic world: textured 3D scenes rendered in torch with exact depth, and camera paths through them.

scene = build_scene("room", ProceduralTextures(), seed=0)
poses = camera_path(scene, PathConfig(path="loop", frames=100))
views = render(scene, camera, poses[:8])

Random worlds to train on, with things that move, are in ``scenes.worlds``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ros_matching.errors import SceneError
from ros_matching.scenes.builder import SceneBuilder
from ros_matching.scenes.indoor_loops import cells, corridor, house
from ros_matching.scenes.named_scenes import outdoor, room
from ros_matching.scenes.paths import PathConfig, camera_path
from ros_matching.scenes.primitives import Box, Cylinder, HeightField, Primitive, Rectangle, Sphere, Surface
from ros_matching.scenes.renderer import Renderer, Views, render
from ros_matching.scenes.routes import Route
from ros_matching.scenes.scene import FreeSpace, Light, Scene
from ros_matching.scenes.street_loops import block, terrace
from ros_matching.scenes.textures import PhotoTextures, ProceduralTextures, TextureSource

SCENES: dict[str, Callable[[TextureSource, np.random.Generator], Scene]] = {
    scene.__name__: scene for scene in (room, outdoor, house, corridor, block, cells, terrace)
}
ROUTE_SCENES = ("house", "corridor", "block", "cells", "terrace")  # those with a route through them


def build_scene(name: str, textures: TextureSource | None = None, seed: int = 0) -> Scene:
    """One of ``SCENES``, varied by its seed; ``SceneError`` names them where it is not."""
    if name not in SCENES:
        raise SceneError(f"no scene is called {name!r}; there are: {', '.join(SCENES)}")
    return SCENES[name](textures or ProceduralTextures(), np.random.default_rng(seed))


__all__ = [
    "ROUTE_SCENES",
    "SCENES",
    "Box",
    "Cylinder",
    "FreeSpace",
    "HeightField",
    "Light",
    "PathConfig",
    "PhotoTextures",
    "Primitive",
    "ProceduralTextures",
    "Rectangle",
    "Renderer",
    "Route",
    "Scene",
    "SceneBuilder",
    "Sphere",
    "Surface",
    "TextureSource",
    "Views",
    "build_scene",
    "camera_path",
    "outdoor",
    "render",
    "room",
]
