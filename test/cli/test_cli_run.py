"""ros-matching run with mapping: replay, odometry and mapping in their processes, against the mapper without ROS."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial import cKDTree

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

from nav_msgs.msg import Path
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

from ros_matching.datatypes import PointCloud
from ros_matching.io.point_clouds import read_cloud
from ros_matching.mapping import MappingConfig, load_dense_mapper
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.nodes.common.conversions import pose_from_msg, stamp_ns_from_msg
from ros_matching.nodes.common.spinning import isolate, ros_context, spinning
from ros_matching.nodes.mapping.messages import keyframe_from_msg

pytestmark = [pytest.mark.ros, pytest.mark.slow]

SOURCE = "scene:room?seed=1&frames=20&fps=4&width=256&height=192"
MAPPING = {"planes": 32, "levels": 1, "min_confidence": 0.5, "min_consistent": 2}
PARAMETERS = {
    "mapping_thread": "false",
    "matcher": "sift",
    "wait_for_consumer": "true",
    "consumer_timeout_s": "300.0",
    "queue_length": "100",
    **{f"mapping.{name}": str(value) for name, value in MAPPING.items()},
}


def recorded(command: list[str]) -> tuple[list[KeyframeMsg], list[Path], str]:
    """Return the keyframes and corrected poses sent while the command ran, and its output."""
    isolate()
    keyframes: list[KeyframeMsg] = []
    paths: list[Path] = []
    with ros_context([]):
        node = Node("recorder")
        node.create_subscription(KeyframeMsg, "keyframe", keyframes.append, QoSProfile(depth=1000))
        node.create_subscription(Path, "keyframe_path", paths.append, QoSProfile(depth=1000))
        with spinning(SingleThreadedExecutor(), node):
            ran = subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ)
    output = ran.stdout + ran.stderr
    assert ran.returncode == 0, output
    return keyframes, paths, output


def mapped_offline(keyframes: list[KeyframeMsg], paths: list[Path]) -> PointCloud:
    """The map of the same keyframes, moved as they were corrected, without ROS.

    Each path came before the keyframe of its stamp, and before the other one that a map begins with.
    """
    mapper = load_dense_mapper("cpu", MappingConfig(**MAPPING))
    ids = {stamp_ns_from_msg(msg.header.stamp): msg.id for msg in keyframes}
    rows = np.searchsorted([stamp_ns_from_msg(path.header.stamp) for path in paths], list(ids))
    assert rows.tolist() == [0, *range(len(paths))]
    for row, msg in zip(rows, keyframes, strict=True):
        poses = paths[row].poses
        mapper.move({ids[stamp_ns_from_msg(pose.header.stamp)]: pose_from_msg(pose.pose) for pose in poses})
        mapper.add(keyframe_from_msg(msg))
    mapper.finish()
    return mapper.cloud()


@pytest.mark.timeout(900)
def test_the_map_over_ros_equals_the_offline_one(tmp_path):
    file = tmp_path / "room.ply"
    ros_args = [part for name, value in PARAMETERS.items() for part in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", "ros_matching.cli.main", "run", "--source", SOURCE, "--cloud", str(file)]
    keyframes, paths, output = recorded([*command, "--ros-args", *ros_args])
    assert len(keyframes) >= 5, output
    cloud = read_cloud(file)
    assert f"saved {len(cloud)} points: {file}" in output
    expected = mapped_offline(keyframes, paths)
    assert len(expected) > 1000
    assert len(cloud) == pytest.approx(len(expected), rel=0.25)
    distances = cKDTree(expected.points).query(cloud.points)[0]
    size = np.linalg.norm(np.ptp(expected.points, axis=0))
    # Not to the bit: which corrections have come when a keyframe is mapped depends on who is how fast.
    assert np.quantile(distances, 0.99) < 0.01 * size
