"""Input and states of the visual-inertial alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ros_matching.geometry.se3 import exp_so3
from ros_matching.inertial.motion_state import MotionState
from ros_matching.inertial.preintegration import Preintegration

NODE = 9
"""Size of the states of a keyframe: rotation, camera centre, velocity."""

SHARED = 9
"""Size of the shared states: accelerometer bias, gyroscope bias, gravity (2), log scale."""

_BIAS, _GRAVITY, _SCALE = slice(0, 6), slice(6, 8), 8


@dataclass(frozen=True, eq=False)
class AlignmentInput:
    """N keyframes: rotations (N, 3, 3) of the IMU in the world, camera centres (N, 3) in map units.

    ``preintegrations`` are the N - 1 between them, ``depth`` is the typical depth in map units, ``lever`` (3,) the
    position of the camera along the axes of the IMU, in metres. ``bias`` (6,) with ``bias_std`` (6,) is known before.
    ``first`` is the state of motion at the first keyframe, if it is known before: in a map that starts after a loss.
    """

    stamps_ns: Sequence[int]
    rotations: np.ndarray
    centers: np.ndarray
    preintegrations: Sequence[Preintegration]
    depth: float
    lever: np.ndarray
    bias: np.ndarray
    bias_std: np.ndarray
    first: MotionState | None = None


@dataclass(eq=False)
class AlignmentStates:
    """All states; see ``AlignmentInput``. ``down`` (3,) is a unit vector."""

    rotations: np.ndarray
    centers: np.ndarray
    velocities: np.ndarray
    bias: np.ndarray
    down: np.ndarray
    log_scale: float

    def moved(self, step: np.ndarray) -> AlignmentStates:
        """Return the states after a step of the optimisation."""
        nodes, shared = step[:-SHARED].reshape(-1, NODE), step[-SHARED:]
        down = self.down + tangents(self.down) @ shared[_GRAVITY]
        return AlignmentStates(
            self.rotations @ exp_so3(nodes[:, :3]),
            self.centers + nodes[:, 3:6],
            self.velocities + nodes[:, 6:],
            self.bias + shared[_BIAS],
            down / np.linalg.norm(down),
            self.log_scale + float(shared[_SCALE]),
        )


def tangents(direction: np.ndarray) -> np.ndarray:
    """Return two unit vectors (3, 2) orthogonal to a unit vector (3,) and to each other."""
    axis = np.eye(3)[int(np.argmin(np.abs(direction)))]
    first = np.cross(direction, axis)
    first /= np.linalg.norm(first)
    return np.column_stack([first, np.cross(direction, first)])
