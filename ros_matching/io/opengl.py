"""Camera axes of OpenGL, which nerfstudio, instant-ngp, Blender and ARKit use: x right, y up, z backward."""

from __future__ import annotations

import numpy as np

_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def swap_opengl(world_from_camera: np.ndarray) -> np.ndarray:
    """Poses (..., 4, 4) of cameras with OpenGL's axes from those with ours (y down, z forward), or the other way."""
    return world_from_camera @ _FLIP
