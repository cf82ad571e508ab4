"""Keyframes that come too fast to mapping_node, or cannot be used, or do not come."""

from __future__ import annotations

import re
import threading

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from diagnostic_msgs.msg import DiagnosticStatus
from node_peer import figure, wait_until
from rclpy.qos import QoSProfile, ReliabilityPolicy

from ros_matching.msg import Keyframe as KeyframeMsg

pytestmark = pytest.mark.ros


def test_a_full_queue_drops_the_oldest_and_counts_it(start_mapping):
    node, mapper, peer = start_mapping(queue_length=2)
    mapper.gate = threading.Event()
    peer.send(0)
    wait_until(lambda: node._statistics.received == 1 and node._worker.waiting == 0)
    for number in range(1, 6):
        peer.send(number)
        wait_until(lambda number=number: node._statistics.received == number + 1)
    mapper.gate.set()
    wait_until(lambda: len(mapper.seen) == 3)
    assert mapper.seen == [0, 4, 5]
    assert figure(peer.diagnosis("mapped keyframe 5"), "keyframes dropped") == "3"


BAD_KEYFRAMES = {
    "pose": ({"pose": None}, "finite numbers"),
    "image": ({"image": None}, "encoding|0x0"),
    "calibration": ({"camera_info": None}, "not calibrated"),
    "sparse points": ({"sparse_points": [1.0, 2.0]}, "u, v and depth"),
    "sparse NaN": ({"sparse_points": [1.0, 2.0, float("nan")]}, "finite"),
    "sparse depth": ({"sparse_points": [1.0, 2.0, -3.0]}, "positive"),
    "too many sparse points": ({"sparse_points": [1.0] * (3 * 64 * 48 + 3)}, "no more points than pixels"),
    "scale": ({"scale": 7}, "one of"),
}


@pytest.mark.parametrize("case", BAD_KEYFRAMES)
def test_a_bad_keyframe_is_reported_and_handled(start_mapping, case, capfd):
    change, words = BAD_KEYFRAMES[case]
    empty = KeyframeMsg()
    empty.pose.position.x = float("nan")
    change = {name: getattr(empty, name) if value is None else value for name, value in change.items()}
    _, mapper, peer = start_mapping()
    for number in range(3):
        peer.send(number, **change)
    diagnosis = peer.diagnosis("keyframe 2 cannot be used")
    assert diagnosis.level == DiagnosticStatus.WARN
    assert figure(diagnosis, "keyframes refused") == "3"
    logged = [line for line in capfd.readouterr().err.splitlines() if "cannot be used" in line]
    assert len(logged) == 1
    assert re.search(words, logged[0]), logged
    peer.send(3)
    peer.diagnosis("mapped keyframe 3")
    assert mapper.seen == [3]


def test_a_refused_keyframe_is_reported_once(start_mapping, capfd):
    _, mapper, peer = start_mapping()
    mapper.refusal = "too few views see keyframe"
    for number in range(3):
        peer.send(number)
    diagnosis = peer.diagnosis("keyframe 2 is not mapped")
    assert (diagnosis.level, figure(diagnosis, "keyframes refused")) == (DiagnosticStatus.WARN, "3")
    assert capfd.readouterr().err.count("is not mapped") == 1
    mapper.refusal = ""
    peer.send(3)
    assert peer.diagnosis("mapped keyframe 3").level == DiagnosticStatus.OK


def test_a_mapper_that_fails_is_cleared_and_told(start_mapping, capfd):
    _, mapper, peer = start_mapping()
    peer.send(0, sparse_points=[1.0])
    peer.diagnosis("cannot be used")
    mapper.error = ZeroDivisionError("what now")
    peer.send(0)
    assert peer.diagnosis("ZeroDivisionError: what now").level == DiagnosticStatus.ERROR
    assert mapper.clears == 1
    log = capfd.readouterr().err
    assert {"[WARN]", "[ERROR]"} <= set(log.split()), log  # rclpy refuses two severities from one line of code
    mapper.error = None
    peer.send(1)
    peer.diagnosis("mapped keyframe 1")


def test_a_missing_publisher_of_keyframes_is_reported(start_mapping):
    _, _, peer = start_mapping(listen_to=("/diagnostics",))
    peer.destroy_publisher(peer.keyframes)
    diagnosis = peer.diagnosis("/keyframe has no publisher")
    assert "vo_node" in diagnosis.message


def test_an_incompatible_quality_of_service_is_reported(start_mapping):
    _, _, peer = start_mapping()
    peer.create_publisher(KeyframeMsg, "keyframe", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    assert "qos_overrides./keyframe.subscription.reliability" in peer.diagnosis("incompatible").message
