"""Markers and sparse points of ``vo_node`` for RViz and Foxglove: camera, keyframes, landmarks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from ros_matching.datatypes import Camera, Keyframe
from ros_matching.geometry.frustum import frustum_lines
from ros_matching.geometry.se3 import transform
from ros_matching.nodes.common.conversions import header_to_msg, points_to_msg
from ros_matching.nodes.common.extrinsics import Extrinsics
from ros_matching.nodes.vo.map_messages import marker_points, new_marker
from ros_matching.odometry.result import TrackingResult

_CAMERA_COLOR, _KEYFRAME_COLOR = (0.0, 0.7, 0.3, 1.0), (0.3, 0.6, 1.0, 1.0)
_CAMERA_SIZE, _KEYFRAME_SIZE = 0.1, 0.05  # of the frusta, in the median depth of the landmarks
_LINE = 0.03  # width of lines, in the size of the frustum


class VoMarkers:
    """Publishes ``markers`` (frusta) with every tracked image, and ``sparse_cloud`` with new keyframes, in odom.

    Messages are built only while there is a subscriber.
    """

    def __init__(self, create: Callable[[type, str, QoSProfile], Any], odom_frame: str) -> None:
        """``create`` makes a publisher of a message type and topic."""
        self._odom_frame = odom_frame
        self._markers = create(MarkerArray, "markers", QoSProfile(depth=1))
        self._cloud = create(PointCloud2, "sparse_cloud", QoSProfile(depth=10))
        self.publishers = [self._markers, self._cloud]
        self._depth = 1.0  # median of the landmarks, which sets the sizes in a map of any unit

    def publish(
        self, result: TrackingResult, camera: Camera, extrinsics: Extrinsics, keyframe_poses: Mapping[int, np.ndarray]
    ) -> None:
        """Publish the camera of a tracked image, and its new keyframes with the ``keyframe_poses`` of recent ones."""
        header = header_to_msg(result.stamp_ns, self._odom_frame)
        if result.new_keyframes:
            self._depth = _median_depth(result.new_keyframes, self._depth)
            if self._cloud.get_subscription_count():
                self._cloud.publish(sparse_cloud(result.new_keyframes, extrinsics, header))
        if result.world_from_camera is None or not self._markers.get_subscription_count():
            return
        pose = extrinsics.odom_from_camera(result.world_from_camera)
        markers = [_frusta(header, "camera", [pose], camera, _CAMERA_SIZE * self._depth, _CAMERA_COLOR)]
        if keyframe_poses:
            poses = [extrinsics.odom_from_camera(pose) for pose in keyframe_poses.values()]
            markers.append(_frusta(header, "keyframes", poses, camera, _KEYFRAME_SIZE * self._depth, _KEYFRAME_COLOR))
        self._markers.publish(MarkerArray(markers=markers))


def sparse_cloud(keyframes: Sequence[Keyframe], extrinsics: Extrinsics, header: Header) -> PointCloud2:
    """Return the sparse points of keyframes in odom: x y z in float32."""
    parts = []
    for keyframe in keyframes:
        known = np.isfinite(keyframe.sparse_depths) & (keyframe.sparse_depths > 0)
        rays = keyframe.frame.camera.unproject(keyframe.sparse_points_px[known])
        pose = extrinsics.odom_from_camera(keyframe.world_from_camera)
        parts.append(transform(pose, rays * keyframe.sparse_depths[known, None]))
    return points_to_msg(np.concatenate(parts), header)


def _median_depth(keyframes: Sequence[Keyframe], otherwise: float) -> float:
    depths = np.concatenate([keyframe.sparse_depths for keyframe in keyframes])
    depths = depths[np.isfinite(depths) & (depths > 0)]
    return float(np.median(depths)) if len(depths) else otherwise


def _frusta(
    header: Header, namespace: str, poses: Sequence[np.ndarray], camera: Camera, size: float, color: Sequence[float]
) -> Marker:
    lines = new_marker(header, namespace, Marker.LINE_LIST, color, _LINE * size)
    lines.points = marker_points(frustum_lines(np.array(poses), camera, size).reshape(-1, 3).astype(float))
    return lines
