"""Motion model: the pose of the next frame, if the last motion continues."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ros_matching.geometry.se3 import interpolate, invert, rotation_angle_deg, scaled

_MAX_EXTRAPOLATION = 3.0  # a motion is extrapolated to at most this multiple of its duration
# A pose so far from its prediction, in typical depths or degrees, is a jump.
_JUMP_DISTANCE = 0.3
_JUMP_DEG = 20.0


@dataclass(frozen=True)
class ConstantVelocityModel:
    """The last pose, and ``motion`` (4, 4), the now_from_before of the last two frames in a row, in ``motion_ns``."""

    stamp_ns: int
    world_from_camera: np.ndarray
    motion: np.ndarray | None = None
    motion_ns: int = 0

    def predict(self, stamp_ns: int) -> np.ndarray:
        """Predict camera_from_world (4, 4) at a time."""
        camera_from_world = invert(self.world_from_camera)
        if self.motion is None or self.motion_ns <= 0:
            return camera_from_world
        steps = (stamp_ns - self.stamp_ns) / self.motion_ns
        return interpolate(np.eye(4), self.motion, min(steps, _MAX_EXTRAPOLATION)) @ camera_from_world

    def rescaled(self, factor: float) -> ConstantVelocityModel:
        """Return the model after all lengths were multiplied by ``factor`` about the camera."""
        return replace(self, motion=None if self.motion is None else scaled(self.motion, factor))

    def moved_to(self, world_from_camera: np.ndarray, scale_change: float = 1.0) -> ConstantVelocityModel:
        """Return the model after the map and the last pose were moved and scaled."""
        return replace(self.rescaled(scale_change), world_from_camera=world_from_camera)


def is_jump(predicted: np.ndarray, camera_from_world: np.ndarray, depth: float) -> bool:
    """Return True if a pose (4, 4) is far from its prediction, for a scene at ``depth``."""
    step = camera_from_world @ invert(predicted)
    return bool(np.linalg.norm(step[:3, 3]) > _JUMP_DISTANCE * depth or rotation_angle_deg(step) > _JUMP_DEG)
