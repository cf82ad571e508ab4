"""Motion model: the pose of the next frame, if the last motion continues."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ros_matching.geometry.se3 import interpolate, invert, pose_from, rotation_angle_deg, scaled

_MAX_EXTRAPOLATION = 3.0  # a motion is extrapolated to at most this multiple of its duration
# A pose so far from its prediction, in typical depths or degrees, is a jump.
_JUMP_DISTANCE = 0.3
_JUMP_DEG = 20.0
# With a rotation measured by a gyroscope: in degrees, and as a fraction of it
_MEASURED_DEG, _MEASURED_FRACTION = 3.0, 0.05


@dataclass(frozen=True)
class Prediction:
    """A predicted camera_from_world (4, 4), and the largest rotation from it of a pose that is no jump."""

    camera_from_world: np.ndarray
    jump_deg: float = _JUMP_DEG


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

    @property
    def velocity(self) -> np.ndarray:
        """Velocity (3,) of the camera along the world's axes, in map units a second; zero while unknown."""
        if self.motion is None or self.motion_ns <= 0:
            return np.zeros(3)
        # The previous centre, in the axes of this camera, is the translation of the motion
        return self.world_from_camera[:3, :3] @ -self.motion[:3, 3] / (1e-9 * self.motion_ns)

    def predict_with_rotation(self, stamp_ns: int, current_from_last: np.ndarray | None) -> Prediction:
        """Predict with the measured rotation (3, 3) since the last pose, if there is one.

        The velocity in the world is then constant, not that along the axes of the camera.
        """
        if current_from_last is None:
            return Prediction(self.predict(stamp_ns))
        seconds = min(stamp_ns - self.stamp_ns, _MAX_EXTRAPOLATION * self.motion_ns) * 1e-9
        center = self.world_from_camera[:3, 3] + seconds * self.velocity
        rotation = current_from_last @ self.world_from_camera[:3, :3].T
        turned_deg = float(rotation_angle_deg(current_from_last))
        return Prediction(pose_from(rotation, -rotation @ center), _MEASURED_DEG + _MEASURED_FRACTION * turned_deg)

    def rescaled(self, factor: float) -> ConstantVelocityModel:
        """Return the model after all lengths were multiplied by ``factor`` about the camera."""
        return replace(self, motion=None if self.motion is None else scaled(self.motion, factor))

    def moved_to(self, world_from_camera: np.ndarray, scale_change: float = 1.0) -> ConstantVelocityModel:
        """Return the model after the map and the last pose were moved and scaled."""
        return replace(self.rescaled(scale_change), world_from_camera=world_from_camera)


def is_jump(prediction: Prediction, camera_from_world: np.ndarray, depth: float) -> bool:
    """Return True if a pose (4, 4) is far from its prediction, for a scene at ``depth``."""
    step = camera_from_world @ invert(prediction.camera_from_world)
    is_far = np.linalg.norm(step[:3, 3]) > _JUMP_DISTANCE * depth
    return bool(is_far or rotation_angle_deg(step) > prediction.jump_deg)
