"""The IMU of vo_node: its samples, its extrinsics, its faults, and images that do not wait for long."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from geometry_msgs.msg import TransformStamped, Vector3
from made_maps import made_map
from node_peer import wait_until
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Imu
from tf2_msgs.msg import TFMessage
from vo_peer import CAMERA_FRAME, stamp_ns

from ros_matching.errors import ConfigError
from ros_matching.geometry.se3 import angle_between_deg, exp_so3, pose_from, transform
from ros_matching.nodes.common.conversions import header_to_msg, transform_from_msg, transform_to_msg
from ros_matching.nodes.common.extrinsics import BODY_FROM_OPTICAL, Extrinsics
from ros_matching.nodes.common.problems import Problem
from ros_matching.nodes.vo.imu_input import _given_extrinsics
from ros_matching.nodes.vo.map_messages import landmark_cloud, map_transform
from ros_matching.nodes.vo.pipeline import VoPipeline
from ros_matching.odometry.result import TrackingResult, TrackingStatus

pytestmark = pytest.mark.ros

STEP_NS = 5_000_000


class ImuPeer:
    """Publishes samples at 200 Hz by their stamps."""

    def __init__(self, peer) -> None:
        self._publisher = peer.create_publisher(Imu, "imu", QoSProfile(depth=400))
        wait_until(self._publisher.get_subscription_count, "vo_node does not listen to imu")

    def send(self, first_ns: int, last_ns: int, force=(0.0, 0.0, 9.81)) -> None:
        for stamp in range(first_ns, last_ns + 1, STEP_NS):
            msg = Imu(header=header_to_msg(stamp, "imu_link"))
            msg.angular_velocity = Vector3(x=0.01, y=0.0, z=0.0)
            msg.linear_acceleration = Vector3(x=force[0], y=force[1], z=force[2])
            self._publisher.publish(msg)


def imu_of(node):
    return node._imu_input.imu


def test_samples_are_stored_and_the_camera_turns_by_them(start_vo):
    node, _, peer = start_vo(use_imu=True, imu_extrinsics="0.1 0 0 0 0 0 1")
    imu = ImuPeer(peer)
    imu.send(stamp_ns(0) - 50_000_000, stamp_ns(3))
    wait_until(lambda: imu_of(node).buffer.counts.accepted > 20, "no samples came")
    peer.send_frame(0)
    peer.send_frame(1)
    turned = imu_of(node).camera_rotation(stamp_ns(0), stamp_ns(1))
    seconds = (stamp_ns(1) - stamp_ns(0)) * 1e-9
    np.testing.assert_allclose(turned, exp_so3(np.array([-0.01 * seconds, 0, 0])), atol=1e-6)


def test_an_image_waits_for_its_samples_only_while_the_topic_is_alive(start_vo):
    node, tracker, peer = start_vo(use_imu=True, imu_wait_s=0.2, imu_extrinsics="0 0 0 0 0 0 1")
    imu = ImuPeer(peer)
    peer.send_frame(0)
    assert imu_of(node).wait_s == 0
    imu.send(stamp_ns(0), stamp_ns(0) + 10 * STEP_NS)
    wait_until(lambda: imu_of(node).buffer.counts.accepted > 5, "no samples came")
    peer.send_frame(1)
    assert imu_of(node).wait_s == 0.2
    assert imu_of(node).wait_for(stamp_ns(0))
    started = time.monotonic()
    assert not imu_of(node).wait_for(stamp_ns(5))  # its samples never come
    assert 0.15 < time.monotonic() - started < 5.0
    assert len(tracker.frames) == 2


def test_the_extrinsics_come_from_tf_static(start_vo):
    node, _, peer = start_vo(use_imu=True)
    imu = ImuPeer(peer)
    imu.send(stamp_ns(0), stamp_ns(1))
    peer.send_frame(0)
    wait_until(lambda: imu_of(node).buffer.counts.accepted > 2, "no samples came")
    assert imu_of(node).imu_from_camera is None

    def reported() -> bool:
        imu.send(node_time(node), node_time(node) + STEP_NS)
        return "/tf_static does not connect" in node._problems.present().get(Problem.IMU, "")

    wait_until(reported, "nothing reported")
    pose = pose_from(exp_so3(np.array([0.1, 0.2, 0.3])), np.array([0.05, 0.0, 0.1]))
    transform = TransformStamped(child_frame_id=CAMERA_FRAME, transform=transform_to_msg(pose))
    transform.header.frame_id = "imu_link"
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    peer.create_publisher(TFMessage, "/tf_static", latched).publish(TFMessage(transforms=[transform]))
    wait_until(lambda: imu_of(node).imu_from_camera is not None, "the extrinsics did not come")
    np.testing.assert_allclose(imu_of(node).imu_from_camera, pose, atol=1e-9)


def test_faults_are_reported_with_their_remedy(start_vo):
    node, _, peer = start_vo(use_imu=True, imu_extrinsics="0 0 0 0 0 0 1")
    imu = ImuPeer(peer)
    wait_until(lambda: "nothing comes on" in node._problems.present().get(Problem.IMU, ""), "silence is not reported")

    def reported() -> bool:
        imu.send(node_time(node), node_time(node) + 20 * STEP_NS, force=(0.0, 0.0, 1.0))
        return "multiply it by 9.80665" in node._problems.present().get(Problem.IMU, "")

    wait_until(reported, "the unit is not reported")


def node_time(node) -> int:
    span = imu_of(node).buffer.span_ns
    return stamp_ns(0) if span is None else span[1] + STEP_NS


def test_a_node_without_imu_does_not_subscribe(start_vo):
    _, _, peer = start_vo()
    publisher = peer.create_publisher(Imu, "imu", QoSProfile(depth=1))
    time.sleep(0.3)
    assert publisher.get_subscription_count() == 0


def test_extrinsics_of_a_parameter():
    assert _given_extrinsics("tf") is None
    np.testing.assert_allclose(_given_extrinsics("1 2 3 0 0 0 1"), pose_from(np.eye(3), np.array([1, 2, 3])))
    for text in ("", "1 2 3", "a b c d e f g", "0 0 0 0 0 0 0"):
        with pytest.raises(ConfigError, match="x y z qx qy qz qw"):
            _given_extrinsics(text)


def test_odom_is_leveled_and_keeps_its_heading():
    base_from_camera = pose_from(BODY_FROM_OPTICAL[:3, :3], np.array([0.2, 0.0, 0.5]))
    tilt = exp_so3(np.array([0.0, 0.2, 0.0]))  # the robot starts on a slope
    up_in_world = base_from_camera[:3, :3].T @ tilt.T @ np.array([0, 0, 1.0])
    leveled = Extrinsics(base_from_camera).leveled(up_in_world)
    up = leveled.odom_from_camera(np.eye(4))[:3, :3] @ up_in_world
    assert angle_between_deg(up, np.array([0, 0, 1.0])) < 1e-6
    first = leveled.odom_from_base(np.eye(4))
    np.testing.assert_allclose(first[:3, 3], 0, atol=1e-12)
    assert abs(np.degrees(np.arctan2(first[1, 0], first[0, 0]))) < 1e-6
    np.testing.assert_allclose(first[:3, :3], tilt, atol=1e-9)
    covariance = np.diag([1.0, 2, 3, 4, 5, 6])
    plain = Extrinsics(base_from_camera)
    pose = pose_from(exp_so3(np.array([0.1, 0.4, 0.2])), np.array([1.0, 2, 3]))
    np.testing.assert_allclose(plain.odom_covariance(pose, covariance), plain.base_covariance(pose, covariance))


def leveled_by(up_in_camera: np.ndarray | None, earlier_map=None) -> Extrinsics:
    """The extrinsics of a pipeline after its first pose."""
    imu = SimpleNamespace(up_in_camera=lambda stamp_ns: up_in_camera)
    pipeline = VoPipeline(SimpleNamespace(imu=imu, earlier_map=lambda: earlier_map))
    first = TrackingResult(0, 1, TrackingStatus.TRACKING, "", world_from_camera=np.eye(4))
    return pipeline._leveled(Extrinsics(BODY_FROM_OPTICAL), first)


def test_a_new_map_is_leveled_by_the_accelerometer_and_an_earlier_one_by_its_gravity():
    tilted = exp_so3(np.array([0.2, 0.0, 0.1])) @ np.array([0.0, -1.0, 0.0])
    for extrinsics in (leveled_by(tilted), leveled_by(None, SimpleNamespace(down=-tilted))):
        np.testing.assert_allclose(extrinsics.odom_from_world[:3, :3] @ tilted, [0, 0, 1], atol=1e-9)
    assert leveled_by(None).level is None
    assert leveled_by(tilted, SimpleNamespace(down=None)).level is None  # saved without gravity: its frame stays


def test_all_of_the_map_is_in_the_leveled_frame():
    extrinsics = Extrinsics(BODY_FROM_OPTICAL).leveled(exp_so3(np.array([0.2, 0.0, 0.1])) @ np.array([0.0, -1.0, 0.0]))
    slam_map = made_map(12)
    cloud = np.frombuffer(landmark_cloud(slam_map, extrinsics, header_to_msg(0, "map")).data, np.float32).reshape(-1, 3)
    expected = transform(extrinsics.odom_from_world, slam_map.landmarks.positions)
    np.testing.assert_allclose(cloud, expected, rtol=1e-5, atol=1e-5)
    moved = pose_from(exp_so3(np.array([0.0, 0.3, 0.0])), np.array([1.0, 0.0, 2.0]))
    tf = transform_from_msg(map_transform(moved, extrinsics, header_to_msg(0, "map"), "odom").transform)
    camera = pose_from(exp_so3(np.array([0.1, 0.0, 0.0])), np.array([0.5, 0.2, 0.1]))
    np.testing.assert_allclose(
        tf @ extrinsics.odom_from_camera(camera), extrinsics.odom_from_camera(moved @ camera), atol=1e-9
    )
