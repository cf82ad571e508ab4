"""The map of SLAM over ROS: map -> odom, the map's topics, and its services."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.srv", reason="needs the built messages of this package (make build)")

from geometry_msgs.msg import PoseWithCovarianceStamped
from made_maps import assert_same, made_map
from nav_msgs.msg import Path
from node_peer import TIMEOUT_S, wait_until
from rclpy.executors import MultiThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray
from vo_peer import CAMERA, OUTPUTS, KnownMatcher, KnownTracker, VoPeer

from ros_matching.atlas.map_storage import load_map, save_map
from ros_matching.atlas.map_union import united
from ros_matching.backend.slam_back_end import EventKind, SlamEvent
from ros_matching.errors import ConfigError
from ros_matching.geometry.se3 import exp_so3, invert, pose_from
from ros_matching.geometry.sim3 import rigid_part, similarity_from
from ros_matching.msg import KeyframeCorrections, VoStatus
from ros_matching.nodes.common.conversions import (
    header_to_msg,
    pose_from_msg,
    pose_to_msg,
    stamp_ns_from_msg,
    transform_from_msg,
)
from ros_matching.nodes.common.extrinsics import BODY_FROM_OPTICAL
from ros_matching.nodes.common.spinning import spinning
from ros_matching.nodes.mapping.clouds import cloud_from_msg
from ros_matching.nodes.vo.vo_node import VoNode
from ros_matching.slam import SlamResult, SlamStatus
from ros_matching.srv import LoadMap, MergeMap, SaveMap

pytestmark = pytest.mark.ros

MAP_FROM_ODOM = pose_from(exp_so3([0.0, 0.5, 0.0]), np.array([1.0, 0.0, 2.0]))
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
MAP_TOPICS = {"vo_node/map_path": Path, "vo_node/landmarks": PointCloud2, "vo_node/pose_graph": MarkerArray}


class MapMatcher(KnownMatcher):
    """A matcher whose features are those of ``made_map``."""

    name, fingerprint = "points", "hash"


class KnownSlam:
    """``KnownTracker`` in a map of ten keyframes; the third frame closes a loop."""

    made: list[KnownSlam]
    unfinished = ()

    def __init__(self, matcher, tracking, slam, scale, *, threaded, slam_map, mode, imu=None) -> None:
        self.tracker = KnownTracker(matcher, tracking, scale)
        self.config, self.mode, self.given = slam, mode, slam_map
        self.slam_map = slam_map
        self.is_closed = False
        self.made.append(self)

    def track(self, frame) -> SlamResult:
        tracking = self.tracker.track(frame)
        count = len(self.tracker.frames)
        if count == 2 and self.slam_map is None:
            self.slam_map = made_map(10, camera=CAMERA)
        events = (SlamEvent(EventKind.LOOP_CLOSED, frame.stamp_ns, 9, 1, 50, 0.5),) if count == 3 else ()
        keyframes = 0 if self.slam_map is None else len(self.slam_map)
        known = count > 1
        status = SlamStatus.TRACKING if known else SlamStatus.UNLOCALIZED
        return SlamResult(tracking, status, MAP_FROM_ODOM if known else None, events, keyframes)

    @property
    def map_from_odom(self) -> np.ndarray:
        return similarity_from(MAP_FROM_ODOM, 2.0)

    def keyframe_poses(self) -> dict:
        return self.tracker.keyframe_poses()

    def snapshot(self):
        return self.slam_map

    def suggest_pose(self, pose: np.ndarray) -> None:
        self.suggested = pose

    def start_at(self, pose: np.ndarray) -> None:
        self.start = pose

    def finish(self, *, adjust: bool = True) -> tuple:
        return self.unfinished

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def start_slam(context):
    """Bring up vo_node with SLAM, and give (node, its SLAMs in the order of their starts, peer)."""
    with contextlib.ExitStack() as stack:

        def start(**parameters):
            known = type("Known", (KnownSlam,), {"made": []})
            parameters = {"camera_extrinsics": "identity", "mode": "slam", "map_period_s": 0.1, **parameters}
            overrides = [Parameter(name, value=value) for name, value in parameters.items()]
            node = VoNode(
                load=lambda name, device: MapMatcher(), make_slam=known, context=context, parameter_overrides=overrides
            )
            peer = VoPeer(context, listen_to=[topic for topic in OUTPUTS if topic != "keyframe_path"])
            peer.create_subscription(
                KeyframeCorrections, "keyframe_corrections", lambda msg: peer._keep("corrections", msg), 100
            )
            for topic, kind in MAP_TOPICS.items():
                peer.create_subscription(kind, topic, lambda msg, topic=topic: peer._keep(topic, msg), LATCHED)
            assert node.bring_up()
            stack.enter_context(spinning(MultiThreadedExecutor(num_threads=2, context=context), node, peer))
            peer.settle()
            return node, known.made, peer

        yield start


def transforms(peer: VoPeer, parent: str) -> list:
    return [t for msg in peer.received["/tf"] for t in msg.transforms if t.header.frame_id == parent]


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


def call(peer: VoPeer, service: type, name: str, **fields):
    client = peer.create_client(service, f"vo_node/{name}")
    assert client.wait_for_service(TIMEOUT_S)
    import threading

    done, future = threading.Event(), client.call_async(service.Request(**fields))
    future.add_done_callback(lambda _: done.set())
    assert done.wait(TIMEOUT_S)
    return future.result()


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
