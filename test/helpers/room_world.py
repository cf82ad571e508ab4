"""An empty room with a box in it, and exact depth maps of a level camera."""

from __future__ import annotations

import numpy as np

from ros_matching.datatypes import Camera, DepthMap
from ros_matching.geometry.se3 import pose_from

CAMERA = Camera(96, 72, 66.0, 66.0, 47.5, 35.5)
LOWER, UPPER = np.array([-3.0, -2.0, 0.0]), np.array([3.0, 2.0, 2.5])  # of the room; z is up
BOX_LOWER, BOX_UPPER = np.array([1.0, -0.4, 0.0]), np.array([1.6, 0.4, 0.5])
HEIGHT = 1.2


def pose(x: float, y: float, yaw: float, pitch: float = 0.35) -> np.ndarray:
    """The pose (4, 4) of a camera at a height of 1.2 that looks along ``yaw``, and ``pitch`` downwards."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    return pose_from(np.stack([right, np.cross(forward, right), forward], axis=1), np.array([x, y, HEIGHT]))


def distance(points: np.ndarray) -> np.ndarray:
    """Signed distances (N,) of points (N, 3) to the walls, the floor and the box."""
    to_walls = np.minimum(points - LOWER, UPPER - points).min(axis=1)
    excess = np.maximum(BOX_LOWER - points, points - BOX_UPPER)
    to_box = np.linalg.norm(np.maximum(excess, 0), axis=1) + np.minimum(excess.max(axis=1), 0)
    return np.minimum(to_walls, to_box)


def depth_map(world_from_camera: np.ndarray) -> DepthMap:
    """The exact depth of a camera in the room."""
    v, u = np.mgrid[: CAMERA.height, : CAMERA.width]
    rays = CAMERA.unproject(np.column_stack([u.ravel(), v.ravel()])) @ world_from_camera[:3, :3].T
    center = world_from_camera[:3, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        walls = np.where(rays > 0, (UPPER - center) / rays, (LOWER - center) / rays)
        first, second = (BOX_LOWER - center) / rays, (BOX_UPPER - center) / rays
    leave = np.nanmin(walls, axis=1)
    enters, leaves = np.minimum(first, second).max(axis=1), np.maximum(first, second).min(axis=1)
    depth = np.where((enters > 0) & (enters < leaves), enters, leave).reshape(u.shape)
    return DepthMap(depth.astype(np.float32), np.ones(u.shape, np.float32), CAMERA)


def views() -> list[np.ndarray]:
    """Poses that together see the whole room."""
    turns = np.linspace(0, 2 * np.pi, 9)[:-1]
    return [pose(x, y, yaw) for x, y in ((-2.0, -1.2), (0.0, 1.3), (2.2, -1.2)) for yaw in turns]
