"""Publishers of ``mapping_node``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from ros_matching.datatypes import PointCloud
from ros_matching.mapping import MappingResult
from ros_matching.nodes.common.conversions import header_to_msg
from ros_matching.nodes.mapping.clouds import cloud_to_msg
from ros_matching.nodes.mapping.config import MappingNodeConfig
from ros_matching.nodes.mapping.messages import depth_pose_to_msg, depth_to_msgs

_LARGE = QoSProfile(depth=5)  # reliable works with any subscriber
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass(frozen=True)
class FrameNames:
    """Fixed frame of the keyframe poses, and optical frame of the camera."""

    fixed: str
    camera: str


class MappingOutputs:
    """Publishers of the node. Costly messages are built only while there is a subscriber."""

    def __init__(self, node: LifecycleNode, config: MappingNodeConfig) -> None:
        self._node = node
        self._config = config
        self._dense_cloud = self._create(PointCloud2, "dense_cloud", _LARGE)
        self._map_cloud = self._create(PointCloud2, "map_cloud", _LATCHED)
        self._depth = self._create(Image, "depth/image", _LARGE)
        self._depth_camera = self._create(CameraInfo, "depth/camera_info", _LARGE)
        self._depth_pose = self._create(PoseStamped, "depth/pose", _LARGE)
        self._publishers = [self._dense_cloud, self._map_cloud, self._depth, self._depth_camera, self._depth_pose]
        self._next_cloud_s = float("-inf")
        self._map_is_new = False

    def destroy(self) -> None:
        """Remove the publishers from the node."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = []

    def publish(self, result: MappingResult, frames: FrameNames) -> None:
        """Publish depth and cloud of a mapped keyframe."""
        self._map_is_new = True
        if not self._node.context.ok():
            return  # the process is shutting down and maps the waiting keyframes
        stamp_ns = result.keyframe.frame.stamp_ns
        fixed_header = header_to_msg(stamp_ns, frames.fixed)
        if any(publisher.get_subscription_count() for publisher in (self._depth, self._depth_camera)):
            image, camera_info = depth_to_msgs(result.depth_map, header_to_msg(stamp_ns, frames.camera))
            self._depth_pose.publish(depth_pose_to_msg(result.keyframe, fixed_header))
            self._depth_camera.publish(camera_info)
            self._depth.publish(image)
        if self._dense_cloud.get_subscription_count() and self._cloud_is_due():
            self._dense_cloud.publish(
                cloud_to_msg(selection(result.cloud, self._config.cloud_max_points), fixed_header)
            )
        self._map_is_new = True

    def mark_map_changed(self) -> None:
        """Publish the map again at the next occasion."""
        self._map_is_new = True

    def publish_map(self, cloud: Callable[[], PointCloud], stamp_ns: int, frames: FrameNames) -> None:
        """Publish the map if it has changed and has a subscriber; later subscribers get the last message."""
        if not (self._map_is_new and self._map_cloud.get_subscription_count()):
            return
        self._map_is_new = False
        chosen = selection(cloud(), self._config.map_max_points)
        self._map_cloud.publish(cloud_to_msg(chosen, header_to_msg(stamp_ns, frames.fixed)))

    def _cloud_is_due(self) -> bool:
        now_s = time.monotonic()
        if now_s < self._next_cloud_s:
            return False
        self._next_cloud_s = now_s + self._config.cloud_period_s
        return True

    def _create(self, message_type: type, topic: str, qos: QoSProfile):
        return self._node.create_lifecycle_publisher(
            message_type, topic, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies()
        )


def selection(cloud: PointCloud, most: int) -> PointCloud:
    """The cloud, or ``most`` of its points spread evenly over their order."""
    if len(cloud) <= most:
        return cloud
    rows = np.linspace(0, len(cloud) - 1, most).astype(np.intp)
    return PointCloud(cloud.points[rows], cloud.colors[rows], cloud.confidence[rows])
