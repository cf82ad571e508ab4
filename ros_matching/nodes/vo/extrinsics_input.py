"""Extrinsics of the camera on the robot, from /tf_static or a parameter."""

from __future__ import annotations

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from ros_matching.errors import NodeError
from ros_matching.nodes.common.extrinsics import IDENTITY, Extrinsics, StaticTransforms
from ros_matching.nodes.common.problems import Problem, ProblemLog
from ros_matching.nodes.vo.config import VoConfig

_LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_MOST_LISTED = 20


class ExtrinsicsInput:
    """Extrinsics by the parameter ``camera_extrinsics``: from /tf_static, or the identity; no fallback."""

    def __init__(self, node: Node, config: VoConfig, problems: ProblemLog, *, always: bool = False) -> None:
        """``always`` subscribes to /tf_static also for the identity: other sensors need it."""
        self._node = node
        self._config = config
        self._problems = problems
        self._transforms = StaticTransforms()
        self._known: dict[str, Extrinsics] = {}
        self._subscription = None
        if config.camera_extrinsics == "tf" or always:
            self._subscription = node.create_subscription(TFMessage, "/tf_static", self._on_transforms, _LATCHED)

    def destroy(self) -> None:
        """Remove the subscription from the node."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def extrinsics(self, camera_frame: str) -> Extrinsics | None:
        """Return the camera's extrinsics, or ``None`` until known; then the problem is reported with its remedy."""
        if self._config.camera_extrinsics == "identity":
            return IDENTITY
        known = self._known.get(camera_frame)
        return known if known is not None else self._look_up(camera_frame)

    def between(self, target: str, source: str) -> np.ndarray | None:
        """Return ``target_from_source`` (4, 4) by /tf_static, or ``None`` if unknown or not subscribed."""
        return self._transforms.lookup(target, source)

    def _look_up(self, camera_frame: str) -> Extrinsics | None:
        known = self._known
        base_from_camera = self._transforms.lookup(self._config.base_frame, camera_frame) if camera_frame else None
        if base_from_camera is None:
            self._problems.report(Problem.EXTRINSICS, self._remedy(camera_frame))
            return None
        self._problems.clear(Problem.EXTRINSICS)
        known[camera_frame] = Extrinsics(base_from_camera)
        return known[camera_frame]

    def _remedy(self, camera_frame: str) -> str:
        without = "odom, path, keyframe and TF are not published"
        if not camera_frame:
            return (
                f"{without}: the images have no frame; let the driver set header.frame_id, or set the parameter "
                "camera_frame"
            )
        frames = self._transforms.frames
        listed = ", ".join(frames[:_MOST_LISTED]) + (", …" if len(frames) > _MOST_LISTED else "")
        base = self._config.base_frame
        return (
            f"{without}: /tf_static has no extrinsics of the camera ({base} -> {camera_frame}; known frames: "
            f"{listed or 'none'}); publish them (robot_state_publisher, or ros2 run tf2_ros "
            f"static_transform_publisher --frame-id {base} --child-frame-id {camera_frame} …), or set the parameter "
            "camera_extrinsics to identity"
        )

    def _on_transforms(self, msg: TFMessage) -> None:
        try:
            self._transforms.update(msg.transforms)
        except NodeError as error:
            self._problems.report(Problem.TF, f"a message on /tf_static is ignored: {error}")
        else:
            self._problems.clear(Problem.TF)
        self._known = {}
