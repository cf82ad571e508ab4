"""Node that shows the topics of vo_node and mapping_node in the browser, for ``ros-matching view --live``.

Callbacks keep the newest message of each topic; the thread of ``serve`` converts and shows them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

import numpy as np
import rclpy
from nav_msgs.msg import Odometry, Path
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from ros_matching.datatypes import Camera
from ros_matching.errors import NodeError
from ros_matching.geometry.se3 import transform
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.msg import VoStatus
from ros_matching.nodes.common.conversions import camera_from_msg, image_from_msg, pose_from_msg, stamp_ns_from_msg
from ros_matching.nodes.common.spinning import ros_context, spinning
from ros_matching.nodes.mapping.clouds import cloud_from_msg
from ros_matching.viewer.browser_viewer import BrowserViewer
from ros_matching.viewer.live_state import LiveFrame, position_std

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_STATES = {
    VoStatus.INITIALIZING: "initializing",
    VoStatus.TRACKING: "tracking",
    VoStatus.LOST: "lost",
    VoStatus.BRIDGED: "bridged",
}
_SCALES = {VoStatus.UP_TO_SCALE: "up_to_scale", VoStatus.ANCHORED: "anchored", VoStatus.METRIC: "metric"}
_PERIOD_S = 0.05
_LOOPS = "loop"  # namespace of the markers of loops
_UNKNOWN_VARIANCE = 1e5  # nodes publish 1e6 for unknown


class ViewerNode(Node):
    """Subscriptions, and the conversion of what they received."""

    def __init__(self, viewer: BrowserViewer, **node_options: Any) -> None:
        super().__init__("viewer_node", **node_options)
        self._viewer = viewer
        self._lock = threading.Lock()
        self._newest: dict[str, Any] = {}
        self._keyframes: deque[KeyframeMsg] = deque(maxlen=100)
        self._camera: Camera | None = None
        self._poses: dict[int, np.ndarray] = {}  # of keyframes, by stamp
        self._points: dict[int, np.ndarray] = {}
        self._pose: tuple[int, np.ndarray, float] | None = None
        self._warned: set[str] = set()
        small, latched = QoSProfile(depth=5), _LATCHED
        for kind, topic, qos in (
            (VoStatus, "vo_status", small),
            (Odometry, "odom", small),
            (Image, "debug_image", QoSProfile(depth=1)),
            (Path, "keyframe_path", small),
            (PointCloud2, "map_cloud", latched),
            (PointCloud2, "vo_node/landmarks", latched),
            (MarkerArray, "vo_node/pose_graph", latched),
        ):
            self.create_subscription(kind, topic, lambda msg, topic=topic: self._keep(topic, msg), qos)
        self.create_subscription(KeyframeMsg, "keyframe", self._keep_keyframe, QoSProfile(depth=10))

    def show(self) -> None:
        """Show the messages that arrived since the last call; a bad one is logged once for its topic."""
        with self._lock:
            newest, self._newest = self._newest, {}
            keyframes = list(self._keyframes)
            self._keyframes.clear()
        for topic, msg in [*(("keyframe", keyframe) for keyframe in keyframes), *newest.items()]:
            if topic == "vo_status":
                continue
            try:
                self._take(topic, msg, newest)
            except (NodeError, ValueError) as error:
                self._warn(topic, error)
        if "vo_status" in newest:
            self._show_status(newest["vo_status"], newest.get("debug_image"))

    def _take(self, topic: str, msg: Any, newest: dict[str, Any]) -> None:
        if topic == "odom":
            covariance = np.reshape(msg.pose.covariance, (6, 6))
            std = position_std(covariance) if covariance[:3, :3].max() < _UNKNOWN_VARIANCE else float("nan")
            self._pose = stamp_ns_from_msg(msg.header.stamp), pose_from_msg(msg.pose.pose), std
        elif topic == "keyframe":
            stamp_ns = stamp_ns_from_msg(msg.header.stamp)
            self._camera, self._poses[stamp_ns] = camera_from_msg(msg.camera_info), pose_from_msg(msg.pose)
            sparse = np.frombuffer(msg.sparse_points, np.float32).reshape(-1, 3).astype(np.float64)
            self._points[stamp_ns] = self._camera.unproject(sparse[:, :2]) * sparse[:, 2:]
            self._show_keyframes()
        elif topic == "keyframe_path":
            moved = {stamp_ns_from_msg(pose.header.stamp): pose_from_msg(pose.pose) for pose in msg.poses}
            self._poses |= {stamp: pose for stamp, pose in moved.items() if stamp in self._poses}
        elif topic == "map_cloud":
            cloud = cloud_from_msg(msg)
            self._viewer.show_map_cloud(cloud.points, cloud.colors)
        elif topic == "vo_node/landmarks":
            self._viewer.show_landmarks(cloud_from_msg(msg).points)
        elif topic == "vo_node/pose_graph":
            lines = [marker for marker in msg.markers if marker.ns == _LOOPS]
            points = [(point.x, point.y, point.z) for marker in lines for point in marker.points]
            self._viewer.show_loops(np.array(points).reshape(-1, 2, 3))

    def _show_keyframes(self) -> None:
        self._viewer.show_keyframes(self._poses, self._camera)
        points = [transform(self._poses[stamp], local) for stamp, local in self._points.items()]
        self._viewer.show_landmarks(np.concatenate(points))

    def _show_status(self, status: VoStatus, debug_image: Image | None) -> None:
        stamp_ns = stamp_ns_from_msg(status.header.stamp)
        is_tracked = status.state == VoStatus.TRACKING and self._pose is not None
        state = _STATES.get(status.state, "unknown")
        line = f"{state}, {status.inliers} inliers, {status.landmarks} landmarks"
        try:
            image = None if debug_image is None else image_from_msg(debug_image)
        except NodeError as error:
            self._warn("debug_image", error)
            image = None
        self._viewer.show_frame(
            LiveFrame(
                stamp_ns=stamp_ns,
                status=state,
                status_line=f"{line}; {status.reason}" if status.reason else line,
                image=image,
                camera=self._camera,
                world_from_camera=self._camera_pose() if is_tracked else None,
                scale=_SCALES.get(status.scale, ""),
                scale_std=float(status.scale_sigma),
                position_std=self._pose[2] if is_tracked else float("nan"),
                stage_ms=dict(zip(status.stage_names, map(float, status.stage_ms), strict=False)),
            )
        )

    def _camera_pose(self) -> np.ndarray:
        """Return the pose of the robot, with the axes of a camera that looks forward."""
        pose = self._pose[1].copy()
        pose[:3, :3] = pose[:3, :3] @ np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
        return pose

    def _keep(self, topic: str, msg: Any) -> None:
        with self._lock:
            self._newest[topic] = msg

    def _keep_keyframe(self, msg: KeyframeMsg) -> None:
        with self._lock:
            self._keyframes.append(msg)

    def _warn(self, topic: str, error: Exception) -> None:
        if topic not in self._warned:
            self._warned.add(topic)
            self.get_logger().warning(f"a message of {topic} cannot be shown: {error}")


def serve(viewer: BrowserViewer, namespace: str = "") -> None:
    """Show the topics until ROS is shut down or Ctrl-C."""
    args = ["--ros-args", "-r", f"__ns:=/{namespace.strip('/')}"] if namespace else []
    with ros_context(args):
        node = ViewerNode(viewer)
        with spinning(SingleThreadedExecutor(), node):
            while rclpy.ok():
                node.show()
                time.sleep(_PERIOD_S)
