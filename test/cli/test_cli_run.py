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

from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile

from ros_matching.io.cloud import read_cloud
from ros_matching.mapping import MappingConfig, load_dense_mapper
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.nodes.isolation import isolate
from ros_matching.nodes.mapping_messages import keyframe_from_msg
from ros_matching.nodes.spinning import ros_context, spinning

pytestmark = [pytest.mark.ros, pytest.mark.slow]

SOURCE = "scene:room?seed=1&frames=22&fps=4&width=320&height=240"
MAPPING = {"planes": 32, "levels": 1, "min_confidence": 0.5, "min_consistent": 2}
PARAMETERS = {
    "backend": "sift",
    "wait_for_consumer": "true",
    "queue_length": "100",
    **{f"mapping.{name}": str(value) for name, value in MAPPING.items()},
}


def recorded_keyframes(command: list[str]) -> tuple[list[KeyframeMsg], str]:
    """The keyframes that were sent while the command ran, and what it said."""
    import rclpy.node

    isolate()
    received: list[KeyframeMsg] = []
    with ros_context([]):
        node = rclpy.node.Node("recorder")
        node.create_subscription(KeyframeMsg, "keyframe", received.append, QoSProfile(depth=1000))
        with spinning(SingleThreadedExecutor(), node):
            ran = subprocess.run(command, capture_output=True, text=True, timeout=200, env=os.environ)
    output = ran.stdout + ran.stderr
    assert ran.returncode == 0, output
    return received, output


def test_the_map_over_ros_equals_the_offline_one(tmp_path):
    file = tmp_path / "room.ply"
    ros_args = [part for name, value in PARAMETERS.items() for part in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", "ros_matching.cli.main", "run", "--source", SOURCE, "--cloud", str(file)]
    messages, output = recorded_keyframes([*command, "--ros-args", *ros_args])
    assert len(messages) >= 5, output
    cloud = read_cloud(file)
    assert f"saved {len(cloud)} points: {file}" in output

    mapper = load_dense_mapper("cpu", MappingConfig(**MAPPING))
    results = [mapper.add(keyframe_from_msg(msg)) for msg in messages] + mapper.finish()
    expected = mapper.cloud()
    assert len(expected) > 1000, [result.reason for result in results]
    assert len(cloud) == pytest.approx(len(expected), rel=0.01)
    distances = cKDTree(expected.points).query(cloud.points)[0]
    size = np.linalg.norm(np.ptp(expected.points, axis=0))
    assert np.quantile(distances, 0.99) < 1e-3 * size
