"""Publishers of ``vo_node``."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from nav_msgs.msg import Odometry, Path
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from ros_matching.datatypes import Frame, Keyframe
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.msg import VoStatus
from ros_matching.nodes.common.conversions import header_to_msg, image_to_msg
from ros_matching.nodes.common.extrinsics import Extrinsics, Twist
from ros_matching.nodes.vo import messages
from ros_matching.nodes.vo.config import VoConfig
from ros_matching.nodes.vo.markers import VoMarkers
from ros_matching.odometry.result import TrackingResult
from ros_matching.viewer.tracks import draw_tracks

_LARGE = QoSProfile(depth=1)  # reliable works with any subscriber; no queue for a slow one
_SMALL = QoSProfile(depth=10)
_TF = QoSProfile(depth=100)  # as tf2_ros


class VoOutputs:
    """Publishers of the node. Costly messages are built only while there is a subscriber."""

    def __init__(self, node: LifecycleNode, config: VoConfig) -> None:
        self._node = node
        self._config = config
        self._status = self._create(VoStatus, "vo_status", _SMALL)
        self._relative_pose = self._create(PoseWithCovarianceStamped, "relative_pose", _SMALL)
        self._odom = self._create(Odometry, "odom", _SMALL)
        self._path = self._create(Path, "path", _LARGE)
        # with SLAM keyframes are in the map, see MapOutputs
        self._has_keyframes = config.mode == "odometry"
        self._keyframe = self._create(KeyframeMsg, "keyframe", _SMALL) if self._has_keyframes else None
        self._keyframe_path = self._create(Path, "keyframe_path", _SMALL) if self._has_keyframes else None
        self._debug_image = self._create(Image, "debug_image", _LARGE)
        # REP-105 tools use /tf in any namespace. tf2_ros, whose broadcaster is the same, is not on PyPI.
        self._tf = self._create(TFMessage, "/tf", _TF) if config.publish_tf else None
        self._publishers = [
            self._status, self._relative_pose, self._odom, self._path, self._keyframe, self._keyframe_path,
            self._debug_image, self._tf
        ]  # fmt: skip
        self._markers = VoMarkers(self._create, config.odom_frame)
        self._publishers += self._markers.publishers
        self._poses: deque[PoseStamped] = deque(maxlen=config.path_length)
        self._keyframe_stamps_ns: dict[int, int] = {}  # by id
        self._last_stamp_ns: int | None = None  # stamp of the last frame, for the velocity
        self._path_stamp_ns: int | None = None

    def destroy(self) -> None:
        """Remove the publishers from the node."""
        for publisher in filter(None, self._publishers):
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = []

    def restart(self) -> None:
        """Clear the path before the first pose of a new run."""
        self._poses.clear()
        self._keyframe_stamps_ns = {}
        self._last_stamp_ns = self._path_stamp_ns = None

    def publish(
        self,
        result: TrackingResult,
        frame: Frame | None,
        header: Header,
        extrinsics: Extrinsics | None,
        keyframe_poses: Mapping[int, np.ndarray] = MappingProxyType({}),
    ) -> None:
        """Publish all but the status. ``header``: stamp of the image and camera frame; odom needs the extrinsics.

        ``keyframe_poses`` are the current poses of recent keyframes, given if there is a new keyframe.
        """
        if result.previous_from_current is not None:
            self._relative_pose.publish(messages.relative_pose_to_msg(result, header))
        if extrinsics is not None:
            if result.new_keyframes:
                self.publish_keyframes(result.new_keyframes, keyframe_poses, header, extrinsics)
            self._publish_in_odom(result, extrinsics)
            if frame is not None:
                self._markers.publish(result, frame.camera, extrinsics, keyframe_poses)
        if frame is not None:
            self._last_stamp_ns = result.stamp_ns
            if self._debug_image.get_subscription_count():
                self._debug_image.publish(image_to_msg(draw_tracks(frame.image, result), header))

    def publish_status(self, status: VoStatus) -> None:
        """Publish the status, the last message of an image: a subscriber that waits for it has been sent the others."""
        self._status.publish(status)

    def publish_keyframes(
        self, keyframes: Sequence[Keyframe], poses: Mapping[int, np.ndarray], header: Header, extrinsics: Extrinsics
    ) -> None:
        """Publish corrected poses before the keyframes, so that a receiver of keyframes can know them.

        With SLAM, ``MapOutputs`` publishes keyframes.
        """
        if not self._has_keyframes:
            return
        stamps_ns = self._keyframe_stamps_ns | {keyframe.id: keyframe.frame.stamp_ns for keyframe in keyframes}
        self._keyframe_stamps_ns = {id: stamps_ns[id] for id in poses if id in stamps_ns}
        odom_frame = self._config.odom_frame
        if self._keyframe_path.get_subscription_count():
            stamped = {self._keyframe_stamps_ns[id]: poses[id] for id in self._keyframe_stamps_ns}
            odom_header = header_to_msg(keyframes[-1].frame.stamp_ns, odom_frame)
            self._keyframe_path.publish(messages.keyframe_path_to_msg(stamped, extrinsics, odom_header))
        if self._keyframe.get_subscription_count():
            for keyframe in keyframes:
                self._keyframe.publish(messages.keyframe_to_msg(keyframe, extrinsics, odom_frame, header.frame_id))

    def _publish_in_odom(self, result: TrackingResult, extrinsics: Extrinsics) -> None:
        if result.world_from_camera is None:
            return
        odom_header = header_to_msg(result.stamp_ns, self._config.odom_frame)
        twist = self._twist(result, extrinsics)
        odometry = messages.odometry_to_msg(result, extrinsics, twist, odom_header, self._config.base_frame)
        self._odom.publish(odometry)
        if self._tf is not None:
            self._tf.publish(TFMessage(transforms=[messages.odometry_transform(odometry)]))
        self._poses.append(PoseStamped(header=odom_header, pose=odometry.pose.pose))
        self._publish_path(result.stamp_ns, odom_header)

    def _twist(self, result: TrackingResult, extrinsics: Extrinsics) -> Twist | None:
        if result.previous_from_current is None or self._last_stamp_ns is None:
            return None
        seconds = (result.stamp_ns - self._last_stamp_ns) * 1e-9
        return extrinsics.twist(result.previous_from_current, messages.relative_covariance(result), seconds)

    def _publish_path(self, stamp_ns: int, header: Header) -> None:
        """Publish the whole path at a bounded rate only: its cost is proportional to its length."""
        is_due = self._path_stamp_ns is None or (stamp_ns - self._path_stamp_ns) * 1e-9 >= self._config.path_period_s
        if is_due and self._path.get_subscription_count():
            self._path_stamp_ns = stamp_ns
            self._path.publish(Path(header=header, poses=list(self._poses)))

    def _create(self, message_type: type, topic: str, qos: QoSProfile):
        return self._node.create_lifecycle_publisher(
            message_type, topic, qos, qos_overriding_options=QoSOverridingOptions.with_default_policies()
        )
