"""Odometry that starts anew or corrects itself, and what mapping_node makes of it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from diagnostic_msgs.msg import DiagnosticStatus
from mapping_peer import (
    STEP,
    camera_points,
    keyframe,
    keyframe_message,
)
from node_peer import wait_until
from vo_peer import stamp_ns

from ros_matching.datatypes import ScaleState
from ros_matching.geometry.se3 import exp_so3, pose_from, transform
from ros_matching.nodes.clouds import cloud_from_msg
from ros_matching.nodes.mounting import BODY_FROM_OPTICAL, IDENTITY
from ros_matching.nodes.vo_messages import keyframe_path_to_msg

pytestmark = pytest.mark.ros


NEW_BEGINNINGS = {
    "ids start from 0": lambda peer: peer.send(0),
    "another scale": lambda peer: peer.send(3, ScaleState.METRIC),
    "stamps jump back": lambda peer: peer.keyframes.publish(_as_id(keyframe_message(1), 7)),
    "another fixed frame": lambda peer: peer.send(3, header=_in_frame(keyframe_message(3), "elsewhere")),
}


@pytest.mark.parametrize("case", NEW_BEGINNINGS)
def test_odometry_that_starts_anew_begins_a_new_map(start_mapping, case, capfd):
    _, mapper, peer = start_mapping(map_period_s=0.05)
    for number in range(3):
        peer.send(number)
    NEW_BEGINNINGS[case](peer)
    peer.last("dense_cloud", count=4)
    assert mapper.clears == 1
    assert len(mapper.keyframes) == 1
    peer.wait(lambda: peer.received["map_cloud"] and peer.received["map_cloud"][-1].width == 5, "the new map")
    assert "the map begins anew" in capfd.readouterr().err


def _as_id(msg, number):
    msg.id = number
    return msg


def _in_frame(msg, frame_id):
    msg.header.frame_id = frame_id
    return msg.header


def test_points_move_with_the_corrected_poses_of_their_keyframes(start_mapping):
    node, mapper, peer = start_mapping(map_period_s=0.05)
    poses = {name: pose_from(exp_so3([0.1, 0.0, i]), np.array([i, 2.0, 3.0])) for i, name in enumerate(("k0", "k2"))}
    for number in range(2):
        peer.send(number)
    peer.last("dense_cloud", count=2)
    peer.correct("elsewhere", k1=np.eye(4))
    peer.correct(k1=poses["k2"], **poses)
    peer.correct(k1=keyframe(1).world_from_camera)  # a newer one holds; those that are not in it stay
    wait_until(lambda: stamp_ns(2) in node._corrections._waiting)
    peer.send(2)
    peer.last("dense_cloud", count=3)
    expected = {0: poses["k0"], 1: keyframe(1).world_from_camera, 2: poses["k2"]}
    for number, pose in expected.items():
        np.testing.assert_allclose(mapper.poses[number], BODY_FROM_OPTICAL @ pose, atol=1e-6)
    points = [transform(BODY_FROM_OPTICAL @ pose, camera_points(number)) for number, pose in expected.items()]
    peer.wait(lambda: peer.received["map_cloud"] and peer.received["map_cloud"][-1].width == 15, "the corrected map")
    sent = cloud_from_msg(peer.received["map_cloud"][-1])
    np.testing.assert_allclose(sent.points, np.concatenate(points), atol=1e-6)


def test_corrections_that_cannot_be_are_told_and_survived(start_mapping):
    _, _, peer = start_mapping()
    broken = keyframe_path_to_msg({stamp_ns(0): np.eye(4)}, IDENTITY, keyframe_message(0).header)
    broken.poses[0].pose.orientation.w = float("nan")
    peer.send(0)
    peer.last("dense_cloud")
    peer.paths.publish(broken)
    assert peer.diagnosis("corrected poses of keyframes cannot be used").level == DiagnosticStatus.WARN
    peer.send(1)
    peer.diagnosis("mapped keyframe 1")


def test_corrections_of_another_run_are_forgotten(start_mapping):
    """A loop repeats the stamps."""
    node, mapper, peer = start_mapping()
    peer.send(0)
    peer.send(1)
    peer.last("dense_cloud", count=2)  # both are done; a keyframe that comes takes the corrections that wait
    peer.correct(k0=STEP, k1=STEP)
    wait_until(lambda: stamp_ns(0) in node._corrections._waiting)
    peer.send(0)
    peer.last("dense_cloud", count=3)
    np.testing.assert_allclose(mapper.poses[0], BODY_FROM_OPTICAL, atol=1e-6)
