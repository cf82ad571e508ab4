"""replay_node over real topics, against a stand-in for vo_node in the same process."""

from __future__ import annotations

import contextlib
import threading
import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from consumer import Consumer, ListSource, random_frames
from node_peer import wait_until
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Imu
from tf2_msgs.msg import TFMessage

from ros_matching.datatypes import ImuRecording, ImuSamples
from ros_matching.errors import ConfigError, NodeError, SourceError
from ros_matching.geometry.se3 import pose_from
from ros_matching.nodes.common import conversions
from ros_matching.nodes.common.extrinsics import BODY_FROM_OPTICAL, StaticTransforms
from ros_matching.nodes.common.spinning import spinning
from ros_matching.nodes.replay.recorder import RecorderNode
from ros_matching.nodes.replay.replay_node import ReplayNode

pytestmark = pytest.mark.ros

# Not a multiple of anything: a stamp that goes through a float of seconds comes back changed.
STAMPS_NS = [1_700_000_000_123_456_789 + index * 33_333_333 for index in range(8)]


def make_replay(context, frames, **parameters) -> ReplayNode:
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    return ReplayNode(source=ListSource(frames), context=context, parameter_overrides=overrides)


@contextlib.contextmanager
def active(consumer: Consumer, *others):
    consumer.trigger_configure()
    consumer.trigger_activate()
    with spinning(SingleThreadedExecutor(context=consumer.context), consumer, *others):
        yield


def test_every_frame_arrives_whole(context):
    frames = random_frames(STAMPS_NS)
    consumer = Consumer(context=context)
    replay = make_replay(context, frames, wait_for_consumer=True, camera_frame="eye")
    with active(consumer, replay):
        assert replay.play() == len(frames)
    for frame, image, info, truth in zip(frames, consumer.images, consumer.camera_infos, consumer.truths, strict=True):
        for msg in (image, info, truth):
            assert conversions.stamp_ns_from_msg(msg.header.stamp) == frame.stamp_ns
        assert image.header.frame_id == info.header.frame_id == "eye"
        np.testing.assert_array_equal(conversions.image_from_msg(image), frame.image)
        assert (info.width, info.height, any(info.d)) == (64, 48, False)
        np.testing.assert_array_equal(np.reshape(info.k, (3, 3)), frame.camera.matrix)
        assert truth.header.frame_id == "ground_truth"
        np.testing.assert_allclose(conversions.pose_from_msg(truth.pose), frame.true_world_from_camera, atol=1e-12)


def test_a_faulty_image_is_left_out_and_named(context, tmp_path, capfd):
    for frame in random_frames(STAMPS_NS):
        cv2.imwrite(str(tmp_path / f"{frame.index}.png"), frame.image)
    (tmp_path / "3.png").write_bytes(b"")
    (tmp_path / "K.txt").write_text("50 0 32\n0 50 24\n0 0 1\n")
    overrides = [Parameter("source", value=str(tmp_path)), Parameter("wait_for_consumer", value=True)]
    replay = ReplayNode(context=context, parameter_overrides=overrides)
    consumer = Consumer(context=context)
    with active(consumer, replay):
        assert replay.play() == len(STAMPS_NS) - 1
    assert len(consumer.images) == len(STAMPS_NS) - 1
    assert "1 skipped" in (log := capfd.readouterr().err)
    assert "3.png" in log


def test_clock_is_that_of_the_images_and_never_goes_back(context):
    consumer = Consumer(context=context)
    replay = make_replay(context, random_frames(STAMPS_NS), wait_for_consumer=True)
    with active(consumer, replay):
        replay.play()
    assert consumer.clock_ns == sorted(consumer.clock_ns)
    assert set(consumer.clock_ns) <= set(STAMPS_NS)
    assert len(consumer.clock_ns) >= len(STAMPS_NS) - 1  # best effort, and the last may still be on its way


def test_stamps_from_zero_are_moved_as_one(context):
    consumer = Consumer(context=context)
    replay = make_replay(context, random_frames([0, 40_000_000, 90_000_000]), wait_for_consumer=True)
    with active(consumer, replay):
        replay.play()
    stamps_ns = [conversions.stamp_ns_from_msg(image.header.stamp) for image in consumer.images]
    assert stamps_ns == [1_000_000_000, 1_040_000_000, 1_090_000_000]


def test_source_without_ground_truth_publishes_none(context):
    consumer = Consumer(context=context)
    replay = make_replay(context, random_frames(STAMPS_NS[:2], truth=False), wait_for_consumer=True)
    with active(consumer, replay):
        replay.play()
    assert len(consumer.images) == 2
    assert consumer.truths == []


def test_compressed_images_look_the_same(context):
    frames = random_frames(STAMPS_NS[:2])
    smooth = [np.full_like(frame.image, (200, 100, 50)) for frame in frames]
    frames = [
        type(frame)(frame.index, frame.stamp_ns, image, frame.camera)
        for frame, image in zip(frames, smooth, strict=True)
    ]
    consumer = Consumer(context=context, compressed=True)
    replay = make_replay(context, frames, wait_for_consumer=True, transport="compressed", jpeg_quality=100)
    with active(consumer, replay):
        replay.play()
    decoded = conversions.image_from_msg(consumer.images[0]).astype(int)
    assert np.abs(decoded - frames[0].image).max() <= 3


def test_rate_is_kept_with_a_consumer_that_never_answers(context):
    consumer = Consumer(context=context, answers=False)
    replay = make_replay(context, random_frames(STAMPS_NS[:4]), rate=2.0)
    with active(consumer, replay):
        assert replay.play() == 4
        with consumer.seen:
            assert consumer.seen.wait_for(
                lambda: consumer.images and consumer.images[-1].header.stamp.nanosec == STAMPS_NS[3] % 10**9, 10.0
            )


def test_loop_continues_until_stopped(context):
    consumer = Consumer(context=context)
    replay = make_replay(context, random_frames(STAMPS_NS[:3]), wait_for_consumer=True, loop=True)
    sent = []
    replay._on_publish = lambda frame: (sent.append(frame.stamp_ns), len(sent) == 7 and replay.stop())
    with active(consumer, replay):
        assert replay.play() == 7
    assert sent == [*STAMPS_NS[:3], *STAMPS_NS[:3], STAMPS_NS[0]]


def test_silent_consumer_ends_the_replay(context):
    consumer = Consumer(context=context, answers=False)
    replay = make_replay(context, random_frames(STAMPS_NS), wait_for_consumer=True, consumer_timeout_s=0.5)
    with active(consumer, replay), pytest.raises(NodeError, match="no vo_status"):
        replay.play()


def test_absent_consumer_ends_the_replay(context):
    # In a namespace of its own: another test's vo_node that just ended may still be announced in this ROS domain.
    replay = ReplayNode(
        source=ListSource(random_frames(STAMPS_NS)),
        context=context,
        namespace="without_consumer",
        parameter_overrides=[Parameter("wait_for_consumer", value=True), Parameter("consumer_timeout_s", value=0.3)],
    )
    with (
        spinning(SingleThreadedExecutor(context=context), replay),
        pytest.raises(NodeError, match=r"waiting for vo_node.*no service"),
    ):
        replay.play()


def test_inactive_consumer_ends_the_replay(context):
    consumer = Consumer(context=context)
    replay = make_replay(context, random_frames(STAMPS_NS), wait_for_consumer=True, consumer_timeout_s=0.5)
    with (
        spinning(SingleThreadedExecutor(context=context), consumer, replay),
        pytest.raises(NodeError, match="vo_node is still unconfigured"),
    ):
        replay.play()


def test_consumer_of_another_transport_ends_the_replay(context):
    consumer = Consumer(context=context, compressed=True)
    replay = make_replay(context, random_frames(STAMPS_NS), wait_for_consumer=True, consumer_timeout_s=0.5)
    with active(consumer, replay), pytest.raises(NodeError, match="does not subscribe to /image and /camera_info"):
        replay.play()


def test_extrinsics_are_on_tf_static(context):
    replay = make_replay(context, random_frames(STAMPS_NS), base_frame="robot", camera_frame="eye")
    recorder = RecorderNode(context=context)
    consumer = Consumer(context=context)
    with active(consumer, replay, recorder):
        replay.play()
        transforms: StaticTransforms = recorder._static_transforms
        wait_until(lambda: transforms.frames)
        np.testing.assert_allclose(transforms.lookup("robot", "eye"), BODY_FROM_OPTICAL)


def test_the_frames_have_the_prefix(context):
    replay = make_replay(context, random_frames(STAMPS_NS[:2]), frame_prefix="robot1/", wait_for_consumer=True)
    recorder, consumer = RecorderNode(context=context), Consumer(context=context)
    with active(consumer, replay, recorder):
        replay.play()
        transforms: StaticTransforms = recorder._static_transforms
        wait_until(lambda: transforms.frames)
        assert transforms.frames == ["robot1/base_link", "robot1/camera_optical_frame"]
    assert {msg.header.frame_id for msg in consumer.images} == {"robot1/camera_optical_frame"}
    assert {msg.header.frame_id for msg in consumer.truths} <= {"robot1/ground_truth"}


def test_the_replay_waits_until_nodes_are_active(context):
    consumer = Consumer(context=context)
    replay = make_replay(context, random_frames(STAMPS_NS[:2]), wait_for="vo_node, ")
    states = []
    replay._on_publish = lambda frame: states.append(consumer._state_machine.current_state[1])

    def activate_later() -> None:
        wait_until(lambda: replay._images.get_subscription_count() and replay._camera_infos.get_subscription_count())
        time.sleep(0.2)  # in which a replay that does not wait begins
        consumer.trigger_activate()

    with spinning(MultiThreadedExecutor(context=context), consumer, replay):
        consumer.trigger_configure()
        thread = threading.Thread(target=activate_later)
        thread.start()
        assert replay.play() == 2
        thread.join()
    assert states == ["active", "active"]


def test_another_clock_is_warned_of(context, capfd):
    other = Node("other", context=context)
    other.create_publisher(Clock, "/clock", 1)
    consumer = Consumer(context=context)
    replay = make_replay(context, random_frames(STAMPS_NS[:2]), wait_for_consumer=True)
    with active(consumer, replay, other):
        replay.play()
    assert "another node publishes /clock" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({}, NodeError, "nothing to replay"),
        ({"source": "/nowhere/at/all"}, SourceError, "/nowhere/at/all"),
        ({"source": "x", "rate": -1.0}, NodeError, "rate"),
        ({"source": "x", "transport": "pigeon"}, ConfigError, "raw, compressed"),
    ],
)
def test_bad_parameters_are_refused(context, parameters, error, message):
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    with pytest.raises(error, match=message):
        ReplayNode(context=context, parameter_overrides=overrides)


def test_the_imu_of_a_source_comes_before_its_images_with_its_extrinsics(context):
    samples = ImuSamples(
        np.array([STAMPS_NS[0] - 7_000_000 + row * 5_000_000 for row in range(60)]),
        np.tile([0.1, 0.2, 0.3], (60, 1)),
        np.tile([0.0, 0.0, 9.8], (60, 1)),
    )
    imu_from_camera = pose_from(np.eye(3), np.array([0.1, 0.2, 0.3]))
    source = ListSource(random_frames(STAMPS_NS[:4]))
    source.imu = ImuRecording(samples, "test", imu_from_camera)
    replay = ReplayNode(source=source, context=context, parameter_overrides=[Parameter("rate", value=20.0)])
    listener, received, transforms = Node("listener", context=context), [], StaticTransforms()
    listener.create_subscription(Imu, "imu", received.append, QoSProfile(depth=400))
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    listener.create_subscription(TFMessage, "/tf_static", lambda msg: transforms.update(msg.transforms), latched)
    consumer = Consumer(context=context)
    with active(consumer, listener, replay):
        wait_until(lambda: replay.count_subscribers("imu"), "no one listens")
        assert replay.play() == 4
        last = int(np.searchsorted(samples.stamps_ns, STAMPS_NS[3])) + 1
        wait_until(lambda: len(received) == last, "samples are missing")
    stamps = [conversions.stamp_ns_from_msg(msg.header.stamp) for msg in received]
    assert stamps == samples.stamps_ns[:last].tolist()
    assert received[0].angular_velocity.y == 0.2
    assert received[0].linear_acceleration.z == 9.8
    np.testing.assert_allclose(transforms.lookup("imu_link", "camera_optical_frame"), imu_from_camera, atol=1e-12)
