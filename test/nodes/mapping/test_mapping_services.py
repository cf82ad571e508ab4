"""The services of mapping_node, and the file that it writes at the end."""

from __future__ import annotations

import threading

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from mapping_peer import camera_points, keyframe, points_in_odom
from node_peer import wait_until
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from vo_peer import stamp_ns

from ros_matching.geometry.se3 import transform
from ros_matching.io.point_clouds import read_cloud
from ros_matching.nodes.common.conversions import stamp_ns_from_msg
from ros_matching.nodes.common.extrinsics import BODY_FROM_OPTICAL

pytestmark = pytest.mark.ros

SUCCESS = TransitionCallbackReturn.SUCCESS


def test_the_services(start_mapping, tmp_path):
    node, mapper, peer = start_mapping()
    assert "cloud_file" in peer.call("save_cloud").message
    assert "nothing has been mapped" in peer.save(node, tmp_path / "early.ply").message
    for number in range(2):
        peer.send(number)
    peer.last("dense_cloud", count=2)
    for name in ("a/cloud.ply", "cloud.pcd"):
        answer = peer.save(node, tmp_path / name)
        assert answer.success, answer.message
        assert answer.message == f"10 points: {tmp_path / name}"
        saved = read_cloud(tmp_path / name)
        np.testing.assert_allclose(saved.points, points_in_odom(0, 1), atol=1e-6)
        assert saved.colors[0].tolist() == [10, 20, 30]
    wrong = peer.save(node, tmp_path / "cloud.doc")
    assert not wrong.success
    assert ".ply or .pcd" in wrong.message
    assert peer.call("clear").success
    assert (mapper.clears, len(mapper.keyframes)) == (1, 0)
    assert "nothing has been mapped" in peer.save(node, tmp_path / "late.ply").message
    peer.send(2)
    peer.last("dense_cloud", count=3)
    assert mapper.clears == 1


def test_the_services_never_meet_the_mapper_at_work(start_mapping, tmp_path):
    node, mapper, peer = start_mapping()
    mapper.gate = threading.Event()
    peer.send(0)
    wait_until(lambda: node._statistics.received == 1 and node._worker.waiting == 0)
    threading.Timer(0.2, mapper.gate.set).start()
    answer = peer.save(node, tmp_path / "cloud.ply")
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


@pytest.mark.parametrize("file", ["", "~nosuchuser/map.ply", "map.doc", "/"])
def test_a_file_that_cannot_be_written_at_the_end_is_reported_before(start_mapping, file, tmp_path):
    node, _, peer = start_mapping(save_at_end=True, cloud_file=file)
    assert "cloud_file" in peer.diagnosis("cannot be saved").message or file == "map.doc"
    assert node.set_parameters([Parameter("cloud_file", value=str(tmp_path / "map.ply"))])[0].successful
    peer.diagnosis("waiting for the first keyframe")


def test_a_map_that_cannot_be_saved_at_the_end_is_reported(start_mapping, capfd):
    node, _, _ = start_mapping(save_at_end=True)
    assert node.trigger_deactivate() == SUCCESS
    assert "not saved" in capfd.readouterr().err


def test_a_saved_map_is_continued_and_follows_its_corrections(start_mapping, tmp_path):
    file = tmp_path / "map.safetensors"
    node, _, peer = start_mapping(map_file=str(file))
    assert "nothing has been mapped" in peer.call("save_map").message
    for number in range(2):
        peer.send(number, map_scale=1.0)
    peer.last("dense_cloud", count=2)
    answer = peer.call("save_map")
    assert answer.success
    assert answer.message == f"10 points of 2 keyframes: {file}"

    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    peer.settle()
    peer.send(2, map_scale=1.0)
    peer.last("dense_cloud", count=3)
    assert peer.save(node, tmp_path / "all.ply").message.startswith("15 points")
    np.testing.assert_allclose(read_cloud(tmp_path / "all.ply").points, points_in_odom(0, 1, 2), atol=1e-5)

    # The map of SLAM moves keyframe 1 of the earlier run to the place of keyframe 4
    peer.correct(k1=keyframe(4).world_from_camera)
    peer.send(3, map_scale=1.0)
    peer.last("dense_cloud", count=4)
    peer.save(node, tmp_path / "moved.ply")
    moved = read_cloud(tmp_path / "moved.ply").points[5:10]
    expected = transform(BODY_FROM_OPTICAL @ keyframe(4).world_from_camera, camera_points(1))
    np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_a_damaged_map_is_not_overwritten(start_mapping, tmp_path):
    file = tmp_path / "map.safetensors"
    file.write_bytes(b"not a map")
    with pytest.raises(AssertionError):
        start_mapping(map_file=str(file), save_at_end=True)
    assert file.read_bytes() == b"not a map"
