"""Subscriptions of ``vo_node`` for the scale source, with buffers to find messages by stamp."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sized
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from ros_matching.datatypes import Frame, StereoPartner
from ros_matching.errors import NodeError, RosMatchingError
from ros_matching.geometry.distortion import Undistorter
from ros_matching.nodes.common.conversions import depth_from_msg, image_from_msg, image_size_from_msg, stamp_ns_from_msg
from ros_matching.nodes.common.endpoints import SensorSubscription
from ros_matching.nodes.common.problems import Problem, ProblemLog
from ros_matching.nodes.vo.calibration_input import PartnerCalibration
from ros_matching.nodes.vo.config import VoConfig
from ros_matching.nodes.vo.extrinsics_input import MountingInput
from ros_matching.scale import WheelOdometry


class _Stamped(Protocol):
    header: Header
    data: Sized


MessageType = TypeVar("MessageType", bound=_Stamped)

_STAYS_BACK = 3
_MOST_BYTES = 2**28
_ALIVE_S = 1.0  # a topic that was silent for longer is not waited for


class StampedBuffer(Generic[MessageType]):
    """The newest messages; ``put`` is called by one thread, ``find`` by another.

    A message without a time (zero or negative) is left out. A single odd stamp does no harm: it takes one place.
    """

    def __init__(self, capacity: int = 10) -> None:
        self._messages: deque[MessageType] = deque(maxlen=capacity)
        self._arrived = threading.Condition()
        self._last_arrival_s = -float("inf")
        self._behind = 0  # messages in a row that lie before the newest

    def put(self, msg: MessageType) -> None:
        """Take a message. Where several in a row lie before the newest, as a replay sends them, that time is over."""
        stamp_ns = _stamp_ns(msg)
        if stamp_ns <= 0:
            return
        with self._arrived:
            newest_ns = max(map(_stamp_ns, self._messages), default=stamp_ns)
            self._behind = self._behind + 1 if stamp_ns < newest_ns else 0
            if self._behind >= _STAYS_BACK:
                earlier = [kept for kept in self._messages if _stamp_ns(kept) < stamp_ns]
                self._messages = deque(earlier, maxlen=self._messages.maxlen)
                self._behind = 0
            self._messages.append(msg)
            while len(self._messages) > 1 and sum(len(kept.data) for kept in self._messages) > _MOST_BYTES:
                self._messages.popleft()
            self._last_arrival_s = time.monotonic()
            self._arrived.notify_all()

    def find(self, stamp_ns: int, tolerance_s: float, wait_s: float) -> MessageType | None:
        """The message nearest to a stamp, within the tolerance; waits a little for it while the topic is alive."""
        tolerance_ns = round(tolerance_s * 1e9)

        def nearest() -> MessageType | None:
            found = min(self._messages, key=lambda msg: abs(_stamp_ns(msg) - stamp_ns), default=None)
            return found if found is not None and abs(_stamp_ns(found) - stamp_ns) <= tolerance_ns else None

        def is_settled() -> bool:
            newest = _stamp_ns(self._messages[-1]) if self._messages else stamp_ns
            return nearest() is not None or newest > stamp_ns + tolerance_ns

        with self._arrived:
            if time.monotonic() - self._last_arrival_s < _ALIVE_S:
                self._arrived.wait_for(is_settled, wait_s)
            return nearest()


def _stamp_ns(msg: _Stamped) -> int:
    return stamp_ns_from_msg(msg.header.stamp)


_IMAGES, _WHEELS = 5, 50  # messages that are kept while the executor is busy
_PARTNER_IMAGES = {"raw": (Image, "right/image"), "compressed": (CompressedImage, "right/image/compressed")}


class ScaleInput:
    """Depth images, the partner camera's images, or wheel odometry; only what the anchor needs is subscribed to.

    Messages that cannot be used are reported once and left out: the tracker then reports that nothing measures the
    scale.
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
        self._subscriptions: list[SensorSubscription] = []
        self.wheel_odometry = WheelOdometry()

    def base_from_camera(self) -> np.ndarray | None:
        """The pose of the camera on the robot (4, 4), or ``None`` until it is known."""
        mounting = self._mounting.mounting(self._camera_frame)
        return None if mounting is None else mounting.base_from_camera

    def subscribe(self) -> None:
        """Begin to listen."""
        if self._anchor == "depth":
            self._listen(Image, "depth/image", self._on_companion, _IMAGES)
        elif self._anchor == "stereo":
            self._listen(*_PARTNER_IMAGES[self._config.transport], self._on_companion, _IMAGES)
            self._listen(CameraInfo, "right/camera_info", self._on_partner_info, 1)
        elif self._anchor == "wheel":
            self._listen(Odometry, "wheel_odom", self._on_wheel_odometry, _WHEELS)

    def destroy(self) -> None:
        """Take the subscriptions off the node."""
        for subscription in self._subscriptions:
            subscription.destroy()
        self._subscriptions = []

    def follow(self) -> None:
        """Ask for what the publishers offer by now."""
        for subscription in self._subscriptions:
            subscription.follow()

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
        source = undistorter.source
        width, height = image_size_from_msg(msg)
        if (width, height) != (source.width, source.height):
            raise NodeError(
                f"the depth image is {width}x{height}, the image {source.width}x{source.height}; it must be "
                "registered to the image: remap `depth/image` to the driver's aligned depth, or use "
                "depth_image_proc's register node"
            )
        return replace(frame, depth=undistorter.undistort_depth(depth_from_msg(msg)))

    def _with_partner(self, frame: Frame, _: Undistorter, msg: Image | CompressedImage) -> Frame:
        undistorter = self._partner.undistorter(*image_size_from_msg(msg))
        image = image_from_msg(msg)
        pose = self._partner.partner_from_camera(self._camera_frame, msg.header.frame_id)
        return replace(frame, partner=StereoPartner(undistorter.undistort(image), undistorter.camera, pose))

    def _on_companion(self, msg: Image | CompressedImage) -> None:
        if stamp_ns_from_msg(msg.header.stamp) <= 0:
            self._problems.report(
                Problem.SCALE,
                f"a {self._anchor} image carries no time (its stamp is zero or negative); have the "
                "driver set header.stamp to the time of exposure",
            )
        else:
            self._companions.put(msg)

    def _on_partner_info(self, msg: CameraInfo) -> None:
        self._partner.partner_info = msg

    def _on_wheel_odometry(self, msg: Odometry) -> None:
        position, stamp_ns, reason = msg.pose.pose.position, stamp_ns_from_msg(msg.header.stamp), ""
        try:
            if stamp_ns <= 0:
                reason = f"its stamp is no time ({stamp_ns} ns); have the driver set header.stamp"
            elif not self.wheel_odometry.add(stamp_ns, np.array([position.x, position.y, position.z])):
                reason = "its stamp or position jumped; several in a row that follow on each other would be taken"
        except RosMatchingError as error:
            reason = str(error)
        if reason:
            self._problems.report(Problem.SCALE, f"a message on wheel_odom is ignored: {reason}")
        else:
            self._problems.clear(Problem.SCALE)

    def _listen(self, message_type: type, topic: str, callback: Callable, depth: int) -> None:
        self._subscriptions.append(
            SensorSubscription(
                self._node,
                message_type,
                topic,
                callback,
                self._problems,
                depth=depth,
                latched=message_type is CameraInfo,
            )
        )
