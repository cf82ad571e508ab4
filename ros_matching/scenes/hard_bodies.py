"""Rigid bodies that move by themselves, close in front of a camera."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from ros_matching.datatypes import Camera
from ros_matching.scenes.builder import SceneBuilder
from ros_matching.scenes.primitives import Box
from ros_matching.scenes.random_textures import WorldTextures

_AREA = 0.62  # of the image that all bodies together are made for, before they cover each other
_DISTANCES_M = (1.0, 1.5)
_STEP = (0.02, 0.15)  # from image to image, in widths of the image; of several bodies in parts of them
_TRIES = 10
LEAST_MOTION_PX = 15.0
"""Smallest own motion of a body's centre in the image."""
LEAST_EPIPOLAR_PX = 6.0
"""Smallest median distance of its points from the epipolar lines of the static world."""


@dataclass(frozen=True)
class Body:
    """A rigid body in both views: its ``parts`` in each, and its ``motion`` (4, 4) in the world."""

    parts: tuple[tuple[Box, ...], tuple[Box, ...]]
    motion: np.ndarray


def bodies_in_front(world_from_camera: np.ndarray, camera: Camera, count: int, rng: np.random.Generator) -> list[Body]:
    """Bodies next to each other, between the cameras (2, 4, 4) and their target.

    Each is drawn until it ``moves_visibly``, some times at most.
    """
    columns = (np.arange(count) + 0.5) / count
    bodies = []
    for column in columns:
        for _ in range(_TRIES):
            center = np.array([column + rng.normal(0, 0.04), rng.uniform(0.35, 0.65)])
            body = _body(world_from_camera, camera, center, count, rng)
            if moves_visibly(body, world_from_camera, camera):
                break
        bodies.append(body)
    return bodies


def moves_visibly(body: Body, world_from_camera: np.ndarray, camera: Camera) -> bool:
    """Return True if the body's own motion is visible, and distinct from the motion of the static world.

    It moves across the image and off the epipolar lines. A body that goes along with the camera does not: its points
    move as those of a thing at another depth.
    """
    points = np.concatenate([_corners(part) for part in body.parts[0]])
    moved = points @ body.motion[:3, :3].T + body.motion[:3, 3]
    local = [
        (each - pose[:3, 3]) @ pose[:3, :3]
        for each, pose in (
            (points, world_from_camera[0]),
            (points, world_from_camera[1]),
            (moved, world_from_camera[1]),
        )
    ]
    if min(each[:, 2].min() for each in local) < 0.1:
        return False
    first, static, moved = (camera.project(each) for each in local)
    distance_px = np.linalg.norm(moved - static, axis=1)
    epipole_side = _epipolar_distance_px(first, moved, world_from_camera, camera)
    return bool(np.median(distance_px) > LEAST_MOTION_PX and np.median(epipole_side) > LEAST_EPIPOLAR_PX)


def _body(
    world_from_camera: np.ndarray, camera: Camera, center: np.ndarray, count: int, rng: np.random.Generator
) -> Body:
    """A box with boxes on it; ``center`` is its position in the image, in fractions of the sides."""
    builder = SceneBuilder(WorldTextures(weak=0.0, repeated=0.0, shared=0.0), rng, glossy=0.1)
    distance = rng.uniform(*_DISTANCES_M)
    area_m2 = _AREA / count * camera.width * camera.height * (distance / camera.fx) ** 2
    aspect = rng.uniform(0.8, 1.4) * (1.15 / count if count > 1 else 1.15)
    width, height = np.sqrt(area_m2 * aspect), np.sqrt(area_m2 / aspect)
    depth = rng.uniform(0.15, 0.4) * width
    pixel = center * [camera.width, camera.height]
    angle, step_px = rng.uniform(0, 2 * np.pi), rng.uniform(*_STEP) * camera.width / np.sqrt(count)
    pixel1 = pixel + step_px * np.array([np.cos(angle), np.sin(angle)])
    ray, first = camera.unproject(pixel[None])[0], world_from_camera[0]
    pose = np.eye(4)
    pose[:3, :3] = first[:3, :3] @ _BOX_IN_CAMERA @ _turn(rng, 8)
    pose[:3, 3] = first[:3, :3] @ (ray * distance) + first[:3, 3]
    parts = [_part(builder, pose, (0, 0, 0), (depth, width, height))]
    for _ in range(rng.integers(3, 8)):
        size = rng.uniform(0.15, 0.45, 2) * (width, height)
        thick = rng.uniform(0.03, 0.25) * width
        y, z = rng.uniform(-0.5, 0.5, 2) * ((width, height) - size)
        parts.append(_part(builder, pose, (-depth / 2, y, z), (thick, *size)))
    motion = _motion(pose[:3, 3], world_from_camera[1], camera, pixel1, distance * rng.uniform(0.9, 1.15), rng)
    moved = tuple(replace(part, world_from_local=motion @ part.world_from_local) for part in parts)
    return Body((tuple(parts), moved), motion)


_BOX_IN_CAMERA = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])  # its x ahead, y left, z up


def _part(
    builder: SceneBuilder, body: np.ndarray, center: tuple[float, float, float], size: tuple[float, float, float]
) -> Box:
    pose = body.copy()
    pose[:3, 3] += body[:3, :3] @ center
    texture = builder.surface("object" if builder.rng.random() < 0.5 else "picture", (size[1], size[2]))
    return Box(pose, tuple(side / 2 for side in size), texture)


def _motion(
    center: np.ndarray,
    world_from_camera: np.ndarray,
    camera: Camera,
    pixel: np.ndarray,
    distance: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """A motion (4, 4) in the world: a rotation about the body's centre, which moves to a pixel of the camera."""
    motion = np.eye(4)
    motion[:3, :3] = _turn(rng, 6)
    target = world_from_camera[:3, :3] @ (camera.unproject(pixel[None])[0] * distance) + world_from_camera[:3, 3]
    motion[:3, 3] = target - motion[:3, :3] @ center
    return motion


def _turn(rng: np.random.Generator, deviation_deg: float) -> np.ndarray:
    return Rotation.from_rotvec(rng.normal(0, np.radians(deviation_deg), 3)).as_matrix()


def _corners(box: Box) -> np.ndarray:
    """The corners (8, 3) in the world."""
    signs = np.stack(np.meshgrid(*[[-1, 1]] * 3), -1).reshape(-1, 3)
    return (signs * box.half_size) @ box.world_from_local[:3, :3].T + box.world_from_local[:3, 3]


def _epipolar_distance_px(
    points0: np.ndarray, points1: np.ndarray, world_from_camera: np.ndarray, camera: Camera
) -> np.ndarray:
    """Distance (N,) of points in the second image from the epipolar lines of those in the first."""
    relative = np.linalg.inv(world_from_camera[1]) @ world_from_camera[0]
    rays = camera.unproject(points0) @ relative[:3, :3].T
    lines = np.cross(relative[:3, 3], rays) @ np.linalg.inv(camera.matrix)
    homogeneous = np.column_stack([points1, np.ones(len(points1))])
    return np.abs((lines * homogeneous).sum(axis=1)) / np.linalg.norm(lines[:, :2], axis=1)
