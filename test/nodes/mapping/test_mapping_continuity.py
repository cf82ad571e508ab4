"""mapping_node after a reset of the odometry, and after its corrections."""

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
from rclpy.lifecycle import TransitionCallbackReturn
from vo_peer import stamp_ns

from ros_matching.datatypes import ScaleState
from ros_matching.geometry.se3 import exp_so3, pose_from, transform
from ros_matching.io.point_clouds import read_cloud
from ros_matching.nodes.common.conversions import header_to_msg
from ros_matching.nodes.common.extrinsics import BODY_FROM_OPTICAL, IDENTITY
from ros_matching.nodes.mapping.clouds import cloud_from_msg
from ros_matching.nodes.vo.map_messages import corrections_to_msg
from ros_matching.nodes.vo.messages import keyframe_path_to_msg

pytestmark = pytest.mark.ros


NEW_STARTS = {
    "ids start from 0": lambda peer, step: peer.send(step),
    "another scale": lambda peer, step: peer.send(3 + step, ScaleState.METRIC),
    "stamps jump back": lambda peer, step: peer.keyframes.publish(_as_id(keyframe_message(step), 7 + step)),
    "another fixed frame": lambda peer, step: peer.send(
        3 + step, header=_in_frame(keyframe_message(3 + step), "elsewhere")
    ),
}


@pytest.mark.parametrize("case", NEW_STARTS)
def test_a_reset_of_the_odometry_starts_a_new_map(start_mapping, case, capfd):
    _, mapper, peer = start_mapping(map_period_s=0.05)
    for number in range(3):
        peer.send(number)
    for step in range(2):
        NEW_STARTS[case](peer, step)
    peer.last("dense_cloud", count=5)
    assert mapper.clears == 1
    assert len(mapper.keyframes) == 2
    peer.wait(lambda: peer.received["map_cloud"] and peer.received["map_cloud"][-1].width == 10, "the new map")
    assert "restarted" in capfd.readouterr().err


@pytest.mark.parametrize("case", NEW_STARTS)
def test_one_odd_keyframe_is_left_out_and_counted(start_mapping, case):
    node, mapper, peer = start_mapping()
    for number in range(3):
        peer.send(number)
    NEW_STARTS[case](peer, 0)
    for number in range(8, 12):
        peer.send(number)
    peer.last("dense_cloud", count=7)
    assert (mapper.clears, mapper.seen) == (0, [0, 1, 2, 8, 9, 10, 11])
    assert node._statistics.refused == 1


@pytest.mark.parametrize("change", [{"id": 4_000_000_000}, {"header": header_to_msg(2**61, "odom")}])
def test_one_keyframe_far_ahead_starts_no_new_map(start_mapping, change):
    _, mapper, peer = start_mapping()
    for number in range(3):
        peer.send(number)
    peer.send(3, **change)
    for number in range(4, 8):
        peer.send(number)
    peer.last("dense_cloud", count=7)
    assert mapper.clears == 0
    assert mapper.seen[-4:] == [4, 5, 6, 7]


def test_a_new_start_does_not_lose_the_map_that_is_to_be_saved_at_the_end(start_mapping, tmp_path):
    node, mapper, peer = start_mapping(save_at_end=True, cloud_file=str(tmp_path / "map.ply"))
    for numbers in ((0, 1, 2), (0, 1), (0, 1, 2)):
        for number in numbers:
            peer.send(number)
    peer.last("dense_cloud", count=8)
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    sizes = {file.name: len(read_cloud(file).points) for file in tmp_path.iterdir()}
    assert sizes == {"map.part1.ply": 15, "map.part2.ply": 10, "map.ply": 15}
    assert mapper.clears == 2


def test_a_part_of_the_map_that_cannot_be_saved_is_reported(start_mapping):
    _, mapper, peer = start_mapping(save_at_end=True, cloud_file="~nosuchuser/map.ply")
    for number in (0, 1, 0, 1):
        peer.send(number)
    assert "cloud_file" in peer.diagnosis("not saved").message
    wait_until(lambda: mapper.clears == 1)


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


def in_map(number: int, map_scale: float = 2.0):
    msg = keyframe_message(number)
    msg.header.frame_id, msg.map_scale = "map", map_scale
    return msg


def correct(peer, scales: dict[int, float], poses: dict[int, np.ndarray], frame_id: str = "map") -> None:
    """Send corrections of SLAM, by the numbers of the keyframes."""
    corrections = [(stamp_ns(number), pose, scales[number]) for number, pose in poses.items()]
    peer.corrections.publish(corrections_to_msg(corrections, IDENTITY, header_to_msg(0, frame_id)))


def test_points_are_moved_and_rescaled_when_a_loop_closes(start_mapping):
    """Also when no other keyframe comes."""
    _, mapper, peer = start_mapping(map_period_s=0.05)
    for number in range(2):
        peer.keyframes.publish(in_map(number))
    peer.last("dense_cloud", count=2)
    poses = {number: pose_from(exp_so3([0.1, 0.0, number]), np.array([number, 2.0, 3.0])) for number in range(2)}
    correct(peer, {0: 3.0, 1: 2.0}, poses)
    points = [
        transform(BODY_FROM_OPTICAL @ pose, factor * camera_points(number))
        for factor, (number, pose) in zip((1.5, 1.0), poses.items(), strict=True)
    ]
    close = lambda: np.allclose(  # noqa: E731
        cloud_from_msg(peer.received["map_cloud"][-1]).points, np.concatenate(points), atol=1e-5
    )
    peer.wait(
        lambda: peer.received["map_cloud"] and peer.received["map_cloud"][-1].width == 10 and close(),
        "the corrected map",
    )
    assert mapper.scales == {0: 1.5, 1: 1.0}


def test_a_keyframe_that_was_corrected_before_it_came_is_added_at_its_place_and_scale(start_mapping):
    node, mapper, peer = start_mapping()
    peer.keyframes.publish(in_map(0))
    peer.last("dense_cloud")
    correct(peer, {1: 3.0}, {1: STEP})
    wait_until(lambda: stamp_ns(1) in node._corrections._waiting)
    peer.keyframes.publish(in_map(1))
    peer.last("dense_cloud", count=2)
    np.testing.assert_allclose(mapper.poses[1], BODY_FROM_OPTICAL @ STEP, atol=1e-6)
    np.testing.assert_allclose(mapper.keyframes[1].sparse_depths, 1.5 * keyframe(1).sparse_depths, rtol=1e-6)
    correct(peer, {1: 6.0}, {1: STEP})
    peer.keyframes.publish(in_map(2))
    wait_until(lambda: mapper.scales.get(1) == 2.0)  # since it was added


@pytest.mark.parametrize("scales", [[], [0.0], [float("nan")], [1.0, 1.0]])
def test_corrections_with_wrong_scales_are_reported(start_mapping, scales):
    _, mapper, peer = start_mapping()
    peer.keyframes.publish(in_map(0))
    peer.last("dense_cloud")
    msg = corrections_to_msg([(stamp_ns(0), STEP, 1.0)], IDENTITY, header_to_msg(0, "map"))
    msg.scales = scales
    peer.corrections.publish(msg)
    assert "scales" in peer.diagnosis("corrected poses").message
    assert mapper.scales == {}


def test_a_keyframe_with_a_wrong_scale_is_refused(start_mapping):
    _, mapper, peer = start_mapping()
    peer.keyframes.publish(in_map(0, float("inf")))
    assert "map_scale must be a positive number" in peer.diagnosis("map_scale").message
    assert mapper.seen == []


def test_invalid_corrections_are_reported_and_ignored(start_mapping):
    _, _, peer = start_mapping()
    broken = keyframe_path_to_msg({stamp_ns(0): np.eye(4)}, IDENTITY, keyframe_message(0).header)
    broken.poses[0].pose.orientation.w = float("nan")
    peer.send(0)
    peer.last("dense_cloud")
    peer.paths.publish(broken)
    assert peer.diagnosis("corrected poses").level == DiagnosticStatus.WARN
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
    peer.send(1)
    peer.last("dense_cloud", count=4)
    np.testing.assert_allclose(mapper.poses[0], BODY_FROM_OPTICAL, atol=1e-6)
