"""SLAM with a known map for ``vo_node``, and a peer that listens to the topics of the map."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from made_maps import made_map
from nav_msgs.msg import Path
from node_peer import TIMEOUT_S
from rclpy.context import Context
from rclpy.executors import MultiThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray
from vo_peer import CAMERA, OUTPUTS, KnownMatcher, KnownTracker, VoPeer

from ros_matching.backend.slam_back_end import EventKind, SlamEvent
from ros_matching.geometry.se3 import exp_so3, pose_from
from ros_matching.geometry.sim3 import similarity_from
from ros_matching.msg import KeyframeCorrections
from ros_matching.nodes.common.spinning import spinning
from ros_matching.nodes.vo.vo_node import VoNode
from ros_matching.slam import SlamResult, SlamStatus

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


@contextlib.contextmanager
def starting_slam(context: Context) -> Iterator[Callable]:
    """Give a function that brings up vo_node with SLAM: (node, its SLAMs in the order of their starts, peer)."""
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


def call(peer: VoPeer, service: type, name: str, **fields) -> Any:
    """Call a service of vo_node; returns its response."""
    client = peer.create_client(service, f"vo_node/{name}")
    assert client.wait_for_service(TIMEOUT_S)
    done, future = threading.Event(), client.call_async(service.Request(**fields))
    future.add_done_callback(lambda _: done.set())
    assert done.wait(TIMEOUT_S)
    return future.result()
