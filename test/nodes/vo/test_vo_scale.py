"""Scale sources of vo_node, and the state of the scale in its messages."""

from __future__ import annotations

import math
import threading
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Odometry
from node_peer import TIMEOUT_S, wait_until
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image
from vo_peer import CAMERA, CAMERA_FRAME, RELATIVE_COVARIANCE, VoPeer, noise_image, stamp_ns

from ros_matching.datatypes import ScaleState
from ros_matching.errors import ConfigError
from ros_matching.geometry.se3 import exp_so3, pose_from
from ros_matching.io import open_source
from ros_matching.msg import VoStatus
from ros_matching.nodes.common.conversions import (
    UNKNOWN_VARIANCE,
    camera_to_msg,
    header_to_msg,
    image_to_msg,
    stamp_ns_from_msg,
    stamp_to_msg,
)
from ros_matching.nodes.common.spinning import spinning
from ros_matching.nodes.vo import scale_input
from ros_matching.nodes.vo.calibration_input import right_from_camera_infos
from ros_matching.nodes.vo.scale_input import StampedBuffer
from ros_matching.nodes.vo.vo_node import VoNode

pytestmark = pytest.mark.ros

BASELINE_M = 0.1
RESEND_S = 2.0


class Beside:
    """Publishes auxiliary messages, and waits until vo_node has subscribed to them."""

    def __init__(self, peer: VoPeer, message_type: type, topic: str) -> None:
        self._publisher = peer.create_publisher(message_type, topic, 10)
        wait_until(self._publisher.get_subscription_count, f"vo_node does not listen to {topic}")

    def send(self, msg) -> None:
        self._publisher.publish(msg)

    def deliver(self, msg, node: VoNode) -> None:
        """Send an image until ``vo_node`` has it: a busy machine delays it, a subscription that adapts may lose it."""
        buffer, stamp = node._scale_input._buffer, stamp_ns_from_msg(msg.header.stamp)
        sent_s = -math.inf

        def has_arrived() -> bool:
            nonlocal sent_s
            if time.monotonic() - sent_s > RESEND_S:
                self.send(msg)
                sent_s = time.monotonic()
            return buffer.find(stamp, 0.0, 0.0) is not None

        wait_until(has_arrived, "vo_node did not get the image beside")


def depth_msg(number: int, encoding: str, offset_ns: int = 0) -> Image:
    """A slope from 1 m, its first pixel unknown."""
    metres = np.linspace(1, 3, CAMERA.width, dtype=np.float32) * np.ones((CAMERA.height, 1), np.float32)
    metres[0, 0] = np.nan
    pixels = metres if encoding == "32FC1" else np.nan_to_num(1000 * metres).round().astype(np.uint16)
    return image_to_msg(pixels, header_to_msg(stamp_ns(number) + offset_ns, CAMERA_FRAME), encoding)


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_the_depth_image_belongs_to_the_image_of_its_stamp(start_vo, encoding):
    node, tracker, peer = start_vo(**{"scale.source": "depth", "scale_wait_s": 1.0})
    depth = Beside(peer, Image, "depth/image")
    for number in range(3):
        depth.deliver(depth_msg(number, encoding, offset_ns=3_000_000), node)
        peer.send_frame(number)
    for frame in tracker.frames:
        np.testing.assert_allclose(frame.depth[1], np.linspace(1, 3, CAMERA.width), atol=6e-4)
        assert np.isnan(frame.depth[0, 0])


def test_an_image_without_its_depth_image_is_tracked(start_vo):
    _, tracker, peer = start_vo(**{"scale.source": "depth"})
    depth = Beside(peer, Image, "depth/image")
    depth.send(depth_msg(0, "32FC1", offset_ns=-500_000_000))
    assert peer.send_frame(0).state == VoStatus.INITIALIZING
    assert tracker.frames[0].depth is None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda msg: setattr(msg, "encoding", "rgb8"), "depth encoding 'rgb8'"),
        (lambda msg: setattr(msg, "height", msg.height - 8), "must be registered"),
        (lambda msg: setattr(msg, "step", 10), "needs rows of at least"),
    ],
    ids=["encoding", "size", "step"],
)
def test_depth_images_that_cannot_be_used_are_reported_once(start_vo, spoil, words):
    node, tracker, peer = start_vo(**{"scale.source": "depth", "scale_wait_s": 1.0})
    depth = Beside(peer, Image, "depth/image")
    for number in range(2):
        msg = depth_msg(number, "32FC1")
        spoil(msg)
        depth.deliver(msg, node)
        peer.send_frame(number)
    diagnosis = peer.diagnosis(words)
    assert diagnosis.level == DiagnosticStatus.WARN
    assert [frame.depth for frame in tracker.frames] == [None, None]
    depth.deliver(depth_msg(2, "32FC1"), node)
    peer.send_frame(2)
    assert tracker.frames[2].depth is not None


def right_messages(number: int, baseline_m: float = BASELINE_M) -> tuple[Image, CameraInfo]:
    header = header_to_msg(stamp_ns(number), "right_eye")
    info = camera_to_msg(CAMERA, header)
    info.p[3] = -info.p[0] * baseline_m
    return image_to_msg(noise_image(1000 + number), header), info


def test_the_right_image_belongs_to_the_image_of_its_stamp(start_vo):
    node, tracker, peer = start_vo(**{"scale.source": "stereo", "scale_wait_s": 1.0})
    images, infos = Beside(peer, Image, "right/image"), Beside(peer, CameraInfo, "right/camera_info")
    image, info = right_messages(0)
    infos.send(info)
    images.deliver(image, node)
    peer.send_frame(0)
    right = tracker.frames[0].right
    np.testing.assert_array_equal(right.image, noise_image(1000))
    np.testing.assert_allclose(right.right_from_camera, pose_from(np.eye(3), np.array([-BASELINE_M, 0, 0])))


def test_unknown_extrinsics_of_the_right_camera_are_reported(start_vo):
    _, tracker, peer = start_vo(**{"scale.source": "stereo", "scale_wait_s": 1.0})
    images, infos = Beside(peer, Image, "right/image"), Beside(peer, CameraInfo, "right/camera_info")
    for number in range(4):  # the first message to a subscriber that is just found may be lost
        image, info = right_messages(number, baseline_m=0.0)
        infos.send(info)
        images.send(image)
        peer.send_frame(number)
    assert "stereo_baseline_m" in peer.diagnosis("right camera").message
    assert all(frame.right is None for frame in tracker.frames)


def test_a_stereo_calibration_of_raw_images_is_understood():
    right_from_left = pose_from(exp_so3(np.array([0.01, 0.05, -0.02])), np.array([-0.1, 0.004, 0.01]))
    header = header_to_msg(0, "eye")
    left, right = camera_to_msg(CAMERA, header), camera_to_msg(CAMERA, header)
    # Rectification by hand: x along the baseline.
    left_from_right_center = -right_from_left[:3, :3].T @ right_from_left[:3, 3]
    x = left_from_right_center / np.linalg.norm(left_from_right_center)
    y = np.cross([0.0, 0.0, 1.0], x)
    y /= np.linalg.norm(y)
    rectified_from_left = np.stack([x, y, np.cross(x, y)])
    left.r = rectified_from_left.reshape(9)
    right.r = (rectified_from_left @ right_from_left[:3, :3].T).reshape(9)
    right.p[3] = -right.p[0] * np.linalg.norm(left_from_right_center)
    np.testing.assert_allclose(right_from_camera_infos(left, right, rectified=False), right_from_left, atol=1e-12)
    assert right_from_camera_infos(left, left, rectified=False) is None


def test_wheel_odometry_is_kept_and_bad_messages_are_handled(start_vo):
    _, tracker, peer = start_vo(**{"scale.source": "wheel"})
    wheels = Beside(peer, Odometry, "wheel_odom")
    for step, x in enumerate((0.0, 0.1, math.nan, 0.3)):
        msg = Odometry()
        msg.header.stamp = stamp_to_msg(stamp_ns(step))
        msg.pose.pose.position.x = x
        wheels.send(msg)
    odometry = tracker.scale._source._odometry
    wait_until(lambda: np.isfinite(odometry.at([stamp_ns(2)])).all(), "the wheel odometry did not come")
    assert odometry.at([stamp_ns(2)])[0, 0] == pytest.approx(0.2)


def test_covariances_of_an_unknown_scale(start_vo):
    _, tracker, peer = start_vo()
    tracker.unit = {"scale_reason": "depth: it is dark"}
    peer.send_frame(0)
    status = peer.send_frame(1)
    assert (status.scale, status.scale_source) == (VoStatus.UP_TO_SCALE, "")
    assert math.isinf(status.scale_sigma)
    assert status.scale_reason == "depth: it is dark"
    for topic in ("odom", "relative_pose"):
        covariance = peer.last(topic).pose.covariance.reshape(6, 6)
        assert (covariance.diagonal()[:3] >= UNKNOWN_VARIANCE).all()
        assert (covariance.diagonal()[3:] < 1).all()
    assert (peer.last("odom").twist.covariance.reshape(6, 6).diagonal()[:3] >= UNKNOWN_VARIANCE).all()
    assert peer.diagnosis("it is dark").level == DiagnosticStatus.WARN


def test_covariances_in_metres(start_vo):
    _, tracker, peer = start_vo()
    tracker.unit = {"scale": ScaleState.METRIC, "scale_source": "stereo", "scale_sigma": 0.1}
    peer.send_frame(0)
    status = peer.send_frame(1)
    assert (status.scale, status.scale_source, status.scale_reason) == (VoStatus.METRIC, "stereo", "")
    assert status.scale_sigma == pytest.approx(0.1)
    covariance = peer.last("relative_pose").pose.covariance.reshape(6, 6)
    added = covariance - RELATIVE_COVARIANCE
    np.testing.assert_allclose(added.diagonal(), [0, 0, (0.1 * 0.1) ** 2, 0, 0, 0], atol=1e-12)


def test_a_scale_source_without_its_settings_is_refused(context):
    overrides = [Parameter("scale.source", value="height")]
    node = VoNode(load=lambda name, device: None, context=context, parameter_overrides=overrides)
    try:
        assert not node.bring_up()
    finally:
        node.destroy_node()
    with pytest.raises(ConfigError, match="must be one of"):
        VoNode(context=context, parameter_overrides=[Parameter("scale.source", value="sonar")])


def test_the_buffer_finds_the_nearest_and_waits_for_what_is_late(monkeypatch):
    monkeypatch.setattr(scale_input, "_ALIVE_S", float("inf"))
    never_s = 1e6  # a wait that would end the test
    buffer = StampedBuffer(capacity=3)
    assert buffer.find(0, tolerance_s=1.0, wait_s=5.0) is None  # nothing has ever come: no wait
    for second in (1, 2, 3, 4):
        buffer.put(Image(header=header_to_msg(second * 10**9, "")))
    assert buffer.find(2_400_000_000, 0.5, 0.0).header.stamp.sec == 2
    assert buffer.find(1_000_000_000, 0.5, 0.0) is None
    assert buffer.find(2_500_000_000, 0.1, never_s) is None  # later ones are there already
    late = threading.Timer(0.05, lambda: buffer.put(Image(header=header_to_msg(5 * 10**9, ""))))
    late.start()
    assert buffer.find(5 * 10**9, 0.1, TIMEOUT_S).header.stamp.sec == 5
    for odd_ns in (0, -(10**9), 10**9, 10**15):
        buffer.put(Image(header=header_to_msg(odd_ns, "")))
    buffer.put(Image(header=header_to_msg(6 * 10**9, "")))
    assert buffer.find(6 * 10**9, 0.1, 0.0).header.stamp.sec == 6
    for second in (1, 2, 3):
        buffer.put(Image(header=header_to_msg(second * 10**9, "")))
    assert buffer.find(6 * 10**9, 0.1, 0.0) is None  # time jumped back


def test_the_buffer_is_bounded_in_bytes_too(monkeypatch):
    monkeypatch.setattr("ros_matching.nodes.vo.scale_input._MOST_BYTES", 1000)
    buffer = StampedBuffer(capacity=10)
    for second in (1, 2, 3):
        buffer.put(Image(header=header_to_msg(second * 10**9, ""), data=bytes(600)))
    assert buffer.find(2 * 10**9, 0.1, 0.0) is None
    assert buffer.find(3 * 10**9, 0.1, 0.0).header.stamp.sec == 3


def test_depth_over_topics_makes_the_odometry_metric(context):
    """The real tracker on rendered images: the motion between the first and last metric pose is right within 2 %."""
    overrides = {"scale.source": "depth", "matcher": "sift", "camera_extrinsics": "identity", "scale_wait_s": 1.0}
    overrides["mapping_thread"] = False  # depends on no timing
    node = VoNode(context=context, parameter_overrides=[Parameter(k, value=v) for k, v in overrides.items()])
    peer = VoPeer(context)
    assert node.bring_up()
    truth = {}
    with spinning(SingleThreadedExecutor(context=context), node, peer):
        peer.settle()
        depth = Beside(peer, Image, "depth/image")
        for frame in open_source("scene:room?frames=24&fps=6&width=240&height=180&path=handheld&seed=4"):
            header = header_to_msg(frame.stamp_ns, CAMERA_FRAME)
            depth.send(image_to_msg(frame.depth, header, "32FC1"))
            status = peer.send(image_to_msg(frame.image, header), camera_to_msg(frame.camera, header))
            if (status.state, status.scale) == (VoStatus.TRACKING, VoStatus.METRIC):
                truth[len(peer.received["odom"]) - 1] = frame.true_world_from_camera[:3, 3]
        assert (status.scale, status.scale_source) == (VoStatus.METRIC, "depth")
        positions = [msg.pose.pose.position for msg in peer.received["odom"]]
    assert len(truth) > 10
    found = np.array([[positions[row].x, positions[row].y, positions[row].z] for row in truth])
    true = np.array(list(truth.values()))
    assert np.sqrt(found.var(axis=0).sum() / true.var(axis=0).sum()) == pytest.approx(1, abs=0.02)
