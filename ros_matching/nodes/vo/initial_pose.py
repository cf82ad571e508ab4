"""Subscription to a suggested pose of the robot in the map, as RViz and Nav2 send it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile

from ros_matching.errors import NodeError
from ros_matching.geometry.se3 import invert
from ros_matching.nodes.common.conversions import pose_from_msg
from ros_matching.nodes.common.extrinsics import Extrinsics
from ros_matching.nodes.common.problems import Problem, ProblemLog
from ros_matching.nodes.vo.slam_tracker import SlamTracker

_TOPIC = "initialpose"


class InitialPoseInput:
    """Helps to localise the camera in a map: places near the suggested pose are tried first.

    ``extrinsics`` returns those of the camera of the last image, ``None`` until they are known.
    """

    def __init__(
        self,
        node: Node,
        map_frame: str,
        tracker: SlamTracker,
        problems: ProblemLog,
        extrinsics: Callable[[], Extrinsics | None],
    ) -> None:
        self._node, self._map_frame, self._tracker = node, map_frame, tracker
        self._problems, self._extrinsics = problems, extrinsics
        self._subscription = node.create_subscription(
            PoseWithCovarianceStamped, _TOPIC, self._receive, QoSProfile(depth=1)
        )

    def destroy(self) -> None:
        """Remove the subscription from the node."""
        self._node.destroy_subscription(self._subscription)

    def _receive(self, msg: PoseWithCovarianceStamped) -> None:
        try:
            pose = self._camera_pose(msg)
        except NodeError as error:
            self._problems.report(Problem.INITIAL_POSE, f"a pose on {_TOPIC} is ignored: {error}")
            return
        self._problems.clear(Problem.INITIAL_POSE)
        self._tracker.suggest_pose(pose)
        self._node.get_logger().info(f"a pose on {_TOPIC} was received: places near it are tried first")

    def _camera_pose(self, msg: PoseWithCovarianceStamped) -> np.ndarray:
        """Return map_from_camera (4, 4) in the axes of the camera."""
        if msg.header.frame_id != self._map_frame:
            raise NodeError(f"its frame must be {self._map_frame}, got {msg.header.frame_id!r}")
        if self._tracker.is_localized:
            raise NodeError("the camera is localised already; call ~/load_map to localise it again")
        extrinsics = self._extrinsics()
        if extrinsics is None:
            raise NodeError("no image has come whose camera has known extrinsics; send it again later")
        map_from_base = pose_from_msg(msg.pose.pose)
        return invert(extrinsics.odom_from_world) @ map_from_base @ extrinsics.base_from_camera
