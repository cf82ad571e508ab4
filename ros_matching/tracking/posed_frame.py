"""The last frame with a pose, from which the motion to the next one is told, and where that will be."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ros_matching.geometry.se3 import interpolate, invert, rotation_angle_deg, scaled
from ros_matching.tracking.pose_belief import PoseBelief

_MAX_SHARE = 3.0  # a motion is not believed to go on for longer than this many times what it took
# A pose so far from where the motion before leads, in typical depths or degrees, is a jump.
_JUMP_DISTANCE = 0.3
_JUMP_DEG = 20.0


@dataclass(frozen=True)
class PosedFrame:
    """A frame's pose; ``motion`` (4, 4) is now_from_before of the last two in a row, ``motion_ns`` what it took."""

    stamp_ns: int
    world_from_camera: np.ndarray
    belief: PoseBelief
    motion: np.ndarray | None = None
    motion_ns: int = 0

    def predicted(self, stamp_ns: int) -> np.ndarray:
        """camera_from_world (4, 4) at a time, the last motion going on."""
        camera_from_world = invert(self.world_from_camera)
        if self.motion is None or self.motion_ns <= 0:
            return camera_from_world
        share = (stamp_ns - self.stamp_ns) / self.motion_ns
        return interpolate(np.eye(4), self.motion, min(share, _MAX_SHARE)) @ camera_from_world

    def rescaled(self, factor: float) -> PosedFrame:
        """The same, after all lengths were multiplied by ``factor`` about this camera."""
        motion = None if self.motion is None else scaled(self.motion, factor)
        return replace(self, belief=self.belief.rescaled(factor), motion=motion)


def is_jump(predicted: np.ndarray, camera_from_world: np.ndarray, depth: float) -> bool:
    """Whether a pose (4, 4) is far from where it was predicted, for a scene ``depth`` away."""
    step = camera_from_world @ invert(predicted)
    return bool(np.linalg.norm(step[:3, 3]) > _JUMP_DISTANCE * depth or rotation_angle_deg(step) > _JUMP_DEG)
