"""Frusta and sparse points of vo_node in odom."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from node_peer import wait_until
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import Marker, MarkerArray
from vo_peer import CAMERA, RELATIVE, stamp_ns

from ros_matching.nodes.common.conversions import stamp_ns_from_msg
from ros_matching.nodes.common.extrinsics import BODY_FROM_OPTICAL
from ros_matching.nodes.mapping.clouds import cloud_from_msg

pytestmark = pytest.mark.ros


def test_the_camera_its_keyframes_and_their_points_are_in_odom(start_vo) -> None:
    _, tracker, peer = start_vo()
    arrays: list[MarkerArray] = []
    clouds: list[PointCloud2] = []
    subscriptions = [
        peer.create_subscription(MarkerArray, "markers", arrays.append, 10),
        peer.create_subscription(PointCloud2, "sparse_cloud", clouds.append, 10),
    ]
    wait_until(lambda: all(peer.count_publishers(subscription.topic_name) for subscription in subscriptions))
    peer.send_frame(0)
    number = 0

    def has_both() -> bool:  # the node may find its subscribers a moment later
        nonlocal number
        number += 1
        peer.send_frame(number)
        return bool(arrays and clouds)

    wait_until(has_both)
    markers = {marker.ns: marker for marker in arrays[-1].markers}
    camera = markers["camera"]
    assert (camera.header.frame_id, camera.type, len(camera.points)) == ("odom", Marker.LINE_LIST, 16)
    row = (stamp_ns_from_msg(camera.header.stamp) - stamp_ns(0)) // (stamp_ns(1) - stamp_ns(0))
    pose = BODY_FROM_OPTICAL @ np.linalg.matrix_power(RELATIVE, row) @ np.linalg.inv(BODY_FROM_OPTICAL)
    np.testing.assert_allclose([camera.points[0].x, camera.points[0].y, camera.points[0].z], pose[:3, 3], atol=1e-4)
    assert clouds[0].header.frame_id == "odom"
    points = cloud_from_msg(clouds[0]).points
    assert len(points) >= 2
    assert (points[:, 0] > 1.5).all()  # before the camera, which looks along x, at depths of 2 and 3
    assert tracker.frames[0].camera == CAMERA
