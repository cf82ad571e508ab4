"""The map of SLAM over ROS: map -> odom, and the map's topics."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.srv", reason="needs the built messages of this package (make build)")

from rclpy.parameter import Parameter
from slam_peer import MAP_FROM_ODOM, MAP_TOPICS, MapMatcher, call, starting_slam, transforms

from ros_matching.errors import ConfigError
from ros_matching.geometry.se3 import invert
from ros_matching.geometry.sim3 import rigid_part
from ros_matching.msg import VoStatus
from ros_matching.nodes.common.conversions import (
    pose_from_msg,
    stamp_ns_from_msg,
    transform_from_msg,
)
from ros_matching.nodes.common.extrinsics import BODY_FROM_OPTICAL
from ros_matching.nodes.mapping.clouds import cloud_from_msg
from ros_matching.nodes.vo.vo_node import VoNode
from ros_matching.srv import SaveMap

pytestmark = pytest.mark.ros


@pytest.fixture
def start_slam(context):
    """Bring up vo_node with SLAM; see ``slam_peer.starting_slam``."""
    with starting_slam(context) as start:
        yield start


def test_map_to_odom_completes_the_pose_of_the_robot(start_slam):
    _, (slam,), peer = start_slam()
    assert peer.send_frame(0).map_state == VoStatus.NO_MAP
    assert transforms(peer, "map") == []
    status = peer.send_frame(1)
    assert (status.map_state, status.map_keyframes, status.map_loops) == (VoStatus.LOCALIZED, 9, 0)
    peer.wait(lambda: transforms(peer, "map") and transforms(peer, "odom"), "/tf")
    (map_to_odom,), (odom_to_base,) = transforms(peer, "map"), transforms(peer, "odom")
    assert (map_to_odom.child_frame_id, odom_to_base.child_frame_id) == ("odom", "base_link")
    assert map_to_odom.header.stamp == odom_to_base.header.stamp
    robot = transform_from_msg(map_to_odom.transform) @ transform_from_msg(odom_to_base.transform)
    camera = MAP_FROM_ODOM @ slam.tracker._pose
    np.testing.assert_allclose(robot, BODY_FROM_OPTICAL @ camera @ invert(BODY_FROM_OPTICAL), atol=1e-9)


def test_loops_are_events_of_their_image(start_slam):
    _, _, peer = start_slam()
    statuses = [peer.send_frame(number) for number in range(4)]
    assert [list(status.map_events) for status in statuses[:2]] == [[], []]
    assert "loop closed: keyframe 9 at keyframe 1, 50 inliers" in statuses[2].map_events[0]
    assert list(statuses[3].map_events) == []
    assert [status.map_loops for status in statuses] == [0, 0, 1, 1]


def test_the_map_is_published_in_the_robots_axes(start_slam):
    _, (slam,), peer = start_slam()
    for number in range(2):
        peer.send_frame(number)
    path, cloud, graph = (peer.last(topic) for topic in MAP_TOPICS)
    assert path.header.frame_id == cloud.header.frame_id == graph.markers[0].header.frame_id == "map"
    keyframes = slam.slam_map.keyframes
    assert len(path.poses) == len(keyframes)
    for stamped, keyframe in zip(path.poses, keyframes, strict=True):
        expected = BODY_FROM_OPTICAL @ keyframe.map_from_camera @ invert(BODY_FROM_OPTICAL)
        np.testing.assert_allclose(pose_from_msg(stamped.pose), expected, atol=1e-6)
    points = slam.slam_map.landmarks.positions @ BODY_FROM_OPTICAL[:3, :3].T
    np.testing.assert_allclose(cloud_from_msg(cloud).points, points, atol=1e-5)
    lines = {marker.ns: marker for marker in graph.markers}
    assert len(lines["keyframes"].points) == len(keyframes)
    loop = lines["loop"]
    assert len(loop.points) == 2
    ends = {tuple(np.round([p.x, p.y, p.z], 6)) for p in loop.points}
    assert ends == {tuple(np.round(BODY_FROM_OPTICAL[:3, :3] @ keyframes[row].center, 6)) for row in (0, -1)}


def test_keyframes_for_mapping_are_in_the_map_and_its_unit(start_slam):
    _, (slam,), peer = start_slam()
    for number in range(2):
        peer.send_frame(number)
    first, second = (peer.last("keyframe", count=2) and peer.received["keyframe"])[:2]
    assert first.header.frame_id == second.header.frame_id == "map"
    assert first.map_scale == pytest.approx(2.0)
    similarity = slam.map_from_odom @ slam.tracker._pose
    np.testing.assert_allclose(pose_from_msg(second.pose), BODY_FROM_OPTICAL @ rigid_part(similarity), atol=1e-9)
    np.testing.assert_allclose(second.sparse_points[2::3], [4.0, 6.0])  # depths of 2 and 3 in odom
    assert peer.count_publishers("keyframe_path") == 0  # of the odometry


def test_keyframes_that_are_still_mapped_follow_when_the_node_stops(start_slam):
    node, (slam,), peer = start_slam()
    for number in range(2):
        peer.send_frame(number)
    slam.unfinished = slam.tracker._tracked(slam.tracker.frames[-1], slam.tracker._pose).new_keyframes
    peer.last("keyframe", count=2)
    node.trigger_deactivate()
    assert peer.last("keyframe", count=3).header.frame_id == "map"


def test_corrected_keyframes_are_sent_once(start_slam):
    _, (slam,), peer = start_slam()
    for number in range(2):
        peer.send_frame(number)
    everything = peer.last("corrections")
    assert len(everything.poses) == len(slam.slam_map)
    assert list(everything.scales) == [keyframe.scale for keyframe in slam.slam_map.keyframes]
    moved = slam.slam_map.ids[2]
    slam.slam_map.correct({moved: (MAP_FROM_ODOM, 0.25)})
    peer.send_frame(2)  # closes a loop
    correction = peer.last("corrections", count=2)
    assert (len(correction.poses), list(correction.scales)) == (1, [0.25])
    np.testing.assert_allclose(pose_from_msg(correction.poses[0].pose), BODY_FROM_OPTICAL @ MAP_FROM_ODOM, atol=1e-9)
    assert stamp_ns_from_msg(correction.poses[0].header.stamp) == slam.slam_map.keyframe(moved).stamp_ns


def test_odometry_publishes_no_map(start_vo):
    _, _, peer = start_vo()
    status = peer.send_frame(0)
    assert (status.map_state, status.map_keyframes) == (VoStatus.NO_MAP, 0)
    answer = call(peer, SaveMap, "save_map", folder="/tmp/none")
    assert not answer.success
    assert "the mode is odometry" in answer.message


def test_a_mode_that_cannot_be_is_refused_at_the_start(context):
    for parameters, words in (
        ({"mode": "localization"}, "set map_file"),
        ({"mode": "mapping"}, "mode"),
        ({"map_frame": "odom"}, "map_frame must differ"),
        ({"save_map_at_end": True}, "set map_file"),
    ):
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        with pytest.raises(ConfigError, match=words):
            VoNode(context=context, parameter_overrides=overrides)


def test_a_map_that_is_not_there_fails_the_configuration(context, tmp_path, capfd):
    overrides = [
        Parameter("mode", value="localization"),
        Parameter("map_file", value=str(tmp_path / "none")),
    ]
    node = VoNode(load=lambda name, device: MapMatcher(), context=context, parameter_overrides=overrides)
    assert not node.bring_up()
    node.destroy_node()
    assert "no such folder" in capfd.readouterr().err


def test_the_frames_of_the_map_have_the_prefix(start_slam):
    _, _, peer = start_slam(frame_prefix="robot1/")
    for number in range(2):
        peer.send_frame(number)
    (transform,) = peer.wait(lambda: transforms(peer, "robot1/map"), "robot1/map")
    assert transform.child_frame_id == "robot1/odom"
    assert peer.last("vo_node/map_path").header.frame_id == "robot1/map"


def test_without_publish_map_tf_the_map_is_published_all_the_same(start_slam):
    _, _, peer = start_slam(publish_map_tf=False)
    for number in range(2):
        peer.send_frame(number)
    assert peer.last("vo_node/landmarks").width > 0
    assert transforms(peer, "map") == []
