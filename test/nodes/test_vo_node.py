"""vo_node over real topics, with a tracker whose answers are known."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool
from tf2_msgs.msg import TFMessage
from vo_peer import (
    CAMERA,
    CAMERA_FRAME,
    PERIOD_NS,
    RELATIVE,
    RELATIVE_COVARIANCE,
    KnownMatcher,
    KnownTracker,
    Peer,
    frame_messages,
    picture,
    stamp_ns,
)

from ros_matching.errors import ConfigError, MatchingError, NodeError
from ros_matching.geometry.se3 import exp_so3, invert, pose_from
from ros_matching.io.trajectory import read_kitti, read_tum
from ros_matching.msg import VoStatus
from ros_matching.nodes.conversions import (
    UNKNOWN_VARIANCE,
    header_to_msg,
    image_from_msg,
    image_to_compressed_msg,
    pose_from_msg,
    stamp_ns_from_msg,
    stamp_to_msg,
    transform_from_msg,
    transform_to_msg,
)
from ros_matching.nodes.mounting import BODY_FROM_OPTICAL
from ros_matching.nodes.spinning import spinning
from ros_matching.nodes.vo_node import VoNode

pytestmark = pytest.mark.ros

SUCCESS = TransitionCallbackReturn.SUCCESS
BASE_FROM_CAMERA = pose_from(exp_so3([-1.2, 0.3, -1.5]), np.array([0.4, -0.1, 0.9]))


@pytest.fixture
def start(context, monkeypatch):
    """Bring up vo_node with these parameters, and its peer, and give (node, tracker, peer)."""
    monkeypatch.setattr("ros_matching.nodes.managed_node.DIAGNOSTICS_PERIOD_S", 0.1)
    with contextlib.ExitStack() as stack:

        def start(*, listen_to=None, latched_info=False, settle=True, **parameters):
            parameters = {"camera_mount": "identity", **parameters}
            trackers = []

            def make_tracker(matcher, config):
                trackers.append(KnownTracker(matcher, config))
                return trackers[-1]

            node = VoNode(
                load=lambda name, device: KnownMatcher(),
                make_tracker=make_tracker,
                context=context,
                parameter_overrides=[Parameter(name, value=value) for name, value in parameters.items()],
            )
            options = {} if listen_to is None else {"listen_to": listen_to}
            compressed = parameters.get("transport") == "compressed"
            peer = Peer(context, latched_info=latched_info, compressed=compressed, **options)
            assert node.bring_up()
            stack.enter_context(spinning(SingleThreadedExecutor(context=context), node, peer))
            if settle:
                peer.wait_until_matched()
            return node, trackers[0], peer

        yield start


def test_what_is_published_for_a_tracked_image(start):
    _, tracker, peer = start()
    first, second = peer.send_frame(0), peer.send_frame(1)
    np.testing.assert_array_equal(tracker.frames[1].image, picture(1))
    assert tracker.frames[1].camera == CAMERA
    assert (first.state, first.reason) == (VoStatus.INITIALIZING, "waiting for parallax")
    assert (second.state, second.reason) == (VoStatus.TRACKING, "")
    assert (second.frames_received, second.frames_tracked, second.inliers, second.matches) == (2, 1, 2, 5)
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


def test_the_keyframe_and_the_debug_image(start):
    _, tracker, peer = start()
    peer.send_frame(0)
    peer.send_frame(1)
    keyframe = peer.last("keyframe")
    assert (keyframe.header.frame_id, keyframe.image.header.frame_id) == ("odom", CAMERA_FRAME)
    assert stamp_ns_from_msg(keyframe.header.stamp) == stamp_ns(1)
    np.testing.assert_allclose(pose_from_msg(keyframe.pose), BODY_FROM_OPTICAL @ RELATIVE, atol=1e-9)
    np.testing.assert_array_equal(image_from_msg(keyframe.image), picture(1))
    assert not any(keyframe.camera_info.d)
    np.testing.assert_allclose(keyframe.sparse_points, [10, 12, 2, 30.5, 20.25, 3])
    drawn = image_from_msg(peer.last("debug_image", count=2))
    u, v = tracker.frames[1].image.shape[1] // 2, 20
    assert drawn.shape == picture(1).shape
    np.testing.assert_array_equal(drawn[20, 30], (60, 210, 60))  # a tracked point
    np.testing.assert_array_equal(drawn[v - 10, u + 20], picture(1)[v - 10, u + 20])  # what lies beside them


def test_nobody_gets_what_nobody_asked_for(start, monkeypatch):
    monkeypatch.setattr("ros_matching.nodes.vo_outputs.draw_tracks", None)
    monkeypatch.setattr("ros_matching.nodes.vo_messages.keyframe_to_msg", None)
    _, _, peer = start(listen_to=("vo_status", "odom", "/diagnostics"))
    peer.send_frame(0)
    assert peer.send_frame(1).state == VoStatus.TRACKING
    assert peer.last("odom").child_frame_id == "base_link"


def test_odom_waits_for_the_mounting_and_says_so(start):
    _, _, peer = start(camera_mount="tf")
    peer.send_frame(0)
    assert peer.send_frame(1).state == VoStatus.TRACKING
    assert len(peer.received["relative_pose"]) == 1
    assert "camera_mount" in peer.diagnosis("base_link -> eye").message
    assert not any(peer.received[topic] for topic in ("odom", "/tf", "path", "keyframe"))

    link = TransformStamped(header=header_to_msg(0, "base_link"), child_frame_id=CAMERA_FRAME)
    link.transform = transform_to_msg(BASE_FROM_CAMERA)
    peer.static_transforms.publish(TFMessage(transforms=[link]))
    number = 2
    while not peer.received["odom"]:
        assert number < 200, "the mounting was not taken"
        peer.send_frame(number)
        number += 1
    world_from_camera = np.linalg.matrix_power(RELATIVE, number - 1)
    expected = BASE_FROM_CAMERA @ world_from_camera @ invert(BASE_FROM_CAMERA)
    np.testing.assert_allclose(pose_from_msg(peer.last("odom").pose.pose), expected, atol=1e-6)
    peer.diagnosis("tracking")


def test_a_frame_name_is_needed_for_the_mounting(start):
    _, _, peer = start(camera_mount="tf")
    msg, info = frame_messages(0)
    msg.header.frame_id = ""
    peer.send(msg, info)
    peer.diagnosis("camera_frame")


def test_frames_and_tf_by_parameter(start):
    frames = {"odom_frame": "world", "base_frame": "drone", "camera_frame": "lens"}
    topics = ("vo_status", "odom", "relative_pose", "path")
    _, _, peer = start(**frames, publish_tf=False, path_length=2, path_period_s=0.0, listen_to=topics)
    for number in range(5):
        status = peer.send_frame(number)
    odom = peer.last("odom", count=4)
    assert (odom.header.frame_id, odom.child_frame_id, status.header.frame_id) == ("world", "drone", "lens")
    assert peer.last("relative_pose", count=4).header.frame_id == "lens"
    assert len(peer.last("path", count=4).poses) == 2
    assert peer.count_publishers("/tf") == 0


def test_lost_is_lost(start):
    _, tracker, peer = start()
    peer.send_frame(0)
    peer.send_frame(1)
    tracker.is_lost = True
    status = peer.send_frame(2)
    assert (status.state, status.reason, status.frames_lost) == (VoStatus.LOST, "it is dark", 1)
    assert len(peer.received["odom"]) == len(peer.received["relative_pose"]) == 1
    diagnosis = peer.diagnosis("it is dark")
    assert diagnosis.level == DiagnosticStatus.WARN
    assert "~/reset" in diagnosis.message


def test_compressed_images(start):
    _, tracker, peer = start(transport="compressed")
    _, info = frame_messages(0)
    flat = np.full((CAMERA.height, CAMERA.width, 3), (200, 100, 50), np.uint8)
    peer.send(image_to_compressed_msg(flat, info.header), info)
    assert np.abs(tracker.frames[0].image.astype(int) - flat).max() <= 3


def test_the_newest_image_wins_and_drops_are_counted(start):
    node, tracker, peer = start()
    peer.send_frame(0)
    tracker.gate = threading.Event()
    peer.images.publish(frame_messages(1)[0])
    _wait_until(lambda: node._statistics.received == 2 and node._worker.waiting == 0)
    for number in (2, 3, 4):
        peer.images.publish(frame_messages(number)[0])
        _wait_until(lambda number=number: node._statistics.received == number + 1)
    tracker.gate.set()
    status = peer.status_of(stamp_ns(4))
    assert [frame.stamp_ns for frame in tracker.frames] == [stamp_ns(number) for number in (0, 1, 4)]
    assert (status.frames_received, status.frames_dropped) == (5, 2)


def test_camera_info_may_come_after_the_first_image(start):
    _, tracker, peer = start(camera_info_wait_s=10.0)
    msg, info = frame_messages(0)
    peer.images.publish(msg)
    threading.Timer(0.3, lambda: peer.infos.publish(info)).start()
    peer.status_of(stamp_ns(0))
    assert len(tracker.frames) == 1


def test_camera_info_may_be_latched(start):
    _, tracker, peer = start(latched_info=True, camera_info_wait_s=10.0, settle=False)
    msg, info = frame_messages(0)
    peer.infos.publish(info)
    _wait_until(lambda: peer.images.get_subscription_count())
    peer.send(msg, None)
    assert len(tracker.frames) == 1


BAD_IMAGES = {
    "encoding": ({"encoding": "jello8"}, "jello8"),
    "truncated": ({"data": b"\0" * 100}, "bytes"),
    "another size": ({"height": 24}, "64x24.*64x48"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_bad_image_is_told_and_survived(start, case):
    change, words = BAD_IMAGES[case]
    _, tracker, peer = start()
    for number in range(3):
        status = peer.send_frame(number, **change)
        assert status.state == VoStatus.INITIALIZING
        _assert_words(status.reason, words)
    diagnosis = peer.diagnosis(status.reason)
    assert diagnosis.level == DiagnosticStatus.ERROR
    assert _value(diagnosis, "frames refused or paused") == "3"
    peer.send_frame(3)
    assert len(tracker.frames) == 1
    peer.diagnosis("initializing")


BAD_INFOS = {
    "zero K": ({"k": [0.0] * 9}, "not calibrated.*camera_calibration"),
    "NaN": ({"k": [float("nan"), 0, 1, 0, 60, 1, 0, 0, 1]}, "finite"),
    "unknown lens": ({"d": [0.1] * 5, "distortion_model": "funhouse"}, "funhouse"),
    "wrong count": ({"d": [0.1] * 7, "distortion_model": "plumb_bob"}, "plumb_bob"),
}


@pytest.mark.parametrize("case", BAD_INFOS)
def test_a_bad_calibration_is_told_and_survived(start, case):
    change, words = BAD_INFOS[case]
    _, tracker, peer = start()
    msg, info = frame_messages(0)
    for name, value in change.items():
        setattr(info, name, value)
    _assert_words(peer.send(msg, info).reason, words)
    assert peer.diagnosis("CameraInfo").level == DiagnosticStatus.ERROR
    number = 1
    while not tracker.frames:  # the two topics come in no order
        assert number < 10
        peer.send_frame(number)
        number += 1


def test_no_camera_info_is_told(start):
    _, tracker, peer = start(camera_info_wait_s=0.1)
    for number in range(2):
        assert "camera_info" in peer.send(frame_messages(number)[0], None).reason
    peer.diagnosis("no CameraInfo has come")
    assert not tracker.frames


def test_a_calibration_that_stops_coming_is_told_and_used(start):
    _, tracker, peer = start()
    for number in range(2):
        peer.send_frame(number)
    peer.send(frame_messages(200)[0], None)
    assert len(tracker.frames) == 3
    assert peer.diagnosis("CameraInfo was repeated, and then stopped").level == DiagnosticStatus.WARN


def test_zero_stamps_and_repeated_stamps_are_told(start):
    _, tracker, peer = start()
    msg, info = frame_messages(0)
    msg.header = header_to_msg(0, CAMERA_FRAME)
    peer.send(msg, info)  # a clock may start at zero
    peer.images.publish(msg)
    peer.diagnosis("carry no time")
    peer.send_frame(1)
    peer.images.publish(frame_messages(1)[0])
    peer.diagnosis("stamp of the one before")
    assert [frame.stamp_ns for frame in tracker.frames] == [0, stamp_ns(1)]


def test_time_that_jumps_back_starts_anew(start):
    _, tracker, peer = start()
    for number in (10, 11, 12):
        peer.send_frame(number)
    assert peer.send_frame(3).state == VoStatus.INITIALIZING
    assert peer.send_frame(4).state == VoStatus.TRACKING
    assert tracker.resets == 1
    np.testing.assert_allclose(
        pose_from_msg(peer.last("odom", count=3).pose.pose),
        BODY_FROM_OPTICAL @ RELATIVE @ invert(BODY_FROM_OPTICAL),
        atol=1e-9,
    )


def test_a_camera_that_changes_starts_anew(start):
    _, tracker, peer = start()
    for number in range(2):
        peer.send_frame(number)
    half = CAMERA.scaled(32, 24)
    number = 2
    while tracker.frames[-1].camera != half:  # the two topics come in no order
        assert number < 10
        peer.send_frame(number, half)
        number += 1
    assert tracker.resets == 1
    assert peer.send_frame(number, half).state == VoStatus.TRACKING


def test_a_tracker_that_fails_is_reset_and_told(start):
    _, tracker, peer = start()
    peer.send_frame(0)
    tracker.error = ZeroDivisionError("what now")
    assert "ZeroDivisionError: what now" in peer.send_frame(1).reason
    assert peer.diagnosis("what now").level == DiagnosticStatus.ERROR
    assert tracker.resets == 1
    tracker.error = None
    assert peer.send_frame(2).state == VoStatus.INITIALIZING
    assert peer.send_frame(3).state == VoStatus.TRACKING
    peer.diagnosis("tracking")


def test_the_services(start, tmp_path):
    node, tracker, peer = start()
    assert "no image has been tracked" in _save(node, peer, tmp_path / "early.tum").message
    for number in range(4):
        peer.send_frame(number)
    answer = _save(node, peer, tmp_path / "new" / "trajectory.tum")
    assert answer.success
    assert str(tmp_path / "new" / "trajectory.tum") in answer.message
    saved = read_tum(tmp_path / "new" / "trajectory.tum")
    assert saved.stamps_ns.tolist() == [stamp_ns(number) for number in (1, 2, 3)]
    np.testing.assert_allclose(saved.world_from_camera[2], RELATIVE @ RELATIVE @ RELATIVE, atol=1e-6)
    assert _save(node, peer, tmp_path / "t.kitti", "kitti").success
    assert len(read_kitti(tmp_path / "t.kitti")) == 3

    assert peer.call("pause", SetBool.Request(data=True)).success
    assert "paused" in peer.send_frame(4).reason
    assert len(tracker.frames) == 4
    assert peer.call("pause", SetBool.Request(data=False)).success
    assert peer.send_frame(5).state == VoStatus.TRACKING

    assert peer.call("reset").success
    assert peer.send_frame(6).state == VoStatus.INITIALIZING
    assert tracker.resets == 1
    assert "no image has been tracked" in _save(node, peer, tmp_path / "late.tum").message


def test_nobody_sends_pictures(start, monkeypatch):
    monkeypatch.setattr("ros_matching.nodes.vo_node._SILENCE_S", 0.0)
    _, _, peer = start()
    assert "/image" in peer.diagnosis("no picture has come").message


def test_the_life_of_the_node(start):
    node, tracker, peer = start()
    peer.send_frame(0)
    assert node._matcher.matched == 1  # the warm-up
    refused = node.set_parameters([Parameter("tracking.min_inliers", value=30)])[0]
    assert not refused.successful
    assert "clean the node up first" in refused.reason
    assert not node.set_parameters([Parameter("trajectory_format", value="paper")])[0].successful

    assert node.trigger_deactivate() == SUCCESS
    assert "inactive" in peer.diagnosis("inactive").message
    peer.images.publish(frame_messages(1)[0])
    assert node.trigger_activate() == SUCCESS
    peer.wait_until_matched()
    assert peer.send_frame(2).state == VoStatus.TRACKING
    assert [frame.stamp_ns for frame in tracker.frames] == [stamp_ns(0), stamp_ns(2)]

    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    answer = peer.call("reset")
    assert not answer.success
    assert "unconfigured" in answer.message
    assert node.set_parameters([Parameter("tracking.min_inliers", value=30)])[0].successful
    assert node.trigger_configure() == SUCCESS
    assert node._pipeline._parts.tracker.config.min_inliers == 30


def test_a_transition_that_cannot_be_is_refused_and_survived(start):
    _, _, peer = start()
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    assert not peer.call("change_state", request).success
    assert peer.send_frame(0).state == VoStatus.INITIALIZING


def test_a_clock_that_jumps_back_starts_anew(start):
    node, tracker, peer = start(use_sim_time=True)
    clock = peer.create_publisher(Clock, "/clock", 10)
    _wait_until(lambda: clock.get_subscription_count())
    for number in (10, 11, 3):
        clock.publish(Clock(clock=stamp_to_msg(stamp_ns(number))))
        _wait_until(lambda number=number: node.get_clock().now().nanoseconds == stamp_ns(number))
        assert peer.send_frame(20 + number if number > 3 else 40).state == (
            VoStatus.TRACKING if number == 11 else VoStatus.INITIALIZING
        )
    assert tracker.resets == 1


def test_an_incompatible_quality_of_service_is_told(start):
    topic = "/image"
    _, _, peer = start(**{f"qos_overrides.{topic}.subscription.reliability": "reliable"})
    peer.create_publisher(Image, topic, QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    assert f"qos_overrides.{topic}.subscription.reliability" in peer.diagnosis("incompatible").message


def test_the_log_of_the_library_goes_to_ros(start, capfd):
    start(settle=False)
    logging.getLogger("ros_matching.tracking.some_part").warning("the scale is a guess")
    _wait_until(lambda: "[WARN]" in (text := capfd.readouterr().err) and "the scale is a guess" in text)


def test_a_front_end_that_does_not_load_is_told(context, capfd):
    def load(name, device):
        raise MatchingError(f"there is no front end {name!r}")

    node = VoNode(load=load, context=context, parameter_overrides=[Parameter("backend", value="magic")])
    assert not node.bring_up()
    assert node.state == "unconfigured"
    node.destroy_node()
    assert "there is no front end 'magic'" in capfd.readouterr().err


def test_a_transition_that_fails_leaves_nothing_behind(context, capfd):
    class ColdMatcher(KnownMatcher):
        def match(self, rgb0, rgb1):
            raise RuntimeError("too cold")

    node = VoNode(load=lambda name, device: ColdMatcher(), make_tracker=KnownTracker, context=context)
    before = {publisher.topic_name for publisher in node.publishers}
    assert not node.bring_up()
    assert "too cold" in capfd.readouterr().err
    assert node.state == "unconfigured"
    assert {publisher.topic_name for publisher in node.publishers} == before
    assert not any(subscription.topic_name in ("/image", "/tf_static") for subscription in node.subscriptions)
    node.destroy_node()


@pytest.mark.parametrize(
    ("name", "value", "error"), [("transport", "pigeon", ConfigError), ("path_length", 0, NodeError)]
)
def test_a_wrong_parameter_keeps_the_node_from_starting(context, name, value, error):
    with pytest.raises(error, match=name):
        VoNode(context=context, parameter_overrides=[Parameter(name, value=value)])


def test_an_unknown_velocity_has_a_large_variance(start, monkeypatch):
    _, tracker, peer = start()
    known = tracker._tracked
    monkeypatch.setattr(tracker, "_tracked", lambda frame, pose: _without_relative_pose(known(frame, pose)))
    peer.send_frame(0)
    peer.send_frame(1)
    odom = peer.last("odom")
    assert odom.twist.covariance[0] == UNKNOWN_VARIANCE
    assert not peer.received["relative_pose"]


def _without_relative_pose(result):
    return replace(result, previous_from_current=None, relative_covariance=None)


def _save(node, peer, path, file_format="tum"):
    settings = [Parameter("trajectory_file", value=str(path)), Parameter("trajectory_format", value=file_format)]
    assert all(result.successful for result in node.set_parameters(settings))
    return peer.call("save_trajectory")


def _value(diagnosis, key: str) -> str:
    return next(pair.value for pair in diagnosis.values if pair.key == key)


def _assert_words(text: str, pattern: str) -> None:
    assert re.search(pattern, text), text


def _wait_until(condition, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
