"""A stand-in for vo_node that answers every image and keeps all it got, and frames to feed it."""

from __future__ import annotations

import threading

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ros_matching.datatypes import Camera, Frame
from ros_matching.geometry.se3 import pose_from
from ros_matching.io.calibration import UsedCalibration
from ros_matching.msg import VoStatus

SENSOR_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class Consumer(LifecycleNode):
    """Listens once active; with ``answers`` it publishes a status for each image, as vo_node does."""

    def __init__(self, *, answers: bool = True, compressed: bool = False, **node_options) -> None:
        super().__init__("vo_node", **node_options)
        self.images, self.camera_infos, self.truths, self.clock_ns = [], [], [], []
        self.seen = threading.Condition()
        self._answers = answers
        self._compressed = compressed

    def on_configure(self, state) -> TransitionCallbackReturn:
        self._statuses = self.create_publisher(VoStatus, "vo_status", 10)
        image_type, topic = (CompressedImage, "image/compressed") if self._compressed else (Image, "image")
        self.create_subscription(CameraInfo, "camera_info", self.camera_infos.append, SENSOR_QOS)
        self.create_subscription(PoseStamped, "ground_truth_pose", self.truths.append, 10)
        self.create_subscription(Clock, "/clock", self._on_clock, SENSOR_QOS)
        self.create_subscription(image_type, topic, self._on_image, SENSOR_QOS)
        return super().on_configure(state)

    def _on_clock(self, msg: Clock) -> None:
        self.clock_ns.append(msg.clock.sec * 1_000_000_000 + msg.clock.nanosec)

    def _on_image(self, msg) -> None:
        with self.seen:
            self.images.append(msg)
            self.seen.notify_all()
        if self._answers:
            self._statuses.publish(VoStatus(header=msg.header))


class ListSource:
    """A frame source out of a list."""

    name = "list"
    faults = ()

    def __init__(self, frames: list[Frame]) -> None:
        self._frames = frames
        self.camera = frames[0].camera
        self.calibration = UsedCalibration("the list", self.camera)

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self):
        return iter(self._frames)


def random_frames(stamps_ns: list[int], *, truth: bool = True) -> list[Frame]:
    """Frames of noise, each with a true pose of its own if wished."""
    random = np.random.default_rng(5)
    camera = Camera(64, 48, 60.0, 61.0, 31.5, 23.5)
    return [
        Frame(
            index=index,
            stamp_ns=stamp_ns,
            image=random.integers(0, 256, (48, 64, 3), dtype=np.uint8),
            camera=camera,
            true_world_from_camera=pose_from(np.eye(3), random.normal(size=3)) if truth else None,
        )
        for index, stamp_ns in enumerate(stamps_ns)
    ]
