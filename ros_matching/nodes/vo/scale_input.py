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

from ros_matching.datatypes import Frame, RightImage
from ros_matching.errors import NodeError, RosMatchingError
from ros_matching.geometry.distortion import Undistorter
from ros_matching.nodes.common.conversions import depth_from_msg, image_from_msg, image_size_from_msg, stamp_ns_from_msg
from ros_matching.nodes.common.endpoints import SensorSubscription
from ros_matching.nodes.common.problems import Problem, ProblemLog
from ros_matching.nodes.vo.calibration_input import RightCameraCalibration
from ros_matching.nodes.vo.config import VoConfig
from ros_matching.nodes.vo.extrinsics_input import ExtrinsicsInput
from ros_matching.scale import WheelOdometry

_RESTART_COUNT = 3
_MOST_BYTES = 2**28
_ALIVE_S = 1.0  # no wait for a topic that was silent for longer
_IMAGES, _WHEELS = 5, 50  # queue lengths while the executor is busy
_RIGHT_IMAGES = {"raw": (Image, "right/image"), "compressed": (CompressedImage, "right/image/compressed")}


class _Stamped(Protocol):
    header: Header
    data: Sized


MessageType = TypeVar("MessageType", bound=_Stamped)


class StampedBuffer(Generic[MessageType]):
    """Buffer of the newest messages; ``put`` is called by one thread, ``find`` by another.

    A message without a time (zero or negative stamp) is ignored. A single odd stamp only occupies one place.
    """

    def __init__(self, capacity: int = 10) -> None:
        self._messages: deque[MessageType] = deque(maxlen=capacity)
        self._arrived = threading.Condition()
        self._last_arrival_s = -float("inf")
        self._behind = 0  # consecutive messages older than the newest

    def put(self, msg: MessageType) -> None:
        """Add a message. Several in a row before the newest one, as in a restarted replay, drop the later ones."""
        stamp_ns = _stamp_ns(msg)
        if stamp_ns <= 0:
            return
        with self._arrived:
            newest_ns = max(map(_stamp_ns, self._messages), default=stamp_ns)
            self._behind = self._behind + 1 if stamp_ns < newest_ns else 0
            if self._behind >= _RESTART_COUNT:
                earlier = [kept for kept in self._messages if _stamp_ns(kept) < stamp_ns]
                self._messages = deque(earlier, maxlen=self._messages.maxlen)
                self._behind = 0
            self._messages.append(msg)
            while len(self._messages) > 1 and sum(len(kept.data) for kept in self._messages) > _MOST_BYTES:
                self._messages.popleft()
            self._last_arrival_s = time.monotonic()
            self._arrived.notify_all()

    def find(self, stamp_ns: int, tolerance_s: float, wait_s: float) -> MessageType | None:
        """Return the message nearest to a stamp, within the tolerance; wait for it briefly while the topic is alive."""
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


class ScaleInput:
    """Subscriptions to depth images, right images or wheel odometry, as far as the scale source needs them.

    Unusable messages are reported once and ignored: the tracker then reports that the scale is not measured.
    """

    def __init__(
        self, node: Node, config: VoConfig, scale_source: str, problems: ProblemLog, extrinsics: ExtrinsicsInput
    ) -> None:
        """``scale_source`` is that of ``ScaleConfig``."""
        self._node = node
        self._config = config
        self._scale_source = scale_source
        self._problems = problems
        self._extrinsics = extrinsics
        self._camera_frame = config.camera_frame
        self._buffer: StampedBuffer = StampedBuffer()
        self._right_calibration = RightCameraCalibration(config.rectified, config.stereo_baseline_m, extrinsics.between)
        self._subscriptions: list[SensorSubscription] = []
        self.wheel_odometry = WheelOdometry()

    def base_from_camera(self) -> np.ndarray | None:
        """Return the pose of the camera on the robot (4, 4), or ``None`` until it is known."""
        extrinsics = self._extrinsics.extrinsics(self._camera_frame)
        return None if extrinsics is None else extrinsics.base_from_camera

    def subscribe(self) -> None:
        """Create the subscriptions."""
        if self._scale_source == "depth":
            self._subscribe(Image, "depth/image", self._on_image, _IMAGES)
        elif self._scale_source == "stereo":
            self._subscribe(*_RIGHT_IMAGES[self._config.transport], self._on_image, _IMAGES)
            self._subscribe(CameraInfo, "right/camera_info", self._on_right_info, 1)
        elif self._scale_source == "wheel":
            self._subscribe(Odometry, "wheel_odom", self._on_wheel_odometry, _WHEELS)

    def destroy(self) -> None:
        """Remove the subscriptions from the node."""
        for subscription in self._subscriptions:
            subscription.destroy()
        self._subscriptions = []

    def match_publishers(self) -> None:
        """Adapt the subscriptions to the offers of their publishers."""
        for subscription in self._subscriptions:
            subscription.match_publishers()

    def take_camera_info(self, msg: CameraInfo) -> None:
        """Store the newest CameraInfo of the camera itself, which holds its half of a stereo calibration."""
        self._right_calibration.camera_info = msg

    def add_to(self, frame: Frame, undistorter: Undistorter, frame_id: str) -> Frame:
        """Return the frame with the depth or right image of its time, if one has arrived and is usable."""
        self._camera_frame = self._config.camera_frame or frame_id
        make = {"depth": self._with_depth, "stereo": self._with_right_image}.get(self._scale_source)
        if make is None:
            return frame
        msg = self._buffer.find(frame.stamp_ns, self._config.scale_sync_s, self._config.scale_wait_s)
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

    def _with_right_image(self, frame: Frame, _: Undistorter, msg: Image | CompressedImage) -> Frame:
        undistorter = self._right_calibration.undistorter(*image_size_from_msg(msg))
        image = image_from_msg(msg)
        pose = self._right_calibration.right_from_camera(self._camera_frame, msg.header.frame_id)
        return replace(frame, right=RightImage(undistorter.undistort(image), undistorter.camera, pose))

    def _on_image(self, msg: Image | CompressedImage) -> None:
        if stamp_ns_from_msg(msg.header.stamp) <= 0:
            self._problems.report(
                Problem.SCALE,
                f"a {self._scale_source} image has no time (its stamp is zero or negative); let the "
                "driver set header.stamp to the time of exposure",
            )
        else:
            self._buffer.put(msg)

    def _on_right_info(self, msg: CameraInfo) -> None:
        self._right_calibration.right_info = msg

    def _on_wheel_odometry(self, msg: Odometry) -> None:
        position, stamp_ns, reason = msg.pose.pose.position, stamp_ns_from_msg(msg.header.stamp), ""
        try:
            if stamp_ns <= 0:
                reason = f"its stamp is not a time ({stamp_ns} ns); let the driver set header.stamp"
            elif not self.wheel_odometry.add(stamp_ns, np.array([position.x, position.y, position.z])):
                reason = "its stamp or position jumped; several consistent messages in a row would be accepted"
        except RosMatchingError as error:
            reason = str(error)
        if reason:
            self._problems.report(Problem.SCALE, f"a message on wheel_odom is ignored: {reason}")
        else:
            self._problems.clear(Problem.SCALE)

    def _subscribe(self, message_type: type, topic: str, callback: Callable, depth: int) -> None:
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
