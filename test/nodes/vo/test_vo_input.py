"""Input of vo_node: images and calibrations, valid and invalid, late, repeated and out of order."""

from __future__ import annotations

import re
import threading
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from diagnostic_msgs.msg import DiagnosticStatus
from node_peer import figure, wait_until
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from vo_peer import CAMERA, CAMERA_FRAME, RELATIVE, frame_messages, stamp_ns

from ros_matching.geometry.se3 import invert
from ros_matching.msg import VoStatus
from ros_matching.nodes.common.conversions import header_to_msg, image_to_compressed_msg, pose_from_msg, stamp_to_msg
from ros_matching.nodes.common.extrinsics import BODY_FROM_OPTICAL

pytestmark = pytest.mark.ros


def test_compressed_images(start_vo):
    _, tracker, peer = start_vo(transport="compressed")
    _, info = frame_messages(0)
    flat = np.full((CAMERA.height, CAMERA.width, 3), (200, 100, 50), np.uint8)
    peer.send(image_to_compressed_msg(flat, info.header), info)
    assert np.abs(tracker.frames[0].image.astype(int) - flat).max() <= 3


def test_the_newest_image_wins_and_drops_are_counted(start_vo):
    node, tracker, peer = start_vo()
    peer.send_frame(0)
    tracker.gate = threading.Event()
    peer.images.publish(frame_messages(1)[0])
    wait_until(lambda: node._statistics.received == 2 and node._worker.waiting == 0)
    for number in (2, 3, 4):
        peer.images.publish(frame_messages(number)[0])
        wait_until(lambda number=number: node._statistics.received == number + 1)
    tracker.gate.set()
    status = peer.status_of(stamp_ns(4))
    assert [frame.stamp_ns for frame in tracker.frames] == [stamp_ns(number) for number in (0, 1, 4)]
    assert (status.frames_received, status.frames_dropped) == (5, 2)


def test_camera_info_may_come_after_the_first_image(start_vo):
    _, tracker, peer = start_vo(camera_info_wait_s=10.0)
    msg, info = frame_messages(0)
    peer.images.publish(msg)
    threading.Timer(0.3, lambda: peer.infos.publish(info)).start()
    peer.status_of(stamp_ns(0))
    assert len(tracker.frames) == 1


def test_camera_info_may_be_latched(start_vo):
    _, tracker, peer = start_vo(latched_info=True, camera_info_wait_s=10.0, settle=False)
    msg, info = frame_messages(0)
    peer.infos.publish(info)
    wait_until(lambda: peer.images.get_subscription_count())
    peer.send(msg, None)
    assert len(tracker.frames) == 1


BAD_IMAGES = {
    "encoding": ({"encoding": "jello8"}, "jello8"),
    "truncated": ({"data": b"\0" * 100}, "bytes"),
    "another size": ({"height": 24}, "64x24.*64x48"),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_bad_image_is_reported_and_handled(start_vo, case):
    change, words = BAD_IMAGES[case]
    _, tracker, peer = start_vo()
    for number in range(3):
        status = peer.send_frame(number, **change)
        assert status.state == VoStatus.INITIALIZING
        _assert_words(status.reason, words)
    diagnosis = peer.diagnosis(status.reason)
    assert diagnosis.level == DiagnosticStatus.ERROR
    assert figure(diagnosis, "frames refused or paused") == "3"
    peer.send_frame(3)
    assert len(tracker.frames) == 1
    peer.diagnosis("initializing")


BAD_INFOS = {
    "zero K": ({"k": [0.0] * 9}, "not calibrated.*camera_calibration"),
    "NaN": ({"k": [float("nan"), 0, 1, 0, 60, 1, 0, 0, 1]}, "finite"),
    "unknown lens": ({"d": [0.1] * 5, "distortion_model": "funhouse"}, "funhouse"),
    "wrong count": ({"d": [0.1] * 15, "distortion_model": "plumb_bob"}, "plumb_bob"),
}


@pytest.mark.parametrize("case", BAD_INFOS)
def test_a_bad_calibration_is_reported_and_handled(start_vo, case):
    change, words = BAD_INFOS[case]
    _, tracker, peer = start_vo()
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


def test_no_camera_info_is_reported(start_vo):
    _, tracker, peer = start_vo(camera_info_wait_s=0.1)
    for number in range(2):
        assert "camera_info" in peer.send(frame_messages(number)[0], None).reason
    peer.diagnosis("CameraInfo")
    assert not tracker.frames


def test_a_calibration_that_is_no_longer_repeated_is_reported_and_used(start_vo):
    _, tracker, peer = start_vo()
    for number in range(2):
        peer.send_frame(number)
    for number in (200, 201, 202):  # after a gap
        peer.send(frame_messages(number)[0], None)
    assert len(tracker.frames) == 3
    assert peer.diagnosis("CameraInfo is no longer repeated").level == DiagnosticStatus.WARN


def test_zero_stamps_and_repeated_stamps_are_reported(start_vo):
    _, tracker, peer = start_vo()
    msg, info = frame_messages(0)
    msg.header = header_to_msg(0, CAMERA_FRAME)
    for _ in range(2):
        assert "has no time" in peer.send(msg, info).reason
    peer.diagnosis("has no time")
    peer.send_frame(1)
    peer.images.publish(frame_messages(1)[0])
    diagnosis = peer.diagnosis("repeats the stamp")
    assert figure(diagnosis, "frames refused: stamp") == "3"
    assert [frame.stamp_ns for frame in tracker.frames] == [stamp_ns(1)]


ODD_STAMPS = {
    "zero": 0,
    "negative": -5 * 10**9,
    "far ahead": stamp_ns(5) + 10**12,
    "a bit ahead": stamp_ns(12) + 10**7,
    "back": 10**9,
}


@pytest.mark.parametrize("case", ODD_STAMPS)
def test_one_odd_stamp_is_refused_and_counted_and_resets_nothing(start_vo, case):
    _, tracker, peer = start_vo()
    for number in range(4):
        peer.send_frame(number)
    msg, info = frame_messages(4)
    msg.header = header_to_msg(ODD_STAMPS[case], CAMERA_FRAME)
    status = peer.send(msg, info)
    for number in range(5, 16):
        last = peer.send_frame(number)
    assert last.state == VoStatus.TRACKING
    assert tracker.resets == 0
    if case != "a bit ahead":  # that one is tracked, and those before it are refused until time has passed it
        assert "stamp" in status.reason
        assert (last.frames_refused, len(tracker.frames)) == (1, 15)
    assert len(tracker.frames) + last.frames_refused == 16


def test_two_neighbors_that_are_swapped_reset_nothing(start_vo):
    _, tracker, peer = start_vo()
    for number in (0, 1, 3, 2, 4, 6, 5, 7):
        peer.send_frame(number)
    assert [frame.stamp_ns for frame in tracker.frames] == [stamp_ns(number) for number in (0, 1, 3, 4, 6, 7)]
    assert tracker.resets == 0


def test_a_gap_is_no_new_start(start_vo):
    _, tracker, peer = start_vo()
    for number in (0, 1, 2, 3000, 3001, 3002, 3003):
        status = peer.send_frame(number)
    assert (status.state, tracker.resets) == (VoStatus.TRACKING, 0)


@pytest.mark.parametrize(("half", "frame_id"), [(True, CAMERA_FRAME), (False, "other_eye"), (True, "other_eye")])
def test_two_cameras_on_one_topic_are_named_and_one_is_used(start_vo, half, frame_id):
    _, tracker, peer = start_vo()
    other = CAMERA.scaled(32, 24) if half else CAMERA
    second = peer.create_publisher(Image, "image", 10)
    wait_until(lambda: second.get_subscription_count())
    for number in range(0, 12, 2):
        peer.send_frame(number)
        msg, info = frame_messages(number + 1, other)
        msg.header.frame_id = frame_id
        peer.infos.publish(info)
        second.publish(msg)
        reason = peer.status_of(stamp_ns(number + 1)).reason
        assert "one camera" in reason or "CameraInfo" in reason
    assert {frame.camera for frame in tracker.frames} == {CAMERA}
    assert tracker.resets == 0
    assert "/peer" in figure(peer.diagnosis(""), "problem: publishers")


def test_one_odd_calibration_resets_nothing(start_vo):
    _, tracker, peer = start_vo()
    for number in range(3):
        peer.send_frame(number)
    for change in ({"k": [0.0] * 9}, {"k": [90.0, 0, 31.5, 0, 90.0, 23.5, 0, 0, 1]}, {"width": 12000, "height": 12000}):
        msg, info = frame_messages(number + 1)
        for name, value in change.items():
            setattr(info, name, value)
        peer.send(msg, info)
        number += 2
        assert peer.send_frame(number).state == VoStatus.TRACKING
    assert tracker.resets == 0


def test_a_persistent_change_of_calibration_resets(start_vo):
    _, tracker, peer = start_vo()
    for number in range(3):
        peer.send_frame(number)
    zoomed = replace(CAMERA, fx=90.0, fy=90.0)
    while tracker.frames[-1].camera != zoomed:
        assert number < 12
        peer.send_frame(number := number + 1, zoomed)
    assert tracker.resets == 1


def test_an_image_too_small_for_the_matcher_is_no_failure_of_the_tracker(start_vo, monkeypatch):
    monkeypatch.setattr("vo_peer.KnownMatcher.min_side_px", 50)
    _, tracker, peer = start_vo()
    assert "50 pixels" in peer.send_frame(0).reason
    assert not tracker.frames


def test_a_jump_back_in_time_resets(start_vo):
    _, tracker, peer = start_vo()
    for number in (10, 11, 12):
        peer.send_frame(number)
    for number in (1, 2):  # may be odd ones
        assert "before the last one" in peer.send_frame(number).reason
    assert peer.send_frame(3).state == VoStatus.INITIALIZING
    assert peer.send_frame(4).state == VoStatus.TRACKING
    assert tracker.resets == 1
    np.testing.assert_allclose(
        pose_from_msg(peer.last("odom", count=3).pose.pose),
        BODY_FROM_OPTICAL @ RELATIVE @ invert(BODY_FROM_OPTICAL),
        atol=1e-9,
    )


def test_a_changed_camera_resets(start_vo):
    _, tracker, peer = start_vo()
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


def test_a_missing_publisher_of_images_is_reported(start_vo, monkeypatch):
    monkeypatch.setattr("ros_matching.nodes.vo.vo_node._SILENCE_S", 0.0)
    _, _, peer = start_vo()
    assert "/image" in peer.diagnosis("no image").message


def test_a_clock_that_jumps_back_resets(start_vo):
    node, tracker, peer = start_vo(use_sim_time=True)
    clock = peer.create_publisher(Clock, "/clock", 10)
    wait_until(lambda: clock.get_subscription_count())
    for number in (10, 11, 3):
        clock.publish(Clock(clock=stamp_to_msg(stamp_ns(number))))
        wait_until(lambda number=number: node.get_clock().now().nanoseconds == stamp_ns(number))
        assert peer.send_frame(20 + number if number > 3 else 40).state == (
            VoStatus.TRACKING if number == 11 else VoStatus.INITIALIZING
        )
    assert tracker.resets == 1


def test_a_simulation_that_starts_again_at_zero_is_a_new_start(start_vo):
    node, tracker, peer = start_vo(use_sim_time=True)
    clock = peer.create_publisher(Clock, "/clock", 10)
    wait_until(lambda: clock.get_subscription_count())
    peer.send_frame(10)
    for ns in (5 * 10**9, 6 * 10**9, 10**7):
        clock.publish(Clock(clock=stamp_to_msg(ns)))
        wait_until(lambda ns=ns: node.get_clock().now().nanoseconds == ns)
    peer.send_frame(11)
    assert tracker.resets == 1


@pytest.mark.parametrize("odd", [3, 10**6])
def test_one_odd_tick_of_the_clock_resets_nothing(start_vo, odd):
    node, tracker, peer = start_vo(use_sim_time=True)
    clock = peer.create_publisher(Clock, "/clock", 10)
    wait_until(lambda: clock.get_subscription_count())
    peer.send_frame(10)
    for number in (10, 11, odd, 12):
        clock.publish(Clock(clock=stamp_to_msg(stamp_ns(number))))
        wait_until(lambda number=number: node.get_clock().now().nanoseconds == stamp_ns(number))
    assert peer.send_frame(12).state == VoStatus.TRACKING
    assert tracker.resets == 0


def test_an_incompatible_quality_of_service_is_reported(start_vo):
    topic = "/image"
    _, _, peer = start_vo(**{f"qos_overrides.{topic}.subscription.reliability": "reliable"})
    peer.create_publisher(Image, topic, QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    assert f"qos_overrides.{topic}.subscription.reliability" in peer.diagnosis("incompatible").message


def _assert_words(text: str, pattern: str) -> None:
    assert re.search(pattern, text), text


def test_images_that_do_not_arrive_are_counted_and_the_remedy_is_named(start_vo):
    _, _, peer = start_vo(**{"qos_overrides./image.subscription.reliability": "best_effort"})
    for number in (0, 1, 2, 4, 5, 8, 9, 10):
        status = peer.send_frame(number)
    assert (status.frames_received, status.frames_missing) == (8, 3)
    diagnosis = peer.diagnosis("3 of the last 10 images")
    assert "qos_overrides./image.subscription.reliability" in diagnosis.message
    assert (diagnosis.level, figure(diagnosis, "frames missing")) == (DiagnosticStatus.WARN, "3")
