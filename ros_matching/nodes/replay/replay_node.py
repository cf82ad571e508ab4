"""``replay_node`` publishes any frame source like a camera driver, with ground truth and clock.

It is a plain node, not a lifecycle node: like ``ros2 bag play``, its process ends with the source. It starts when a
subscriber exists, and with ``wait_for_consumer`` when the consumer is active.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from geometry_msgs.msg import PoseStamped, TransformStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from ros_matching.datatypes import Frame, ImuRecording
from ros_matching.errors import NodeError, RosMatchingError
from ros_matching.io import open_source
from ros_matching.io.faults import fault_summary
from ros_matching.io.source import FrameSource
from ros_matching.msg import VoStatus
from ros_matching.nodes.common import conversions
from ros_matching.nodes.common.extrinsics import BODY_FROM_OPTICAL
from ros_matching.nodes.common.lifecycle import LifecycleClient
from ros_matching.nodes.common.parameters import (
    declare_config,
    deprecated_parameters,
    prefixed,
    read_config,
    unknown_parameters,
)
from ros_matching.nodes.common.process import StopSignals, end_with_parent
from ros_matching.nodes.common.spinning import ros_context, spinning
from ros_matching.nodes.replay.config import ReplayConfig
from ros_matching.nodes.replay.imu_output import ImuOutput
from ros_matching.nodes.replay.pacing import ConsumerPace, RealTimePace

# Reliable works with any subscriber; the depth limits the queue of a slow one.
_SENSOR_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
_CLOCK_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_LATCHED_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

# A zero stamp means "no time" in ROS: sources that start at zero are shifted.
_ZERO_SHIFT_NS = 1_000_000_000

_POLL_S = 0.02
_LOG_WAITING_S = 5.0
_REPORTED_LAG_S = 0.1


class ReplayNode(Node):
    """Publishes the frames of a source; ``play`` runs while another thread spins the node."""

    def __init__(
        self,
        *,
        source: FrameSource | None = None,
        on_publish: Callable[[Frame], None] = lambda frame: None,
        **node_options: Any,
    ) -> None:
        """``source`` replaces the source that the parameter names; ``on_publish`` gets every published frame.

        Raises ``SourceError`` if the source cannot be opened, ``ConfigError`` for a parameter out of its range.
        """
        super().__init__("replay_node", **node_options)
        declare_config(self, ReplayConfig)
        self.config = prefixed(
            read_config(self, ReplayConfig), "camera_frame", "base_frame", "ground_truth_frame", "imu_frame"
        )
        for text in unknown_parameters(self) + deprecated_parameters(self, [("", ReplayConfig)]):
            self.get_logger().warning(text)
        self._source = self._open_source() if source is None else source
        self._on_publish = on_publish
        self._stopped = threading.Event()
        self._create_publishers()
        self._pace = RealTimePace(self.config.rate)
        if self.config.wait_for_consumer:
            self._pace = ConsumerPace(self.config.consumer_timeout_s)
            self.create_subscription(VoStatus, "vo_status", self._on_status, 10)
            # Created last: its first answer proves that the consumer's process knows all of the above.
            self._consumer = self._client(self.config.consumer)
        names = [name.strip() for name in self.config.wait_for.split(",")]
        self._awaited = {name: self._client(name) for name in names if name}
        self.context.on_shutdown(self.stop)

    def play(self) -> int:
        """Publish the source to its end (with ``loop``, until stopped) and return the number of published frames.

        Raises ``NodeError`` if the consumer stops answering and ``SourceError`` if the source fails.
        """
        count = 0
        if self._wait_for_start():
            self.get_logger().info(f"replaying {self._source.name}: {len(self._source)} frames")
            count = self._play_once()
            while self.config.loop and not self._stopped.is_set():
                count += self._play_once()
        self.get_logger().info(f"replayed {count} frames")
        return count

    def stop(self) -> None:
        """Make ``play`` return soon; from any thread."""
        self._stopped.set()
        self._pace.stop()

    def _client(self, name: str) -> LifecycleClient:
        return LifecycleClient(self, name, stopped=self._stopped.is_set)

    def _open_source(self) -> FrameSource:
        if not self.config.source:
            raise NodeError("there is nothing to replay: set the parameter `source`, e.g. -p source:=scene:room")
        return open_source(self.config.source)

    def _create_publishers(self) -> None:
        compressed = self.config.transport == "compressed"
        image_type, image_topic = (CompressedImage, "image/compressed") if compressed else (Image, "image")
        self._images = self.create_publisher(image_type, image_topic, _SENSOR_QOS)
        self._camera_infos = self.create_publisher(CameraInfo, "camera_info", _SENSOR_QOS)
        self._ground_truth_poses = self.create_publisher(PoseStamped, "ground_truth_pose", 10)
        self._clock_ticks = self.create_publisher(Clock, "/clock", _CLOCK_QOS)
        recording = getattr(self._source, "imu", None)
        self._imu = None if recording is None else ImuOutput(self, recording, self.config.imu_frame)
        if self.config.base_frame:
            self._static_transforms = self.create_publisher(TFMessage, "/tf_static", _LATCHED_QOS)
            self._static_transforms.publish(self._extrinsics_msg(recording))

    def _extrinsics_msg(self, recording: ImuRecording | None) -> TFMessage:
        extrinsics = TransformStamped(child_frame_id=self.config.camera_frame)
        extrinsics.header.frame_id = self.config.base_frame
        extrinsics.transform = conversions.transform_to_msg(BODY_FROM_OPTICAL)
        imu = recording and ImuOutput.transform(recording, self.config.camera_frame, self.config.imu_frame)
        return TFMessage(transforms=[extrinsics, *filter(None, [imu])])

    def _wait_for_start(self) -> bool:
        """Block until the images have a subscriber and the required nodes are active; False if stopped."""
        for name, client in self._awaited.items():
            self.get_logger().info(f"waiting until {name} is active")
            if not client.wait_until_active(math.inf):
                return False
        self._warn_of_other_clocks()
        if self.config.wait_for_consumer and not self._consumer.wait_until_active(self.config.consumer_timeout_s):
            return False
        started = time.monotonic()
        warned = False
        while not (self._images.get_subscription_count() and self._camera_infos.get_subscription_count()):
            if self._stopped.wait(_POLL_S):
                return False
            waited_s = time.monotonic() - started
            topics = f"{self._images.topic_name} and {self._camera_infos.topic_name}"
            if self.config.wait_for_consumer and waited_s > self.config.consumer_timeout_s:
                raise NodeError(
                    f"{self.config.consumer} is active but does not subscribe to {topics}; compare its parameter "
                    "`transport` and the remapping of its topics with those here"
                )
            if not warned and waited_s > _LOG_WAITING_S:
                warned = True
                self.get_logger().warning(f"waiting for a subscriber of {topics}")
        return not self._stopped.is_set()

    def _warn_of_other_clocks(self) -> None:
        topic = self._clock_ticks.topic_name
        if self.count_publishers(topic) > 1:
            self.get_logger().warning(
                f"another node publishes {topic} too, so time will jump back and forth for its subscribers; end that "
                "node, or give each replay a clock of its own (vo.launch.py: clock_topic:=clock; or remap /clock)"
            )

    def _play_once(self) -> int:
        shift_ns = None
        count = 0
        if self._imu is not None:
            self._imu.restart()
        for frame in self._source:
            if shift_ns is None:
                shift_ns = self._shift_ns(frame.stamp_ns)
            stamped = replace(frame, stamp_ns=frame.stamp_ns + shift_ns) if shift_ns else frame
            if not self._pace.wait(stamped.stamp_ns):
                return count
            if self._imu is not None:
                self._imu.publish_until(frame.stamp_ns, shift_ns)
            self._publish(stamped)
            count += 1
        self._pace.wait(None)
        if self._source.faults:
            self.get_logger().warning(f"{self._source.name}: {fault_summary(self._source.faults)}")
        if isinstance(self._pace, RealTimePace) and self._pace.largest_lag_s > _REPORTED_LAG_S:
            self.get_logger().warning(
                f"frames were up to {self._pace.largest_lag_s:.2f} s late: the source is slower to read than "
                f"{self.config.rate:g} times real time; lower `rate`"
            )
        return count

    def _shift_ns(self, first_stamp_ns: int) -> int:
        if first_stamp_ns > 0:
            return 0
        shift_ns = _ZERO_SHIFT_NS - first_stamp_ns
        self.get_logger().info(
            f"stamps begin at {first_stamp_ns} ns, which is not a valid time in ROS; {shift_ns} ns are added"
        )
        return shift_ns

    def _publish(self, frame: Frame) -> None:
        header = conversions.header_to_msg(frame.stamp_ns, self.config.camera_frame)
        self._clock_ticks.publish(Clock(clock=header.stamp))
        if frame.true_world_from_camera is not None:
            ground_truth = PoseStamped(header=conversions.header_to_msg(frame.stamp_ns, self.config.ground_truth_frame))
            ground_truth.pose = conversions.pose_to_msg(frame.true_world_from_camera)
            self._ground_truth_poses.publish(ground_truth)
        self._camera_infos.publish(conversions.camera_to_msg(frame.camera, header))
        if self.config.transport == "compressed":
            self._images.publish(conversions.image_to_compressed_msg(frame.image, header, self.config.jpeg_quality))
        else:
            self._images.publish(conversions.image_to_msg(frame.image, header))
        self._on_publish(frame)

    def _on_status(self, status: VoStatus) -> None:
        self._pace.acknowledge(conversions.stamp_ns_from_msg(status.header.stamp))


def main(args: list[str] | None = None) -> int:
    """Replay once and return the exit code: 0 at the end or after a signal, 1 after an error.

    There is nothing to save, so the second signal ends the process at once, as does the first one while the source is
    being opened.
    """
    end_with_parent()
    try:
        with StopSignals() as signals, ros_context(args, signal_handler_options=SignalHandlerOptions.NO):
            signals.on(2, lambda: os._exit(0))
            is_open = threading.Event()
            signals.on(1, lambda: is_open.is_set() or os._exit(0))
            node = ReplayNode()
            is_open.set()
            with spinning(SingleThreadedExecutor(), node):
                signals.on(1, node.stop)
                node.play()
    except RosMatchingError as error:
        print(f"replay_node: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
