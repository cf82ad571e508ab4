"""Saved maps over ROS: services, continuing, localisation, and the initial pose."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.srv", reason="needs the built messages of this package (make build)")

from geometry_msgs.msg import PoseWithCovarianceStamped
from made_maps import assert_same, made_map
from node_peer import wait_until
from rclpy.parameter import Parameter
from slam_peer import call, starting_slam
from vo_peer import CAMERA

from ros_matching.atlas.map_storage import load_map, save_map
from ros_matching.atlas.map_union import united
from ros_matching.geometry.se3 import exp_so3, invert, pose_from
from ros_matching.msg import VoStatus
from ros_matching.nodes.common.conversions import (
    header_to_msg,
    pose_to_msg,
)
from ros_matching.nodes.common.extrinsics import BODY_FROM_OPTICAL
from ros_matching.srv import LoadMap, MergeMap, SaveMap

pytestmark = pytest.mark.ros


@pytest.fixture
def start_slam(context):
    """Bring up vo_node with SLAM; see ``slam_peer.starting_slam``."""
    with starting_slam(context) as start:
        yield start


def test_the_map_is_saved_and_loaded(start_slam, tmp_path):
    _, slams, peer = start_slam()
    answer = call(peer, SaveMap, "save_map", folder=str(tmp_path / "map"))
    assert (answer.success, answer.message) == (False, "there is no map yet: no keyframe has been stored")
    for number in range(2):
        peer.send_frame(number)
    assert "set the parameter map_file" in call(peer, SaveMap, "save_map").message
    answer = call(peer, SaveMap, "save_map", folder=str(tmp_path / "map"))
    assert answer.success, answer.message
    assert answer.keyframes == 9
    assert_same(load_map(tmp_path / "map"), slams[0].slam_map)

    answer = call(peer, LoadMap, "load_map", folder=str(tmp_path / "map"))
    assert (answer.success, answer.keyframes) == (True, 9)
    status = peer.send_frame(2)
    assert (status.state, status.map_state) == (VoStatus.INITIALIZING, VoStatus.UNLOCALIZED)
    assert slams[0].is_closed
    assert_same(slams[1].given, slams[0].slam_map)


def test_a_map_that_cannot_be_used_changes_nothing(start_slam, tmp_path):
    _, slams, peer = start_slam()
    save_map(tmp_path / "sift", made_map(5, camera=CAMERA, extractor="sift"))
    (tmp_path / "file").touch()
    for folder, words in (("none", "no such folder"), ("sift", "use the matcher and weights of the map")):
        answer = call(peer, LoadMap, "load_map", folder=str(tmp_path / folder))
        assert not answer.success
        assert words in answer.message
    for number in range(2):
        peer.send_frame(number)
    assert "is a file" in call(peer, SaveMap, "save_map", folder=str(tmp_path / "file")).message
    assert "cannot save" in call(peer, SaveMap, "save_map", folder="/proc/none").message
    assert len(slams) == 1


def test_a_saved_map_is_merged_where_a_common_place_is_recognised(start_slam, tmp_path, monkeypatch):
    """The recognition itself is tested in test_saved_map_merging.py."""
    _, slams, peer = start_slam()
    saved = made_map(5, camera=CAMERA, seed=1)
    save_map(tmp_path / "map", saved)
    asked = []

    def merge(slam_map, other, matcher, config):
        asked.append((slam_map, other))
        return united(slam_map, other)[0] if len(asked) > 1 else None

    monkeypatch.setattr("ros_matching.nodes.vo.map_services.merge_saved_map", merge)
    assert "no map yet" in call(peer, MergeMap, "merge_map", folder=str(tmp_path / "map")).message
    for number in range(2):
        peer.send_frame(number)
    assert "no folder is named" in call(peer, MergeMap, "merge_map").message
    answer = call(peer, MergeMap, "merge_map", folder=str(tmp_path / "map"))
    assert not answer.success
    assert "no place of" in answer.message
    answer = call(peer, MergeMap, "merge_map", folder=str(tmp_path / "map"))
    assert (answer.success, answer.keyframes) == (True, 9 + 5)
    assert_same(asked[1][1], saved)
    peer.send_frame(2)
    assert len(slams[1].given) == 14


def test_a_reset_of_the_odometry_keeps_the_map_and_the_service_drops_it(start_slam):
    node, slams, peer = start_slam()
    for number in range(2):
        peer.send_frame(number)
    slams[0].tracker.error = ZeroDivisionError("what now")
    peer.send_frame(2)
    assert slams[1].given is slams[0].slam_map
    assert peer.call("reset").success
    peer.send_frame(3)
    assert slams[2].given is None
    assert [slam.is_closed for slam in slams] == [True, True, False]
    node.trigger_deactivate()
    node.trigger_cleanup()
    assert slams[2].is_closed


def test_a_saved_map_is_continued_or_localised_in(start_slam, tmp_path):
    save_map(tmp_path / "map", made_map(5, camera=CAMERA))
    _, (slam,), _ = start_slam(map_file=str(tmp_path / "map"), mode="localization")
    assert slam.mode == "localization"
    assert len(slam.given) == 5
    assert not slam.config.keep_trajectory


def test_slam_starts_a_new_map_where_none_was_saved_yet(start_slam, tmp_path):
    _, (slam,), peer = start_slam(map_file=str(tmp_path / "map"))
    assert slam.given is None
    for number in range(2):
        peer.send_frame(number)
    assert call(peer, SaveMap, "save_map").success
    assert (tmp_path / "map" / "manifest.json").exists()


def test_the_map_is_saved_at_the_end(start_slam, tmp_path):
    node, (slam,), peer = start_slam(map_file=str(tmp_path / "map"), save_map_at_end=True)
    for number in range(2):
        peer.send_frame(number)
    node.trigger_deactivate()
    node.trigger_cleanup()
    assert_same(load_map(tmp_path / "map"), slam.slam_map)


def test_a_map_that_cannot_be_saved_at_the_end_is_a_failure(start_slam, tmp_path, capfd):
    (tmp_path / "map").touch()
    node, _, peer = start_slam(save_map_at_end=True, map_file=str(tmp_path / "new"))
    for number in range(2):
        peer.send_frame(number)
    node.set_parameters([Parameter("map_file", value=str(tmp_path / "map"))])
    assert "is a file" in node.close()
    assert "the map was not saved" in capfd.readouterr().err


def test_images_of_another_camera_than_the_maps_are_refused_with_the_reason(start_slam, tmp_path):
    save_map(tmp_path / "map", made_map(5))
    _, (slam,), peer = start_slam(map_file=str(tmp_path / "map"))
    status = peer.send_frame(0)
    assert "the map was made with another camera: 640x480" in status.reason
    assert slam.tracker.frames == []


def test_an_initial_pose_helps_until_the_camera_is_localised(start_slam, tmp_path):
    save_map(tmp_path / "map", made_map(5, camera=CAMERA))
    _, (slam,), peer = start_slam(map_file=str(tmp_path / "map"))
    poses = peer.create_publisher(PoseWithCovarianceStamped, "initialpose", 10)
    wait_until(poses.get_subscription_count)
    robot = pose_from(exp_so3([0.0, 0.0, 0.3]), np.array([1.0, 2.0, 0.0]))

    def send(frame_id: str = "map") -> None:
        msg = PoseWithCovarianceStamped(header=header_to_msg(0, frame_id))
        msg.pose.pose = pose_to_msg(robot)
        poses.publish(msg)

    send()
    assert "send it again later" in peer.diagnosis("initialpose").message
    assert peer.send_frame(0).map_state == VoStatus.UNLOCALIZED
    send("odom")
    assert "its frame must be map, got 'odom'" in peer.diagnosis("its frame").message
    send()
    wait_until(lambda: hasattr(slam, "suggested"))
    expected = invert(BODY_FROM_OPTICAL) @ robot @ BODY_FROM_OPTICAL
    np.testing.assert_allclose(slam.suggested, expected, atol=1e-9)
    assert peer.send_frame(1).map_state == VoStatus.LOCALIZED
    send()
    assert "is localised already" in peer.diagnosis("localised already").message
