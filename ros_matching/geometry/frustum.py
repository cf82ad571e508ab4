"""The frustum of a camera as lines, for drawing."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ros_matching.datatypes import Camera
from ros_matching.geometry.se3 import transform

_EDGES = np.array([(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)])  # 0: the centre


def frustum_lines(world_from_camera: np.ndarray, camera: Camera, depth: float) -> np.ndarray:
    """Return the edges of camera frusta at poses (K, 4, 4) as lines (8 K, 2, 3), float32."""
    right, bottom = camera.width - 0.5, camera.height - 0.5
    corners = depth * camera.unproject(np.array([[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]]))
    points = np.concatenate([np.zeros((1, 3)), corners])
    lines: Iterable[np.ndarray] = (transform(pose, points)[_EDGES] for pose in world_from_camera)
    return np.concatenate([np.zeros((0, 2, 3)), *lines]).astype(np.float32)
