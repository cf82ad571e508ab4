"""The other end of vo_node's topics, and a tracker whose answers are known."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry, Path
from node_peer import TIMEOUT_S, Peer
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from ros_matching.datatypes import Camera, Frame, Keyframe, ScaleState
from ros_matching.geometry.se3 import exp_so3, pose_from
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.msg import VoStatus
from ros_matching.nodes.common.conversions import camera_to_msg, header_to_msg, image_to_msg, stamp_ns_from_msg
from ros_matching.odometry.result import TrackingCounts, TrackingResult, TrackingStatus

CAMERA = Camera(64, 48, 60.0, 61.0, 31.5, 23.5)
CAMERA_FRAME = "eye"
START_NS = 1_700_000_000_123_456_789
PERIOD_NS = 33_333_333
MAP_NUMBER = 3

RELATIVE = pose_from(exp_so3([0.0, 0.02, 0.0]), np.array([0.0, 0.0, 0.1]))
CORRECTION = pose_from(exp_so3([0.001, 0.0, 0.0]), np.array([0.0, 0.01, 0.0]))
RELATIVE_COVARIANCE = np.diag([1.0, 2, 3, 4, 5, 6]) * 1e-4
OUTPUTS = {
    "vo_status": VoStatus,
    "relative_pose": PoseWithCovarianceStamped,
    "odom": Odometry,
    "path": Path,
    "keyframe": KeyframeMsg,
    "keyframe_path": Path,
    "debug_image": Image,
    "/tf": TFMessage,
    "/diagnostics": DiagnosticArray,
}


class KnownMatcher:
    """A matcher that only counts its calls."""

    name = "known"
    min_side_px = 1

    def __init__(self) -> None:
        self.matched = 0
        self.extractor = self

    def match_images(self, rgb0: np.ndarray, rgb1: np.ndarray) -> None:
        self.matched += 1


class KnownTracker:
    """Tracks from the second frame on: every frame is ``RELATIVE`` away from the one before."""

    def __init__(self, matcher: Any, config: Any, scale: Any) -> None:
        self.config, self.scale = config, scale
        self.frames: list[Frame] = []
        self.resets = 0
        self.error: Exception | None = None
        self.is_lost = False
        self.unit = {"scale": ScaleState.METRIC, "scale_source": "depth", "scale_sigma": 0.0}
        self.gate: threading.Event | None = None
        self._pose: np.ndarray | None = None
        self._first: Frame | None = None
        self._keyframe_poses: dict[int, np.ndarray] = {}
        self.is_late = False  # the newest keyframe is still being mapped

    def reset(self) -> None:
        self.resets += 1
        self._pose = None
        self._keyframe_poses = {}

    def close(self) -> None:
        pass

    def finish(self) -> tuple[Keyframe, ...]:
        return (self._late,) if self.is_late else ()

    def keyframe_poses(self) -> dict[int, np.ndarray]:
        """Those of the last two keyframes; the older one has been corrected."""
        (*older, newest) = list(self._keyframe_poses.items())[-2:]
        return {id: CORRECTION @ pose for id, pose in older} | dict([newest])

    def track(self, frame: Frame) -> TrackingResult:
        if self.gate is not None:
            assert self.gate.wait(TIMEOUT_S)
        if self.error is not None:
            raise self.error
        self.frames.append(frame)
        if self.is_lost:
            return TrackingResult(frame.index, frame.stamp_ns, TrackingStatus.LOST, "it is dark")
        if self._pose is None:
            self._pose, self._first = np.eye(4), frame
            return TrackingResult(frame.index, frame.stamp_ns, TrackingStatus.INITIALIZING, "waiting for parallax")
        self._pose = self._pose @ RELATIVE
        return self._tracked(frame, self._pose)

    def _tracked(self, frame: Frame, pose: np.ndarray) -> TrackingResult:
        points = np.array([[10.0, 12.0], [30.5, 20.25]])
        keyframes = [self._keyframe(frame, pose, points)]
        if self._first is not None:  # as a map begins
            keyframes.insert(0, self._keyframe(self._first, np.eye(4), points))
            self._first = None
        if self.is_late:
            self._late = keyframes.pop()
        return TrackingResult(
            frame.index,
            frame.stamp_ns,
            TrackingStatus.TRACKING,
            "",
            world_from_camera=pose,
            covariance=RELATIVE_COVARIANCE,
            previous_from_current=RELATIVE,
            map_id=MAP_NUMBER,
            rotation_only=True,
            relative_covariance=RELATIVE_COVARIANCE,
            **self.unit,
            counts=TrackingCounts(keypoints=9, matches=5, inliers=2),
            parallax_deg=1.5,
            stage_ms={"extract": 2.0},
            new_keyframes=tuple(keyframes),
            reference_points_px=points - 3,
            tracked_points_px=points,
        )

    def _keyframe(self, frame: Frame, pose: np.ndarray, points: np.ndarray) -> Keyframe:
        self._keyframe_poses[frame.index] = pose
        return Keyframe(
            frame.index, frame, pose, points, np.array([2.0, 3.0]), ScaleState.UP_TO_SCALE, map_id=MAP_NUMBER
        )


class VoPeer(Peer):
    """Publishes images like a camera, and stores all messages of vo_node."""

    def __init__(self, context, *, listen_to=tuple(OUTPUTS), latched_info: bool = False, compressed=False) -> None:
        super().__init__(context, "vo_node", {topic: OUTPUTS[topic] for topic in listen_to})
        image_type, image_topic = (CompressedImage, "image/compressed") if compressed else (Image, "image")
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.images = self.create_publisher(image_type, image_topic, 10)
        self.infos = self.create_publisher(CameraInfo, "camera_info", latched if latched_info else 10)
        self.static_transforms = self.create_publisher(TFMessage, "/tf_static", latched)

    def settle(self) -> None:
        """Wait until vo_node and this node have found each other."""
        self.wait_until_matched(self.images, self.infos)

    def send(self, msg: Any, info: CameraInfo | None) -> VoStatus:
        """Publish an image, with its CameraInfo if any, and wait for its status."""
        if info is not None:
            self.infos.publish(info)
        self.images.publish(msg)
        return self.status_of(stamp_ns_from_msg(msg.header.stamp))

    def send_frame(self, number: int, camera: Camera = CAMERA, **changes: Any) -> VoStatus:
        """Publish the image with this number and its CameraInfo, and wait for its status."""
        msg, info = frame_messages(number, camera)
        for name, value in changes.items():
            setattr(msg, name, value)
        return self.send(msg, info)

    def status_of(self, stamp_ns: int) -> VoStatus:
        statuses = self.received["vo_status"]
        return self.wait(
            lambda: next((s for s in reversed(statuses) if stamp_ns_from_msg(s.header.stamp) == stamp_ns), None),
            f"the status of stamp {stamp_ns}",
        )


def stamp_ns(number: int) -> int:
    """Return the stamp of the image with this number."""
    return START_NS + number * PERIOD_NS


def noise_image(number: int, camera: Camera = CAMERA) -> np.ndarray:
    """Return the image with this number: noise."""
    return np.random.default_rng(number).integers(0, 256, (camera.height, camera.width, 3), dtype=np.uint8)


def frame_messages(number: int, camera: Camera = CAMERA) -> tuple[Image, CameraInfo]:
    """Return the image with this number and its CameraInfo."""
    header = header_to_msg(stamp_ns(number), CAMERA_FRAME)
    return image_to_msg(noise_image(number, camera), header), camera_to_msg(camera, header)
