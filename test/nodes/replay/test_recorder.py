"""The recorder of the demo, fed over real topics."""

from __future__ import annotations

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from consumer import random_frames
from geometry_msgs.msg import PoseStamped, TransformStamped
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage

from ros_matching.errors import NodeError
from ros_matching.evaluation.trajectory.run_report import RunRecorder
from ros_matching.geometry.se3 import exp_so3, invert, pose_from
from ros_matching.msg import VoStatus
from ros_matching.nodes.common import conversions
from ros_matching.nodes.common.spinning import isolate, spinning
from ros_matching.nodes.replay.recorder import RecorderNode

pytestmark = pytest.mark.ros

STAMPS_NS = [1_000_000_007, 1_033_333_340, 1_066_666_673]
BASE_FROM_CAMERA = pose_from(exp_so3(np.array([0.3, -1.2, 0.8])), np.array([0.2, -0.1, 0.5]))
QUIET_S = 5.0


class Talker(Node):
    """Publishes the messages of vo_node."""

    def __init__(self, **node_options) -> None:
        super().__init__("talker", **node_options)
        self._statuses = self.create_publisher(VoStatus, "vo_status", 10)
        self._odometry = self.create_publisher(Odometry, "odom", 10)
        self._ground_truth = self.create_publisher(PoseStamped, "ground_truth_pose", 10)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._static_transforms = self.create_publisher(TFMessage, "/tf_static", latched)

    def publish_mount(self) -> None:
        mount = TransformStamped(child_frame_id="eye", transform=conversions.transform_to_msg(BASE_FROM_CAMERA))
        mount.header.frame_id = "robot"
        self._static_transforms.publish(TFMessage(transforms=[mount]))

    def status(self, stamp_ns: int, state: int, reason: str = "") -> None:
        header = conversions.header_to_msg(stamp_ns, "eye")
        stages = {"stage_names": ["extract", "match"], "stage_ms": [12.0, 3.0]}
        self._statuses.publish(VoStatus(header=header, state=state, reason=reason, latency_ms=20.0, **stages))

    def pose(self, stamp_ns: int, world_from_camera: np.ndarray) -> None:
        odom_from_base = BASE_FROM_CAMERA @ world_from_camera @ invert(BASE_FROM_CAMERA)
        odometry = Odometry(header=conversions.header_to_msg(stamp_ns, "odom"), child_frame_id="robot")
        odometry.pose.pose = conversions.pose_to_msg(odom_from_base)
        self._odometry.publish(odometry)

    def truth(self, stamp_ns: int, pose: np.ndarray) -> None:
        header = conversions.header_to_msg(stamp_ns, "ground_truth")
        self._ground_truth.publish(PoseStamped(header=header, pose=conversions.pose_to_msg(pose)))


@pytest.fixture
def scene():
    """A recorder that expects three frames and has discovered the talker."""
    isolate()
    context = Context()
    rclpy.init(context=context)
    recorder, talker = RecorderNode(context=context), Talker(context=context)
    for frame in random_frames(STAMPS_NS):
        recorder.expect(frame)
    with spinning(SingleThreadedExecutor(context=context), recorder, talker):
        yield recorder, talker
    context.try_shutdown()


def test_camera_poses_come_back_from_the_robots(scene):
    recorder, talker = scene
    pose = pose_from(exp_so3(np.array([0.1, 0.4, -0.2])), np.array([1.0, -2.0, 0.5]))
    talker.publish_mount()
    talker.truth(STAMPS_NS[0], pose)
    talker.status(STAMPS_NS[0], VoStatus.INITIALIZING, "no parallax")
    talker.pose(STAMPS_NS[1], pose)
    talker.status(STAMPS_NS[1], VoStatus.TRACKING)
    talker.status(STAMPS_NS[2], VoStatus.LOST, "covered")
    assert recorder.wait_until_complete(QUIET_S)
    run = RunRecorder("test", "sift")
    recorder.fill(run)
    report = run.report()
    assert [record.status for record in report.records] == ["initializing", "tracking", "lost"]
    assert [record.reason for record in report.records] == ["no parallax", "", "covered"]
    assert [record.index for record in report.records] == [0, 1, 2]
    np.testing.assert_array_equal(report.trajectory.stamps_ns, STAMPS_NS[1:2])
    np.testing.assert_allclose(report.trajectory.world_from_camera[0], pose, atol=1e-12)
    np.testing.assert_allclose(report.truth.world_from_camera[0], pose, atol=1e-12)
    assert report.ms_per_frame == 20.0
    assert report.stage_ms == {"extract": 12.0, "match": 3.0}


def test_poses_by_an_imu_are_counted_and_are_no_trajectory(scene):
    recorder, talker = scene
    talker.publish_mount()
    for stamp_ns, state in zip(STAMPS_NS, (VoStatus.TRACKING, VoStatus.BRIDGED, VoStatus.LOST), strict=False):
        if state != VoStatus.LOST:
            talker.pose(stamp_ns, np.eye(4))
        talker.status(stamp_ns, state, "")
    assert recorder.wait_until_complete(QUIET_S)
    run = RunRecorder("test", "sift")
    recorder.fill(run)
    assert [record.status for record in run.report().records] == ["tracking", "bridged", "lost"]
    assert len(run.report().trajectory) == 1


def test_dropped_frames_are_left_out(scene):
    recorder, talker = scene
    talker.status(STAMPS_NS[0], VoStatus.INITIALIZING)
    talker.status(999, VoStatus.INITIALIZING)  # not one of ours
    talker.status(STAMPS_NS[2], VoStatus.INITIALIZING)
    assert recorder.wait_until_complete(QUIET_S)
    run = RunRecorder("test", "sift")
    recorder.fill(run)
    assert len(run) == 2
    assert recorder.expected == 3


def test_silence_ends_the_wait(scene):
    recorder, talker = scene
    talker.status(STAMPS_NS[0], VoStatus.INITIALIZING)
    assert not recorder.wait_until_complete(0.3)


def test_a_pose_without_extrinsics_is_an_error(scene):
    recorder, talker = scene
    talker.pose(STAMPS_NS[2], np.eye(4))
    talker.status(STAMPS_NS[2], VoStatus.TRACKING)
    assert recorder.wait_until_complete(QUIET_S)
    with pytest.raises(NodeError, match="robot -> eye"):
        recorder.fill(RunRecorder("test", "sift"))
