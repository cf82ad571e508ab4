"""Two or more cameras that look at one textured plane, with everything known exactly."""

from __future__ import annotations

import numpy as np
import torch

from ros_matching.geometry.se3 import exp_so3, pose_from

K = np.array([[30.0, 0.0, 19.5], [0.0, 31.0, 14.5], [0.0, 0.0, 1.0]])
SIZE = (30, 40)
CAMERA_FROM_WORLD = np.stack(
    [
        pose_from(exp_so3(np.array(turn)), np.array(shift))
        for turn, shift in (
            ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
            ((0.02, -0.05, 0.03), (0.35, 0.05, 0.1)),
            ((-0.03, 0.04, -0.02), (-0.3, 0.1, -0.05)),
            ((0.01, 0.02, 0.05), (0.05, -0.3, 0.02)),
        )
    ]
)
FREQUENCIES = np.array([[2.0, 0.5], [-0.7, 2.3], [4.1, 1.0], [1.2, -3.9], [0.9, 0.4], [5.0, 4.0]])


def projections(views: int = 4) -> torch.Tensor:
    """(1, views, 4, 4) float64."""
    stacked = CAMERA_FROM_WORLD[:views].copy()
    stacked[:, :3] = K @ stacked[:, :3]
    return torch.from_numpy(stacked)[None]


def pixels() -> np.ndarray:
    """Homogeneous pixels (h * w, 3), row by row."""
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.column_stack([u.ravel(), v.ravel(), np.ones(u.size)]).astype(np.float64)


def plane_depth(normal: np.ndarray, distance: float, camera_from_world: np.ndarray) -> np.ndarray:
    """The depth (h, w) of the world's plane ``normal @ X = distance`` in a view."""
    rays = pixels() @ np.linalg.inv(K).T
    rotation, translation = camera_from_world[:3, :3], camera_from_world[:3, 3]
    n = rotation @ normal  # in camera coordinates the plane is n @ X = distance + n @ t
    return ((distance + n @ translation) / (rays @ n)).reshape(SIZE)


def plane_features(normal: np.ndarray, distance: float, views: int = 4) -> torch.Tensor:
    """Features (1, views, C, h, w) that depend on nothing but the point of the plane: sines of its coordinates."""
    features = []
    for camera_from_world in CAMERA_FROM_WORLD[:views]:
        depth = plane_depth(normal, distance, camera_from_world).reshape(-1, 1)
        points = depth * (pixels() @ np.linalg.inv(K).T)
        world = (points - camera_from_world[:3, 3]) @ camera_from_world[:3, :3]
        phase = world[:, :2] @ FREQUENCIES.T
        features.append(np.concatenate([np.sin(phase), np.cos(phase)], axis=1).T.reshape(-1, *SIZE))
    return torch.from_numpy(np.stack(features))[None]
