"""Messages of mapping_node for keyframes of known depth."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from diagnostic_msgs.msg import DiagnosticStatus
from mapping_peer import (
    DEPTH_CAMERA,
    LATCHED,
    OUTPUTS,
    depth_map,
    keyframe,
    points_in_odom,
)
from node_peer import wait_until
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from vo_peer import CAMERA_FRAME, MAP_NUMBER, stamp_ns

from ros_matching.datatypes import ScaleState
from ros_matching.nodes.common.conversions import camera_from_msg, pose_from_msg, stamp_ns_from_msg
from ros_matching.nodes.common.extrinsics import BODY_FROM_OPTICAL
from ros_matching.nodes.mapping.clouds import cloud_from_msg

pytestmark = pytest.mark.ros

SUCCESS = TransitionCallbackReturn.SUCCESS


def test_what_is_published_for_a_keyframe(start_mapping):
    _, mapper, peer = start_mapping()
    for number in range(3):
        peer.send(number)
    dense = peer.last("dense_cloud", count=3)
    assert (dense.header.frame_id, stamp_ns_from_msg(dense.header.stamp)) == ("odom", stamp_ns(2))
    cloud = cloud_from_msg(dense)
    np.testing.assert_allclose(cloud.points, points_in_odom(2), atol=1e-6)
    assert cloud.colors.tolist() == [[10, 20, 30]] * 5
    assert cloud.confidence.tolist() == [0.75] * 5

    image, info, pose = (peer.last(topic, count=3) for topic in ("depth/image", "depth/camera_info", "depth/pose"))
    assert (image.encoding, image.width, image.height, image.step) == ("32FC1", 16, 12, 64)
    np.testing.assert_array_equal(np.frombuffer(image.data, np.float32).reshape(12, 16), depth_map(2).depth)
    assert camera_from_msg(info) == DEPTH_CAMERA
    assert image.header == info.header
    assert (image.header.frame_id, stamp_ns_from_msg(image.header.stamp)) == (CAMERA_FRAME, stamp_ns(2))
    assert (pose.header.frame_id, pose.header.stamp) == ("odom", image.header.stamp)
    expected = BODY_FROM_OPTICAL @ keyframe(2).world_from_camera
    np.testing.assert_allclose(pose_from_msg(pose.pose), expected, atol=1e-6)

    seen = mapper.keyframes[2]
    np.testing.assert_array_equal(seen.frame.image, keyframe(2).frame.image)
    assert (seen.id, seen.map_id) == (2, MAP_NUMBER)
    assert (seen.frame.camera, seen.scale) == (keyframe(2).frame.camera, ScaleState.UP_TO_SCALE)
    np.testing.assert_allclose(seen.sparse_points_px, keyframe(2).sparse_points_px)
    np.testing.assert_allclose(seen.sparse_depths, keyframe(2).sparse_depths)


def test_the_map_is_latched_and_comes_again_only_when_it_changed(start_mapping):
    _, _, peer = start_mapping(map_period_s=0.05)
    peer.send(0)
    peer.send(1)
    peer.wait(lambda: peer.received["map_cloud"] and peer.received["map_cloud"][-1].width == 10, "the whole map")
    late: list[PointCloud2] = []
    peer.create_subscription(PointCloud2, "map_cloud", late.append, LATCHED)
    wait_until(lambda: late)
    np.testing.assert_allclose(cloud_from_msg(late[0]).points, points_in_odom(0, 1), atol=1e-6)
    assert late[0].header.frame_id == "odom"
    count = len(peer.received["map_cloud"])
    peer.diagnosis("mapped keyframe 1")
    peer.diagnosis("mapped keyframe 1")
    assert len(peer.received["map_cloud"]) == count


def test_clouds_are_limited_in_size_and_rate(start_mapping):
    _, mapper, peer = start_mapping(cloud_max_points=2, cloud_period_s=1000.0, map_max_points=3, map_period_s=0.05)
    for number in range(3):
        peer.send(number)
    peer.wait(lambda: any(msg.width == 3 for msg in peer.received["map_cloud"]), "a limited map")
    wait_until(lambda: len(mapper.seen) == 3)
    peer.last("depth/image", count=3)
    assert [msg.width for msg in peer.received["dense_cloud"]] == [2]
    np.testing.assert_allclose(
        cloud_from_msg(peer.received["dense_cloud"][0]).points, points_in_odom(0)[[0, 4]], atol=1e-6
    )


def test_unsubscribed_topics_are_not_published(start_mapping, monkeypatch):
    monkeypatch.setattr("ros_matching.nodes.mapping.outputs.cloud_to_msg", None)
    monkeypatch.setattr("ros_matching.nodes.mapping.outputs.depth_to_msgs", None)
    _, _, peer = start_mapping(listen_to=("/diagnostics",), map_period_s=0.05)
    peer.send(0)
    diagnosis = peer.diagnosis("mapped keyframe 0")
    assert diagnosis.level == DiagnosticStatus.OK


def test_what_the_mapper_finishes_last_is_published(start_mapping, monkeypatch):
    node, mapper, peer = start_mapping(map_period_s=1000.0)
    monkeypatch.setattr(mapper, "finish", lambda: [mapper.add(keyframe(1))])
    peer.send(0)
    peer.last("dense_cloud")
    assert node.trigger_deactivate() == SUCCESS
    assert stamp_ns_from_msg(peer.last("dense_cloud", count=2).header.stamp) == stamp_ns(1)
    assert peer.last("map_cloud").width == 10


def test_every_topic_has_the_promised_durability(start_mapping):
    _, _, peer = start_mapping()
    for topic in OUTPUTS.keys() - {"/diagnostics"}:
        (offer,) = peer.get_publishers_info_by_topic(f"/{topic}")
        assert offer.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        assert (offer.qos_profile.durability == LATCHED.durability) == (topic == "map_cloud")
