"""Recorder of the results that ``vo_node`` publishes for each image."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from ros_matching.datatypes import Frame
from ros_matching.errors import NodeError
from ros_matching.evaluation.trajectory.run_report import BRIDGED, TRACKING, FrameRecord, RunRecorder, ScaleRecord
from ros_matching.geometry.se3 import invert
from ros_matching.msg import VoStatus
from ros_matching.nodes.common import conversions
from ros_matching.nodes.common.extrinsics import StaticTransforms
from ros_matching.nodes.vo.messages import SCALES

# Deep queues: no message may be lost while this process is busy.
_QOS = QoSProfile(depth=1000)
_LATCHED_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)

_STATES = {
    VoStatus.INITIALIZING: "initializing",
    VoStatus.TRACKING: TRACKING,
    VoStatus.LOST: "lost",
    VoStatus.BRIDGED: BRIDGED,
}
_SCALES = {number: state.value for state, number in SCALES.items()}


class RecorderNode(Node):
    """Collects ``vo_status``, ``odom`` and ``ground_truth_pose`` by stamp, spun in one thread and read in another."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__("recorder", **node_options)
        self._indices: dict[int, int] = {}  # by stamp, as all here
        self._statuses: dict[int, VoStatus] = {}
        self._odometry: dict[int, Odometry] = {}
        self._ground_truth: dict[int, np.ndarray] = {}
        self._static_transforms = StaticTransforms()
        self._changed = threading.Condition()
        self.create_subscription(VoStatus, "vo_status", self._on_status, _QOS)
        self.create_subscription(Odometry, "odom", self._on_odometry, _QOS)
        self.create_subscription(PoseStamped, "ground_truth_pose", self._on_ground_truth, _QOS)
        self.create_subscription(
            TFMessage, "/tf_static", lambda msg: self._static_transforms.update(msg.transforms), _LATCHED_QOS
        )

    @property
    def expected(self) -> int:
        """Number of announced frames."""
        return len(self._indices)

    @property
    def progress(self) -> str:
        """Latest status as text."""
        with self._changed:
            latest = next(reversed(self._statuses.values()), None)
        return "" if latest is None else f"{_STATES[latest.state]}, {latest.inliers} inliers"

    def expect(self, frame: Frame) -> None:
        """Announce a frame that is sent to ``vo_node``."""
        self._indices[frame.stamp_ns] = frame.index

    def wait_until_complete(self, quiet_s: float) -> bool:
        """Block until the last announced frame has its status and all tracked frames have their poses.

        Returns False if no message arrived for ``quiet_s``: some were lost.
        """
        with self._changed:
            while not self._is_complete():
                if not self._changed.wait(quiet_s):
                    return False
        return True

    def fill(self, recorder: RunRecorder) -> None:
        """Add the collected results of the announced frames to ``recorder``; dropped frames have none.

        Raises ``NodeError`` if /tf_static lacks the camera's extrinsics, which the poses need.
        """
        for stamp_ns, pose in self._ground_truth.items():
            recorder.add_ground_truth(stamp_ns, pose)
        for stamp_ns, index in self._indices.items():
            if stamp_ns in self._statuses:
                recorder.add(self._record(index, stamp_ns))

    def _record(self, index: int, stamp_ns: int) -> FrameRecord:
        status = self._statuses[stamp_ns]
        odometry = self._odometry.get(stamp_ns)
        state, reason = _STATES[status.state], status.reason
        if state == TRACKING and odometry is None:
            state, reason = "lost", "its odometry message was lost"
        return FrameRecord(
            index=index,
            stamp_ns=stamp_ns,
            status=state,
            reason=reason,
            world_from_camera=self._world_from_camera(odometry, status) if state == TRACKING else None,
            latency_ms=status.latency_ms,
            stage_ms=dict(zip(status.stage_names, status.stage_ms, strict=True)),
            scale=ScaleRecord(_SCALES[status.scale], status.scale_source, status.scale_sigma, status.scale_reason),
            maps=status.maps,
            map_id=status.map_id,
        )

    def _world_from_camera(self, odometry: Odometry, status: VoStatus) -> np.ndarray:
        """Return the camera pose (4, 4) in its first frame, from the robot pose in its first frame."""
        base_frame, camera_frame = odometry.child_frame_id, status.header.frame_id
        base_from_camera = self._static_transforms.lookup(base_frame, camera_frame)
        if base_from_camera is None:
            raise NodeError(f"/tf_static has no extrinsics {base_frame} -> {camera_frame}")
        return invert(base_from_camera) @ conversions.pose_from_msg(odometry.pose.pose) @ base_from_camera

    def _is_complete(self) -> bool:
        last_stamp_ns = next(reversed(self._indices), None)
        return last_stamp_ns in self._statuses and all(
            status.state != VoStatus.TRACKING or stamp_ns in self._odometry
            for stamp_ns, status in self._statuses.items()
        )

    def _on_status(self, msg: VoStatus) -> None:
        with self._changed:
            self._statuses[conversions.stamp_ns_from_msg(msg.header.stamp)] = msg
            self._changed.notify_all()

    def _on_odometry(self, msg: Odometry) -> None:
        with self._changed:
            self._odometry[conversions.stamp_ns_from_msg(msg.header.stamp)] = msg
            self._changed.notify_all()

    def _on_ground_truth(self, msg: PoseStamped) -> None:
        self._ground_truth[conversions.stamp_ns_from_msg(msg.header.stamp)] = conversions.pose_from_msg(msg.pose)
