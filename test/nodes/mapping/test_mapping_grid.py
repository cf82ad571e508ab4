"""The occupancy grid of mapping_node, for a wall of known distance."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("ros_matching.msg", reason="needs the built messages of this package (make build)")

import mapping_peer
from mapping_peer import DEPTH_CAMERA, LATCHED
from nav_msgs.msg import OccupancyGrid
from node_peer import wait_until
from vo_peer import stamp_ns

from ros_matching.datatypes import DepthMap, ScaleState
from ros_matching.nodes.common.conversions import pose_from_msg, stamp_ns_from_msg

pytestmark = pytest.mark.ros

WALL = 2.0  # in front of the camera, which looks along x of odom
PARAMETERS = {
    "grid.ground": "known",
    "grid.floor_height": -1.0,
    "grid.max_height": 1.2,
    "grid.resolution": 0.25,
    "grid.min_hits": 1,
    "map_period_s": 0.05,
}


@pytest.fixture
def wall(monkeypatch):
    """Make the known mapper return the depth of a wall."""
    depth = np.full((DEPTH_CAMERA.height, DEPTH_CAMERA.width), WALL, np.float32)
    monkeypatch.setattr(mapping_peer, "depth_map", lambda number: DepthMap(depth, np.ones_like(depth), DEPTH_CAMERA))


def subscribe(peer) -> list[OccupancyGrid]:
    received: list[OccupancyGrid] = []
    peer.create_subscription(OccupancyGrid, "/mapping_node/occupancy_grid", received.append, LATCHED)
    return received


def cell(grid: OccupancyGrid, x: float, y: float) -> int:
    pose = pose_from_msg(grid.info.origin)
    local = pose[:3, :3].T @ (np.array([x, y, 0.0]) - pose[:3, 3])
    column, row = np.floor(local[:2] / grid.info.resolution).astype(int)
    return np.array(grid.data).reshape(grid.info.height, grid.info.width)[row, column]


def test_the_space_before_a_wall_is_free(start_mapping, wall):
    _, mapper, peer = start_mapping(**PARAMETERS)
    peer.send(0, ScaleState.METRIC)
    wait_until(lambda: mapper.seen == [0])
    received = subscribe(peer)  # late: the grid waits for its first subscriber
    wait_until(lambda: bool(received))
    grid = received[-1]
    assert (grid.header.frame_id, stamp_ns_from_msg(grid.header.stamp)) == ("odom", stamp_ns(0))
    assert pose_from_msg(grid.info.origin)[2, 3] == pytest.approx(-1.0)
    assert cell(grid, WALL + 0.1, 0.1) == 100
    assert cell(grid, 1.4, 0.1) == 0
    assert set(grid.data) == {-1, 0, 100}
    late = subscribe(peer)
    wait_until(lambda: bool(late))
    assert late[0].data == grid.data


def test_without_metres_there_is_no_grid_and_the_remedy_is_reported(start_mapping, wall):
    _, mapper, peer = start_mapping(**PARAMETERS)
    received = subscribe(peer)
    peer.send(0, ScaleState.UP_TO_SCALE)
    wait_until(lambda: mapper.seen == [0])
    assert "scale.source" in peer.diagnosis("up to scale").message
    assert not received
