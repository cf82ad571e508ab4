"""The live view of topics: messages as the nodes publish them, and odd ones."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from geometry_msgs.msg import Point
from mapping_peer import LATCHED, keyframe, keyframe_message
from nav_msgs.msg import Odometry
from node_peer import wait_until
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import Marker, MarkerArray
from vo_peer import CAMERA, CAMERA_FRAME, stamp_ns

from ros_matching.datatypes import PointCloud
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.msg import VoStatus
from ros_matching.nodes.common.conversions import header_to_msg, image_to_msg, pose_to_msg
from ros_matching.nodes.common.extrinsics import BODY_FROM_OPTICAL
from ros_matching.nodes.common.spinning import spinning
from ros_matching.nodes.mapping.clouds import cloud_to_msg
from ros_matching.nodes.viewer.viewer_node import ViewerNode

pytestmark = pytest.mark.ros


class RecordingViewer:
    def __init__(self) -> None:
        self.calls: dict[str, list[tuple]] = defaultdict(list)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls[name].append(arguments)


@pytest.fixture
def stage(context):
    """The viewer's node, what it showed, and a node that publishes."""
    viewer = RecordingViewer()
    node, peer = ViewerNode(viewer, context=context), Node("peer", context=context)
    with spinning(SingleThreadedExecutor(context=context), node, peer):
        yield node, viewer.calls, peer


def publish(node: ViewerNode, calls: dict, peer: Node, messages: list[tuple[type, str, Any, Any]], until: str) -> None:
    publishers = [(peer.create_publisher(kind, topic, qos), msg) for kind, topic, qos, msg in messages]
    wait_until(lambda: all(publisher.get_subscription_count() for publisher, _ in publishers))
    for publisher, msg in publishers:
        publisher.publish(msg)

    def is_shown() -> bool:
        node.show()
        return bool(calls[until])

    wait_until(is_shown)


def test_status_image_and_pose(stage) -> None:
    node, calls, peer = stage
    image = np.random.default_rng(0).integers(0, 255, (CAMERA.height, CAMERA.width, 3), np.uint8)
    odometry = Odometry(header=header_to_msg(stamp_ns(0), "odom"))
    pose = np.eye(4)
    pose[:3, 3] = [1.0, 2.0, 0.5]
    odometry.pose.pose = pose_to_msg(pose)
    odometry.pose.covariance = np.diag([0.01, 0.01, 0.04, 1, 1, 1]).ravel().tolist()
    status = VoStatus(header=header_to_msg(stamp_ns(0), CAMERA_FRAME), state=VoStatus.TRACKING, inliers=40, matches=50)
    status.reason, status.scale, status.scale_sigma = "few landmarks", VoStatus.METRIC, 0.05
    status.stage_names, status.stage_ms = ["extract"], [12.0]
    header = header_to_msg(stamp_ns(0), CAMERA_FRAME)
    odom_publisher = peer.create_publisher(Odometry, "odom", 5)
    wait_until(odom_publisher.get_subscription_count)
    odom_publisher.publish(odometry)

    def has_pose() -> bool:
        node.show()
        return node._pose is not None

    wait_until(has_pose)
    messages = [(Image, "debug_image", 1, image_to_msg(image, header, "rgb8")), (VoStatus, "vo_status", 5, status)]
    publish(node, calls, peer, messages, "show_frame")
    [live] = calls["show_frame"][0]
    assert live.status == "tracking"
    assert live.status_line == "tracking, 40 inliers, 0 landmarks; few landmarks"
    assert live.scale == "metric"
    assert live.scale_std == pytest.approx(0.05)
    assert live.position_std == pytest.approx(0.2)
    assert live.stage_ms == {"extract": 12.0}
    np.testing.assert_allclose(live.world_from_camera[:3, 3], [1, 2, 0.5])
    np.testing.assert_allclose(live.world_from_camera[:3, 2], [1, 0, 0], atol=1e-9)  # it looks forward


def test_keyframes_dense_points_landmarks_and_loops(stage) -> None:
    node, calls, peer = stage
    publish(node, calls, peer, [(KeyframeMsg, "keyframe", 10, keyframe_message(2))], "show_keyframes")
    poses, camera = calls["show_keyframes"][0]
    assert camera == CAMERA
    np.testing.assert_allclose(poses[stamp_ns(2)], BODY_FROM_OPTICAL @ keyframe(2).world_from_camera, atol=1e-6)
    [landmarks] = calls["show_landmarks"][0]
    assert len(landmarks) == 3
    cloud = PointCloud(np.eye(3), np.full((3, 3), 7, np.uint8), np.ones(3))
    header = header_to_msg(stamp_ns(2), "odom")
    publish(node, calls, peer, [(PointCloud2, "map_cloud", LATCHED, cloud_to_msg(cloud, header))], "show_map_cloud")
    np.testing.assert_allclose(calls["show_map_cloud"][0][0], np.eye(3))
    loop = Marker(ns="loop", points=[Point(x=1.0), Point(y=2.0)])
    graph = MarkerArray(markers=[Marker(ns="keyframes", points=[Point()]), loop])
    publish(node, calls, peer, [(MarkerArray, "vo_node/pose_graph", LATCHED, graph)], "show_loops")
    np.testing.assert_array_equal(calls["show_loops"][0][0], [[[1, 0, 0], [0, 2, 0]]])


def test_an_odd_message_is_logged_and_the_view_goes_on(stage, capfd) -> None:
    node, calls, peer = stage
    bad = keyframe_message(1)
    bad.pose.orientation.w = bad.pose.orientation.x = bad.pose.orientation.y = bad.pose.orientation.z = 0.0
    publisher = peer.create_publisher(KeyframeMsg, "keyframe", 10)
    wait_until(publisher.get_subscription_count)
    publisher.publish(bad)

    def is_logged() -> bool:
        node.show()
        return "keyframe" in node._warned

    wait_until(is_logged)
    publisher.publish(keyframe_message(2))
    wait_until(lambda: node.show() or calls["show_keyframes"])
    assert list(calls["show_keyframes"][-1][0]) == [stamp_ns(2)]
