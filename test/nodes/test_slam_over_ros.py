"""SLAM with nodes in processes of their own: map -> odom against ground truth, localisation after a restart."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.srv", reason="needs the built messages of this package (make build)")
pytest.importorskip("gtsam", reason="needs the extra slam")

from node_peer import TIMEOUT_S, Peer
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from tf2_msgs.msg import TFMessage

from ros_matching.evaluation.trajectory.trajectory_alignment import align
from ros_matching.geometry.se3 import invert
from ros_matching.io import open_source
from ros_matching.msg import VoStatus
from ros_matching.nodes.common.conversions import stamp_ns_from_msg, transform_from_msg
from ros_matching.nodes.common.extrinsics import BODY_FROM_OPTICAL
from ros_matching.nodes.common.lifecycle import LifecycleClient
from ros_matching.nodes.common.process import NodeProcess
from ros_matching.nodes.common.spinning import spinning
from ros_matching.nodes.replay.replay_node import ReplayNode
from ros_matching.srv import SaveMap

pytestmark = [pytest.mark.ros, pytest.mark.slow]

# The camera turns around and comes back; the odometry remembers eight keyframes
SCENE = "scene:room?path=loop&frames=130&fps=10&turn_deg_s=60&width=256&height=192&antialias=false&seed=1"
PARAMETERS = {
    "matcher": "sift",
    "max_keypoints": "600",
    "camera_extrinsics": "identity",
    "mapping_thread": "false",
    "tracking.max_keyframes": "8",
    "qos_overrides./image.subscription.reliability": "reliable",
}
DEEP = {"/tf": QoSProfile(depth=1000), "vo_status": QoSProfile(depth=1000)}


class Run:
    """A replay of a source to a vo_node process: statuses, and poses of the camera in the map by stamp."""

    def __init__(self, context, log: Path, frames: slice = slice(None), save: Path | None = None, **parameters) -> None:
        self.source = open_source(SCENE, start=frames.start or 0, stop=frames.stop)
        arguments = [part for name, value in (PARAMETERS | parameters).items() for part in ("-p", f"{name}:={value}")]
        peer = Peer(context, "vo_node", {"/tf": TFMessage, "vo_status": VoStatus}, DEEP)
        replay = ReplayNode(
            source=self.source,
            context=context,
            parameter_overrides=[Parameter("wait_for_consumer", value=True)],
        )
        with (
            NodeProcess("vo_node", arguments, log) as process,
            spinning(SingleThreadedExecutor(context=context), peer, replay),
        ):
            client = LifecycleClient(peer, "vo_node", stopped=lambda: process.has_ended)
            assert client.bring_up(2 * TIMEOUT_S), process.log_tail()
            replay.play()
            last_ns = max(frame_stamps(self.source))
            peer.wait(lambda: any(_stamp_ns(s) == last_ns for s in peer.received["vo_status"]), "the last status")
            self.saved = None if save is None else _save(peer, save)
        self.statuses = sorted(peer.received["vo_status"], key=_stamp_ns)
        self.poses = _map_from_camera(peer.received["/tf"])
        peer.destroy_node()
        replay.destroy_node()

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Estimated and true poses (N, 4, 4) of the frames with a pose in the map."""
        stamps = frame_stamps(self.source)
        rows = [row for row, stamp_ns in enumerate(stamps) if stamp_ns in self.poses]
        return np.array([self.poses[stamps[row]] for row in rows]), self.source.poses[rows]


def frame_stamps(source) -> list[int]:
    period_ns = round(1e9 / 10)
    return [1_000_000_000 + row * period_ns for row in source._rows]


def _stamp_ns(msg) -> int:
    return stamp_ns_from_msg(msg.header.stamp)


def _save(peer: Peer, folder: Path) -> SaveMap.Response:
    client = peer.create_client(SaveMap, "vo_node/save_map")
    assert client.wait_for_service(TIMEOUT_S)
    done, future = threading.Event(), client.call_async(SaveMap.Request(folder=str(folder)))
    future.add_done_callback(lambda _: done.set())
    assert done.wait(TIMEOUT_S)
    return future.result()


def _map_from_camera(messages: list[TFMessage]) -> dict[int, np.ndarray]:
    """Poses (4, 4) of the camera in its axes, by stamp, where both transforms are known."""
    found: dict[str, dict[int, np.ndarray]] = {"map": {}, "odom": {}}
    for transform in (transform for msg in messages for transform in msg.transforms):
        if transform.header.frame_id in found:
            found[transform.header.frame_id][_stamp_ns(transform)] = transform_from_msg(transform.transform)
    return {
        stamp_ns: invert(BODY_FROM_OPTICAL) @ found["map"][stamp_ns] @ odom_from_base @ BODY_FROM_OPTICAL
        for stamp_ns, odom_from_base in found["odom"].items()
        if stamp_ns in found["map"]
    }


def test_the_robot_is_where_it_is_in_the_map_and_after_a_restart(context, tmp_path):
    # Map
    first = Run(context, tmp_path / "first.log", save=tmp_path / "map", mode="slam")
    assert first.saved.success, first.saved.message
    assert sum(status.map_loops for status in first.statuses[-1:]) > 0
    assert any("loop closed" in event for status in first.statuses for event in status.map_events)
    estimated, true = first.pairs()
    assert len(estimated) > 120
    alignment = align(estimated, true, with_scale=True)
    errors = np.linalg.norm(alignment.apply(estimated)[:, :3, 3] - true[:, :3, 3], axis=1)
    size = np.ptp(true[:, :3, 3], axis=0).max()
    assert np.median(errors) < 0.06 * size

    # A new process is localised in the map, from somewhere in the middle
    second = Run(context, tmp_path / "second.log", slice(60, 100), mode="localization", map_file=str(tmp_path / "map"))
    assert second.statuses[-1].map_state == VoStatus.LOCALIZED
    assert second.statuses[-1].map_keyframes == first.saved.keyframes  # none are added
    estimated, true = second.pairs()
    assert len(estimated) > 25
    errors = np.linalg.norm(alignment.apply(estimated)[:, :3, 3] - true[:, :3, 3], axis=1)
    assert np.median(errors) < 0.06 * size
