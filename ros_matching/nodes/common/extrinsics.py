"""Extrinsics of the camera on the robot, and the robot's motion from the camera's motion.

tf2_ros is not on PyPI, and fixed extrinsics need no lookup in time. The static transforms of /tf_static are stored
here and composed along the chain between two frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from geometry_msgs.msg import TransformStamped

from ros_matching.errors import NodeError
from ros_matching.geometry.se3 import compose_covariance, exp_so3, invert, log_so3, pose_from
from ros_matching.nodes.common.conversions import transform_from_msg

BODY_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
"""REP-103: body axes (x forward, y left, z up) from optical axes (x right, y down, z forward)."""

_CERTAIN = np.zeros((6, 6))
_UP = np.array([0.0, 0.0, 1.0])
_MOST_FRAMES = 10_000


@dataclass(frozen=True)
class Twist:
    """Velocity of the robot along its own axes: ``linear`` (3,) m/s, ``angular`` (3,) rad/s; ``covariance`` (6, 6)."""

    linear: np.ndarray
    angular: np.ndarray
    covariance: np.ndarray | None


@dataclass(frozen=True)
class Extrinsics:
    """``base_from_camera`` (4, 4): the pose of the camera's optical frame in the robot's base frame.

    ``level`` (3, 3) rotates odom so that its z axis is up, if an IMU has measured gravity.
    """

    base_from_camera: np.ndarray
    level: np.ndarray | None = None

    @cached_property
    def camera_from_base(self) -> np.ndarray:
        """The robot's base frame in the camera's frame (4, 4)."""
        return invert(self.base_from_camera)

    def odom_from_camera(self, world_from_camera: np.ndarray) -> np.ndarray:
        """Return the camera in odom. Odom is the base frame at the first keyframe, the world is the camera there."""
        return self.odom_from_world @ world_from_camera

    @cached_property
    def odom_from_world(self) -> np.ndarray:
        """Odom, or the frame of the map, from the world (4, 4), which is the first camera."""
        if self.level is None:
            return self.base_from_camera
        return pose_from(self.level, np.zeros(3)) @ self.base_from_camera

    def leveled(self, up_in_world: np.ndarray) -> Extrinsics:
        """Return the extrinsics with odom leveled by the direction (3,) that is up in the world; headings stay."""
        up = self.base_from_camera[:3, :3] @ up_in_world
        axis = np.cross(up, _UP)
        sine, cosine = float(np.linalg.norm(axis)), float(up @ _UP)
        angle = np.arctan2(sine, cosine)
        level = exp_so3(angle * axis / sine) if sine > 1e-9 else np.eye(3) if cosine > 0 else np.diag([1.0, -1.0, -1.0])
        return replace(self, level=level)

    def odom_covariance(self, world_from_camera: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """Return the covariance (6, 6) of the robot in odom, see ``base_covariance``."""
        camera = compose_covariance(self.odom_from_world, _CERTAIN, world_from_camera, covariance)
        return compose_covariance(self.odom_from_camera(world_from_camera), camera, self.camera_from_base, _CERTAIN)

    def odom_from_base(self, world_from_camera: np.ndarray) -> np.ndarray:
        """Return the robot in odom."""
        return self.odom_from_camera(world_from_camera) @ self.camera_from_base

    def base_covariance(self, a_from_camera: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """Return the covariance (6, 6) of ``base_from_camera @ a_from_camera @ camera_from_base``.

        The extrinsics count as exact.
        """
        camera = compose_covariance(self.base_from_camera, _CERTAIN, a_from_camera, covariance)
        moved = self.base_from_camera @ a_from_camera
        return compose_covariance(moved, camera, self.camera_from_base, _CERTAIN)

    def twist(self, previous_from_current: np.ndarray, covariance: np.ndarray | None, seconds: float) -> Twist:
        """Return the robot's mean velocity between two images ``seconds`` apart, from the camera's motion between them.

        The displacement is rotated to the axes half way. For a constant twist these are the axes of the velocity to
        second order in the angle.
        """
        motion = self.base_from_camera @ previous_from_current @ self.camera_from_base
        turn = log_so3(motion[:3, :3])
        if covariance is not None:
            covariance = self.base_covariance(previous_from_current, covariance) / seconds**2
        return Twist(exp_so3(-0.5 * turn) @ motion[:3, 3] / seconds, turn / seconds, covariance)


IDENTITY = Extrinsics(BODY_FROM_OPTICAL)
"""The camera at the origin of the robot's frame, looking along x, its top towards z."""


class StaticTransforms:
    """Tree of static transforms, written by one thread and read by others: an update replaces the table."""

    def __init__(self) -> None:
        self._parents: dict[str, tuple[str, np.ndarray]] = {}

    def update(self, transforms: Iterable[TransformStamped]) -> None:
        """Add or change transforms; raises ``NodeError``, without any change, if one of them is not finite.

        Also raised if the tree would exceed the largest number of frames.
        """
        new = {_bare(t.child_frame_id): (_bare(t.header.frame_id), transform_from_msg(t.transform)) for t in transforms}
        parents = {**self._parents, **new}
        if len(parents) > _MOST_FRAMES:
            raise NodeError(f"there are {len(parents)} frames with it, and up to {_MOST_FRAMES} are kept")
        self._parents = parents

    @property
    def frames(self) -> list[str]:
        """Names of all known frames."""
        parents = self._parents
        return sorted(set(parents) | {parent for parent, _ in parents.values()})

    def lookup(self, target: str, source: str) -> np.ndarray | None:
        """Return ``target_from_source`` (4, 4), or ``None`` if no chain of static transforms connects the two."""
        parents = self._parents
        from_target = _ancestors(parents, _bare(target))
        from_source = _ancestors(parents, _bare(source))
        for ancestor, ancestor_from_source in from_source.items():
            if ancestor in from_target:
                return invert(from_target[ancestor]) @ ancestor_from_source
        return None


def _ancestors(parents: dict[str, tuple[str, np.ndarray]], frame: str) -> dict[str, np.ndarray]:
    """Return every frame above ``frame``, itself first, each with ``ancestor_from_frame`` (4, 4)."""
    chain = {frame: np.eye(4)}
    while frame in parents:
        parent, parent_from_frame = parents[frame]
        if parent in chain:  # a loop by conflicting publishers
            break
        chain[parent] = parent_from_frame @ chain[frame]
        frame = parent
    return chain


def _bare(frame: str) -> str:
    return frame.lstrip("/")  # tf2 has no leading slash, old drivers still send it
