"""Two robots in one graph, each with a vo_node and a replay of its own, by the arguments of the launch file."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from consumer import ListSource, random_frames
from node_peer import Peer
from rclpy.executors import MultiThreadedExecutor
from rclpy.parameter import Parameter
from tf2_msgs.msg import TFMessage
from vo_peer import KnownMatcher, KnownTracker, stamp_ns

from ros_matching.nodes.common.launch_arguments import NodePlan, plan
from ros_matching.nodes.common.spinning import spinning
from ros_matching.nodes.replay.replay_node import ReplayNode
from ros_matching.nodes.vo.vo_node import VoNode

pytestmark = pytest.mark.ros

FRAMES = 5
HOUR_NS = 3600 * 10**9
ROBOTS = ("robot1", "robot2")


def node_options(context, namespace: str, node: NodePlan) -> dict:
    """The options of a node that launch would start with the plan, in its namespace."""
    remappings = [part for pair in node.remappings for part in ("-r", "{}:={}".format(*pair))]
    return {
        "context": context,
        "cli_args": ["--ros-args", "-r", f"__ns:=/{namespace}", *remappings],
        "parameter_overrides": [Parameter(name, value=value) for name, value in node.parameters.items()],
    }


class Robot:
    """The nodes of one robot; the recordings of different robots are hours apart."""

    def __init__(self, context, number: int) -> None:
        name = ROBOTS[number]
        values = {"namespace": name, "frame_prefix": f"{name}/", "clock_topic": "clock", "source": "list"}
        nodes = {node.executable: node for node in plan(values | {"wait_for_consumer": "true"})}
        self.trackers: list[KnownTracker] = []
        self.vo_node = VoNode(
            load=lambda name, device: KnownMatcher(),
            make_tracker=self._make_tracker,
            **node_options(context, name, nodes["vo_node"]),
        )
        stamps_ns = [stamp_ns(frame) - number * HOUR_NS for frame in range(FRAMES)]
        self.replay = ReplayNode(
            source=ListSource(random_frames(stamps_ns)), **node_options(context, name, nodes["replay_node"])
        )

    def _make_tracker(self, *parts) -> KnownTracker:
        self.trackers.append(KnownTracker(*parts))
        return self.trackers[-1]


def test_two_robots_track_without_resetting_each_other(context):
    robots = [Robot(context, number) for number in range(2)]
    peer = Peer(context, "vo_node", {"/tf": TFMessage})
    nodes = [node for robot in robots for node in (robot.vo_node, robot.replay)]
    with spinning(MultiThreadedExecutor(context=context), peer, *nodes):
        assert all(robot.vo_node.bring_up() for robot in robots)
        threads = [threading.Thread(target=robot.replay.play) for robot in robots]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        moving = 2 * (FRAMES - 1)  # of the first frame there is no pose yet
        peer.wait(lambda: len(peer.received["/tf"]) >= moving, "transforms of both robots")
        clocks = [peer.count_publishers(topic) for topic in ("/clock", *(f"/{name}/clock" for name in ROBOTS))]
    for robot in robots:
        (tracker,) = robot.trackers
        assert (len(tracker.frames), tracker.resets) == (FRAMES, 0)
    transforms = [transform for msg in peer.received["/tf"] for transform in msg.transforms]
    pairs = {(transform.header.frame_id, transform.child_frame_id) for transform in transforms}
    assert pairs == {(f"{name}/odom", f"{name}/base_link") for name in ROBOTS}
    assert clocks == [0, 1, 1]
