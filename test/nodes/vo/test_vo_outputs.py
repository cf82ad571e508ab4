"""Messages of vo_node over real topics, with a tracker of known results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from tf2_msgs.msg import TFMessage
from vo_peer import (
    CAMERA,
    CAMERA_FRAME,
    CORRECTION,
    MAP_NUMBER,
    PERIOD_NS,
    RELATIVE,
    RELATIVE_COVARIANCE,
    frame_messages,
    noise_image,
    stamp_ns,
)

from ros_matching.geometry.se3 import exp_so3, invert, pose_from
from ros_matching.msg import VoStatus
from ros_matching.nodes.common.conversions import (
    UNKNOWN_VARIANCE,
    header_to_msg,
    image_from_msg,
    pose_from_msg,
    stamp_ns_from_msg,
    transform_from_msg,
    transform_to_msg,
)
from ros_matching.nodes.common.extrinsics import BODY_FROM_OPTICAL
from ros_matching.odometry.result import TrackingStatus

pytestmark = pytest.mark.ros

BASE_FROM_CAMERA = pose_from(exp_so3([-1.2, 0.3, -1.5]), np.array([0.4, -0.1, 0.9]))


def test_what_is_published_for_a_tracked_image(start_vo):
    _, tracker, peer = start_vo()
    first, second = peer.send_frame(0), peer.send_frame(1)
    np.testing.assert_array_equal(tracker.frames[1].image, noise_image(1))
    assert tracker.frames[1].camera == CAMERA
    assert (first.state, first.reason) == (VoStatus.INITIALIZING, "waiting for parallax")
    assert (second.state, second.reason) == (VoStatus.TRACKING, "")
    assert (second.frames_received, second.frames_tracked, second.inliers, second.matches) == (2, 1, 2, 5)
    assert (first.map_id, second.map_id, second.rotation_only) == (0, MAP_NUMBER, True)
    assert second.stage_names == ["input", "extract"]
    assert second.latency_ms > second.stage_ms[0] > 0

    relative = peer.last("relative_pose")
    assert (stamp_ns_from_msg(relative.header.stamp), relative.header.frame_id) == (stamp_ns(1), CAMERA_FRAME)
    np.testing.assert_allclose(pose_from_msg(relative.pose.pose), RELATIVE, atol=1e-9)
    np.testing.assert_allclose(relative.pose.covariance.reshape(6, 6), RELATIVE_COVARIANCE)
    assert len(peer.received["relative_pose"]) == 1

    odom = peer.last("odom")
    odom_from_base = BODY_FROM_OPTICAL @ RELATIVE @ invert(BODY_FROM_OPTICAL)
    assert (odom.header.frame_id, odom.child_frame_id) == ("odom", "base_link")
    assert stamp_ns_from_msg(odom.header.stamp) == stamp_ns(1)
    np.testing.assert_allclose(pose_from_msg(odom.pose.pose), odom_from_base, atol=1e-9)
    assert odom.twist.twist.linear.x == pytest.approx(0.1 / (PERIOD_NS * 1e-9), rel=1e-3)
    assert odom.twist.twist.angular.z == pytest.approx(-0.02 / (PERIOD_NS * 1e-9))
    np.testing.assert_allclose(odom.pose.covariance.reshape(6, 6).diagonal(), [3e-4, 1e-4, 2e-4, 6e-4, 4e-4, 5e-4])

    link = peer.last("/tf").transforms[0]
    assert (link.header, link.child_frame_id) == (odom.header, "base_link")
    np.testing.assert_allclose(transform_from_msg(link.transform), odom_from_base, atol=1e-9)
    path = peer.last("path")
    assert [pose.pose for pose in path.poses] == [odom.pose.pose]
    assert path.header.frame_id == "odom"


def test_the_keyframe_and_the_debug_image(start_vo):
    _, tracker, peer = start_vo()
    peer.send_frame(0)
    peer.send_frame(1)
    keyframe = peer.last("keyframe", count=2)
    assert (keyframe.header.frame_id, keyframe.image.header.frame_id) == ("odom", CAMERA_FRAME)
    assert stamp_ns_from_msg(keyframe.header.stamp) == stamp_ns(1)
    np.testing.assert_allclose(pose_from_msg(keyframe.pose), BODY_FROM_OPTICAL @ RELATIVE, atol=1e-9)
    np.testing.assert_array_equal(image_from_msg(keyframe.image), noise_image(1))
    assert not any(keyframe.camera_info.d)
    np.testing.assert_allclose(keyframe.sparse_points, [10, 12, 2, 30.5, 20.25, 3])
    assert keyframe.map_id == MAP_NUMBER
    drawn = image_from_msg(peer.last("debug_image", count=2))
    u, v = tracker.frames[1].image.shape[1] // 2, 20
    assert drawn.shape == noise_image(1).shape
    np.testing.assert_array_equal(drawn[20, 30], (60, 210, 60))  # a tracked point
    np.testing.assert_array_equal(drawn[v - 10, u + 20], noise_image(1)[v - 10, u + 20])  # next to them


def test_both_views_that_a_map_begins_with_are_keyframes(start_vo):
    _, _, peer = start_vo()
    for number in range(3):
        peer.send_frame(number)
    peer.last("keyframe", count=3)
    keyframes = peer.received["keyframe"]
    assert [keyframe.id for keyframe in keyframes] == [0, 1, 2]
    assert [stamp_ns_from_msg(keyframe.header.stamp) for keyframe in keyframes] == [stamp_ns(n) for n in range(3)]
    np.testing.assert_allclose(pose_from_msg(keyframes[0].pose), BODY_FROM_OPTICAL, atol=1e-9)
    np.testing.assert_array_equal(image_from_msg(keyframes[0].image), noise_image(0))


def test_keyframes_that_are_still_mapped_are_published_at_the_end(start_vo):
    node, tracker, peer = start_vo()
    peer.send_frame(0)
    peer.send_frame(1)
    tracker.is_late = True
    peer.send_frame(2)
    peer.last("keyframe", count=2)
    node.trigger_deactivate()
    assert peer.last("keyframe", count=3).id == 2


def test_the_corrected_poses_of_keyframes(start_vo):
    _, _, peer = start_vo()
    for number in range(4):
        peer.send_frame(number)
    path = peer.last("keyframe_path", count=3)
    assert (path.header.frame_id, stamp_ns_from_msg(path.header.stamp)) == ("odom", stamp_ns(3))
    assert [stamp_ns_from_msg(pose.header.stamp) for pose in path.poses] == [stamp_ns(2), stamp_ns(3)]
    expected = [CORRECTION @ RELATIVE @ RELATIVE, RELATIVE @ RELATIVE @ RELATIVE]
    for pose, world_from_camera in zip(path.poses, expected, strict=True):
        np.testing.assert_allclose(pose_from_msg(pose.pose), BODY_FROM_OPTICAL @ world_from_camera, atol=1e-9)
    np.testing.assert_allclose(
        pose_from_msg(peer.last("keyframe", count=4).pose), pose_from_msg(path.poses[-1].pose), atol=1e-9
    )


def test_unsubscribed_topics_are_not_published(start_vo, monkeypatch):
    monkeypatch.setattr("ros_matching.nodes.vo.outputs.draw_tracks", None)
    monkeypatch.setattr("ros_matching.nodes.vo.messages.keyframe_to_msg", None)
    _, _, peer = start_vo(listen_to=("vo_status", "odom", "/diagnostics"))
    peer.send_frame(0)
    assert peer.send_frame(1).state == VoStatus.TRACKING
    assert peer.last("odom").child_frame_id == "base_link"


def test_odom_waits_for_the_extrinsics_and_reports_it(start_vo):
    _, _, peer = start_vo(camera_extrinsics="tf")
    peer.send_frame(0)
    assert peer.send_frame(1).state == VoStatus.TRACKING
    assert len(peer.received["relative_pose"]) == 1
    assert "camera_extrinsics" in peer.diagnosis("base_link -> eye").message
    assert not any(peer.received[topic] for topic in ("odom", "/tf", "path", "keyframe"))

    link = TransformStamped(header=header_to_msg(0, "base_link"), child_frame_id=CAMERA_FRAME)
    link.transform = transform_to_msg(BASE_FROM_CAMERA)
    peer.static_transforms.publish(TFMessage(transforms=[link]))
    number = 2
    while not peer.received["odom"]:
        assert number < 200, "the extrinsics was not taken"
        peer.send_frame(number)
        number += 1
    world_from_camera = np.linalg.matrix_power(RELATIVE, number - 1)
    expected = BASE_FROM_CAMERA @ world_from_camera @ invert(BASE_FROM_CAMERA)
    np.testing.assert_allclose(pose_from_msg(peer.last("odom").pose.pose), expected, atol=1e-6)
    before = len(peer.received["/diagnostics"])
    while not any("tracking" in a.status[0].message for a in peer.received["/diagnostics"][before:]):
        assert number < 1000, "the diagnosis stays"
        peer.send_frame(number)  # without images the diagnosis is another one
        number += 1


def test_a_frame_name_is_needed_for_the_extrinsics(start_vo):
    _, _, peer = start_vo(camera_extrinsics="tf")
    msg, info = frame_messages(0)
    msg.header.frame_id = ""
    peer.send(msg, info)
    peer.diagnosis("camera_frame")


def test_frames_and_tf_by_parameter(start_vo):
    frames = {"odom_frame": "world", "base_frame": "drone", "camera_frame": "lens"}
    topics = ("vo_status", "odom", "relative_pose", "path")
    _, _, peer = start_vo(**frames, publish_tf=False, path_length=2, path_period_s=0.0, listen_to=topics)
    for number in range(5):
        status = peer.send_frame(number)
    odom = peer.last("odom", count=4)
    assert (odom.header.frame_id, odom.child_frame_id, status.header.frame_id) == ("world", "drone", "lens")
    assert peer.last("relative_pose", count=4).header.frame_id == "lens"
    assert len(peer.last("path", count=4).poses) == 2
    assert peer.count_publishers("/tf") == 0


def test_lost_is_lost(start_vo):
    _, tracker, peer = start_vo()
    peer.send_frame(0)
    peer.send_frame(1)
    tracker.is_lost = True
    status = peer.send_frame(2)
    assert (status.state, status.reason, status.frames_lost) == (VoStatus.LOST, "it is dark", 1)
    assert len(peer.received["odom"]) == len(peer.received["relative_pose"]) == 1
    diagnosis = peer.diagnosis("it is dark")
    assert diagnosis.level == DiagnosticStatus.WARN
    assert "~/reset" in diagnosis.message


def test_bridged_is_a_state_of_its_own_with_a_pose(start_vo, monkeypatch):
    _, tracker, peer = start_vo()
    peer.send_frame(0)
    peer.send_frame(1)
    known = tracker._tracked

    def bridged(frame, pose):
        reason = "continued by the IMU for 0.10 s"
        return replace(_without_relative_pose(known(frame, pose)), status=TrackingStatus.BRIDGED, reason=reason)

    monkeypatch.setattr(tracker, "_tracked", bridged)
    status = peer.send_frame(2)
    assert (status.state, status.frames_lost) == (VoStatus.BRIDGED, 0)
    assert len({VoStatus.INITIALIZING, VoStatus.TRACKING, VoStatus.LOST, VoStatus.BRIDGED}) == 4
    assert len(peer.received["odom"]) == 2
    assert peer.diagnosis("continued by the IMU").level == DiagnosticStatus.WARN


def test_an_unknown_velocity_has_a_large_variance(start_vo, monkeypatch):
    _, tracker, peer = start_vo()
    known = tracker._tracked
    monkeypatch.setattr(tracker, "_tracked", lambda frame, pose: _without_relative_pose(known(frame, pose)))
    peer.send_frame(0)
    peer.send_frame(1)
    odom = peer.last("odom")
    assert odom.twist.covariance[0] == UNKNOWN_VARIANCE
    assert not peer.received["relative_pose"]


def _without_relative_pose(result):
    return replace(result, previous_from_current=None, relative_covariance=None)


def test_a_doubtful_calibration_is_diagnosed(start_vo):
    _, tracker, peer = start_vo()
    tracker.unit = {"calibration_doubt": "the images fit a focal length that is 5% or more shorter"}
    peer.send_frame(0)
    peer.send_frame(1)
    assert peer.diagnosis("5% or more shorter").level == DiagnosticStatus.WARN
