"""What ``vo_node`` listens to for the scale, by the parameter ``scale.anchor``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ros_matching.datatypes import Frame, StereoPartner
from ros_matching.errors import NodeError, RosMatchingError
from ros_matching.geometry.camera import Undistorter
from ros_matching.nodes.conversions import depth_from_msg, image_from_msg, stamp_ns_from_msg
from ros_matching.nodes.mounting_input import MountingInput
from ros_matching.nodes.partner_calibration import PartnerCalibration
from ros_matching.nodes.problems import Problem, ProblemLog
from ros_matching.nodes.quality_of_service import silent, telling_incompatibility
from ros_matching.nodes.stamped_buffer import StampedBuffer
from ros_matching.nodes.vo_config import VoConfig
from ros_matching.tracking import WheelOdometry

_SENSOR = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
_WHEELS = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_PARTNER_IMAGES = {"raw": (Image, "right/image"), "compressed": (CompressedImage, "right/image/compressed")}


class ScaleInput:
    """Depth images, the partner camera's images, or wheel odometry; only what the anchor needs is subscribed to.

    Messages that cannot be used are reported once and left out: the tracker then says that the scale has nothing to go
    by.
    """

    def __init__(
        self, node: Node, config: VoConfig, anchor: str, problems: ProblemLog, mounting: MountingInput
    ) -> None:
        """``anchor`` is that of ``ScaleConfig``."""
        self._node = node
        self._config = config
        self._anchor = anchor
        self._problems = problems
        self._mounting = mounting
        self._camera_frame = config.camera_frame
        self._companions: StampedBuffer = StampedBuffer()
        self._partner = PartnerCalibration(config.rectified, config.stereo_baseline_m, mounting.between)
        self._subscriptions: list[Subscription] = []
        self.wheel_odometry = WheelOdometry()

    def base_from_camera(self) -> np.ndarray | None:
        """The pose of the camera on the robot (4, 4), or ``None`` until it is known."""
        mounting = self._mounting.mounting(self._camera_frame)
        return None if mounting is None else mounting.base_from_camera

    def subscribe(self) -> None:
        """Begin to listen."""
        if self._anchor == "depth":
            self._listen(Image, "depth/image", self._companions.put, _SENSOR)
        elif self._anchor == "stereo":
            self._listen(*_PARTNER_IMAGES[self._config.transport], self._companions.put, _SENSOR)
            # Two, as a driver may repeat CameraInfo with every picture or send it once, latched.
            self._listen(CameraInfo, "right/camera_info", self._on_partner_info, _SENSOR)
            self._listen(CameraInfo, "right/camera_info", self._on_partner_info, _LATCHED)
        elif self._anchor == "wheel":
            self._listen(Odometry, "wheel_odom", self._on_wheel_odometry, _WHEELS)

    def destroy(self) -> None:
        """Take the subscriptions off the node."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def take_camera_info(self, msg: CameraInfo) -> None:
        """Take the newest CameraInfo of the camera itself, whose half of a stereo calibration it holds."""
        self._partner.camera_info = msg

    def add_to(self, frame: Frame, undistorter: Undistorter, frame_id: str) -> Frame:
        """The frame with the depth or the partner's image of its time, if that has come and can be used."""
        self._camera_frame = self._config.camera_frame or frame_id
        make = {"depth": self._with_depth, "stereo": self._with_partner}.get(self._anchor)
        if make is None:
            return frame
        msg = self._companions.find(frame.stamp_ns, self._config.scale_sync_s, self._config.scale_wait_s)
        if msg is None:
            return frame
        try:
            frame = make(frame, undistorter, msg)
        except RosMatchingError as error:
            self._problems.report(Problem.SCALE, f"the scale is not measured: {error}")
        else:
            self._problems.clear(Problem.SCALE)
        return frame

    def _with_depth(self, frame: Frame, undistorter: Undistorter, msg: Image) -> Frame:
        depth, source = depth_from_msg(msg), undistorter.source
        if depth.shape != (source.height, source.width):
            raise NodeError(
                f"the depth image is {msg.width}x{msg.height}, the picture {source.width}x{source.height}; it must be "
                "registered to the picture: remap `depth/image` to the driver's aligned depth, or use "
                "depth_image_proc's register node"
            )
        return replace(frame, depth=undistorter.undistort_depth(depth))

    def _with_partner(self, frame: Frame, _: Undistorter, msg: Image | CompressedImage) -> Frame:
        image, undistorter = image_from_msg(msg), self._partner.undistorter()
        if image.shape[:2] != (undistorter.source.height, undistorter.source.width):
            raise NodeError(
                f"the partner's image is {image.shape[1]}x{image.shape[0]}, its CameraInfo describes "
                f"{undistorter.source.width}x{undistorter.source.height}; use the CameraInfo of this very image"
            )
        pose = self._partner.partner_from_camera(self._camera_frame, msg.header.frame_id)
        return replace(frame, partner=StereoPartner(undistorter.undistort(image), undistorter.camera, pose))

    def _on_partner_info(self, msg: CameraInfo) -> None:
        self._partner.partner_info = msg

    def _on_wheel_odometry(self, msg: Odometry) -> None:
        position = msg.pose.pose.position
        try:
            self.wheel_odometry.add(stamp_ns_from_msg(msg.header.stamp), np.array([position.x, position.y, position.z]))
        except RosMatchingError as error:
            self._problems.report(Problem.SCALE, f"a message on wheel_odom is ignored: {error}")
        else:
            self._problems.clear(Problem.SCALE)

    def _listen(self, message_type: type, topic: str, callback: Callable, qos: QoSProfile) -> None:
        is_latched = qos is _LATCHED
        self._subscriptions.append(
            self._node.create_subscription(
                message_type,
                topic,
                callback,
                qos,
                event_callbacks=silent() if is_latched else telling_incompatibility(self._node, topic, self._problems),
                qos_overriding_options=None if is_latched else QoSOverridingOptions.with_default_policies(),
            )
        )
