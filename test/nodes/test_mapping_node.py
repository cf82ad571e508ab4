"""mapping_node over real topics, with a mapper whose answers are known."""

from __future__ import annotations

import os
import re
import threading

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from diagnostic_msgs.msg import DiagnosticStatus
from mapping_peer import (
    DEPTH_CAMERA,
    LATCHED,
    OUTPUTS,
    STEP,
    KnownMapper,
    camera_points,
    depth_map,
    keyframe,
    keyframe_message,
)
from node_peer import figure, wait_until
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from vo_peer import CAMERA_FRAME, stamp_ns

from ros_matching.datatypes import ScaleState
from ros_matching.errors import CheckpointError, NodeError
from ros_matching.geometry.se3 import exp_so3, pose_from, transform
from ros_matching.io.cloud import read_cloud
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.nodes.clouds import cloud_from_msg
from ros_matching.nodes.conversions import camera_from_msg, pose_from_msg, stamp_ns_from_msg
from ros_matching.nodes.mapping_node import MappingNode
from ros_matching.nodes.mounting import BODY_FROM_OPTICAL, IDENTITY
from ros_matching.nodes.vo_messages import keyframe_path_to_msg

pytestmark = pytest.mark.ros

SUCCESS = TransitionCallbackReturn.SUCCESS


def points_in_odom(*numbers: int) -> np.ndarray:
    """The points of the keyframes of these numbers in odom."""
    poses = [BODY_FROM_OPTICAL @ keyframe(number).world_from_camera for number in numbers]
    return np.concatenate([transform(pose, camera_points(n)) for pose, n in zip(poses, numbers, strict=True)])


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


def test_nobody_gets_what_nobody_asked_for(start_mapping, monkeypatch):
    monkeypatch.setattr("ros_matching.nodes.mapping_outputs.cloud_to_msg", None)
    monkeypatch.setattr("ros_matching.nodes.mapping_outputs.depth_to_msgs", None)
    _, _, peer = start_mapping(listen_to=("/diagnostics",), map_period_s=0.05)
    peer.send(0)
    diagnosis = peer.diagnosis("mapped keyframe 0")
    assert diagnosis.level == DiagnosticStatus.OK


def test_the_diagnostics_tell_times_counts_and_memory(start_mapping):
    node, _, peer = start_mapping()
    for number in (0, 1, 4):
        peer.send(number)
    wait_until(lambda: node._statistics.mapped == 3)
    diagnosis = peer.diagnosis("mapped keyframe 4")
    assert "dense mapping" in diagnosis.name
    expected = {
        "lifecycle state": "active",
        "keyframes received": "3",
        "keyframes mapped": "3",
        "keyframes refused": "0",
        "keyframes dropped": "0",
        "keyframes missed": "2",
        "queue": "0 of 10",
        "depth range": "1 to 5",
        "source views": "4",
        "points of the map": "15",
        "scale": "up_to_scale",
    }
    assert {key: figure(diagnosis, key) for key in expected} == expected
    assert float(figure(diagnosis, "memory MiB")) > 10
    timed = [pair.key for array in peer.received["/diagnostics"] for pair in array.status[0].values]
    assert {"latency ms (mean, max)", "depth ms (mean, max)"} <= set(timed)


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
    "image": ({"image": None}, "encoding|size"),
    "calibration": ({"camera_info": None}, "not calibrated"),
    "sparse points": ({"sparse_points": [1.0, 2.0]}, "u, v and depth"),
    "scale": ({"scale": 7}, "one of"),
}


@pytest.mark.parametrize("case", BAD_KEYFRAMES)
def test_a_bad_keyframe_is_told_and_survived(start_mapping, case, capfd):
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


def test_what_the_mapper_refuses_is_told_once_and_survived(start_mapping, capfd):
    _, mapper, peer = start_mapping()
    mapper.refusal = "too few views see keyframe"
    for number in range(3):
        peer.send(number)
    diagnosis = peer.diagnosis("keyframe 2 is not mapped: too few views see keyframe 2")
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
    peer.wait(lambda: peer.received["map_cloud"][-1].width == 15, "the corrected map")
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


def test_the_services(start_mapping, tmp_path):
    node, mapper, peer = start_mapping()
    assert "cloud_file" in peer.call("save_cloud").message
    assert "nothing has been mapped" in _save(node, peer, tmp_path / "early.ply").message
    for number in range(2):
        peer.send(number)
    peer.last("dense_cloud", count=2)
    for name in ("a/cloud.ply", "cloud.pcd"):
        answer = _save(node, peer, tmp_path / name)
        assert answer.success, answer.message
        assert answer.message == f"10 points: {tmp_path / name}"
        saved = read_cloud(tmp_path / name)
        np.testing.assert_allclose(saved.points, points_in_odom(0, 1), atol=1e-6)
        assert saved.colors[0].tolist() == [10, 20, 30]
    wrong = _save(node, peer, tmp_path / "cloud.doc")
    assert not wrong.success
    assert ".ply or .pcd" in wrong.message
    assert peer.call("clear").success
    assert (mapper.clears, len(mapper.keyframes)) == (1, 0)
    assert "nothing has been mapped" in _save(node, peer, tmp_path / "late.ply").message
    peer.send(2)
    peer.last("dense_cloud", count=3)
    assert mapper.clears == 1


def test_the_services_never_meet_the_mapper_at_work(start_mapping, tmp_path):
    node, mapper, peer = start_mapping()
    mapper.gate = threading.Event()
    peer.send(0)
    wait_until(lambda: node._statistics.received == 1 and node._worker.waiting == 0)
    threading.Timer(0.2, mapper.gate.set).start()
    answer = _save(node, peer, tmp_path / "cloud.ply")
    assert answer.message.startswith("5 points")


def test_the_end_maps_what_waits_and_saves_it(start_mapping, tmp_path):
    node, mapper, peer = start_mapping(save_at_end=True, cloud_file=str(tmp_path / "end.ply"))
    mapper.gate = threading.Event()
    for number in range(3):
        peer.send(number)
    wait_until(lambda: node._statistics.received == 3)
    threading.Timer(0.2, mapper.gate.set).start()
    assert node.trigger_deactivate() == SUCCESS
    assert (mapper.seen, mapper.finished) == ([0, 1, 2], 1)
    np.testing.assert_allclose(read_cloud(tmp_path / "end.ply").points, points_in_odom(0, 1, 2), atol=1e-6)
    assert [stamp_ns_from_msg(peer.last("dense_cloud", count=3).header.stamp)] == [stamp_ns(2)]


def test_a_map_that_cannot_be_saved_at_the_end_is_told(start_mapping, capfd):
    node, _, _ = start_mapping(save_at_end=True)
    assert node.trigger_deactivate() == SUCCESS
    assert "the map was not saved: no file is named" in capfd.readouterr().err


def test_what_the_mapper_finishes_last_is_published(start_mapping, monkeypatch):
    node, mapper, peer = start_mapping(map_period_s=1000.0)
    monkeypatch.setattr(mapper, "finish", lambda: [mapper.add(keyframe(1))])
    peer.send(0)
    peer.last("dense_cloud")
    assert node.trigger_deactivate() == SUCCESS
    assert stamp_ns_from_msg(peer.last("dense_cloud", count=2).header.stamp) == stamp_ns(1)
    assert peer.last("map_cloud").width == 10


def test_the_life_of_the_node(start_mapping, tmp_path):
    node, mapper, peer = start_mapping(device="cpu", **{"mapping.views": 4})
    assert (mapper.device, mapper.config.views) == ("cpu", 4)
    assert mapper.options == {"weights": None, "network": "pbs_mvsnet_lite"}
    peer.send(0)
    peer.last("dense_cloud")
    refused = node.set_parameters([Parameter("mapping.views", value=3)])[0]
    assert not refused.successful
    assert "clean the node up first" in refused.reason

    assert node.trigger_deactivate() == SUCCESS
    assert mapper.finished == 1
    assert "inactive" in peer.diagnosis("inactive").message
    assert _save(node, peer, tmp_path / "cloud.ply").success
    assert node.trigger_activate() == SUCCESS
    peer.settle()
    peer.send(1)
    peer.last("dense_cloud", count=2)
    assert mapper.seen == [0, 1]

    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    answer = peer.call("clear")
    assert not answer.success
    assert "unconfigured" in answer.message
    assert node.set_parameters([Parameter("mapping.views", value=3)])[0].successful
    assert not any(publisher.topic_name in ("/dense_cloud", "/map_cloud") for publisher in node.publishers)


def test_nobody_sends_keyframes(start_mapping):
    _, _, peer = start_mapping(listen_to=("/diagnostics",))
    peer.destroy_publisher(peer.keyframes)
    diagnosis = peer.diagnosis("nobody publishes /keyframe")
    assert "vo_node" in diagnosis.message


def test_an_incompatible_quality_of_service_is_told(start_mapping):
    _, _, peer = start_mapping()
    peer.create_publisher(KeyframeMsg, "keyframe", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
    assert "qos_overrides./keyframe.subscription.reliability" in peer.diagnosis("incompatible").message


def test_every_topic_has_the_promised_durability(start_mapping):
    _, _, peer = start_mapping()
    for topic in OUTPUTS.keys() - {"/diagnostics"}:
        (offer,) = peer.get_publishers_info_by_topic(f"/{topic}")
        assert offer.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        assert (offer.qos_profile.durability == LATCHED.durability) == (topic == "map_cloud")


def test_weights_that_do_not_load_are_told(context, capfd):
    def load(device, config, **options):
        raise CheckpointError("there is no file nowhere.safetensors")

    node = MappingNode(load=load, context=context)
    assert not node.bring_up()
    assert node.state == "unconfigured"
    node.destroy_node()
    assert "there is no file nowhere.safetensors" in capfd.readouterr().err


def test_a_wrong_parameter_keeps_the_node_from_starting(context):
    with pytest.raises(NodeError, match=r"mapping\.min_confidence"):
        MappingNode(
            load=KnownMapper, context=context, parameter_overrides=[Parameter("mapping.min_confidence", value=2.0)]
        )


def test_the_worker_gives_way_to_the_odometry(start_mapping):
    node, _, _ = start_mapping(niceness=7)
    thread = node._worker._thread.native_id
    here = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    wait_until(lambda: os.getpriority(os.PRIO_PROCESS, thread) == min(here + 7, 19))


def _save(node, peer, path):
    assert node.set_parameters([Parameter("cloud_file", value=str(path))])[0].successful
    return peer.call("save_cloud")
