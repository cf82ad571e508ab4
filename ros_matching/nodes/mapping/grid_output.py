"""Occupancy grid of ``mapping_node`` for Nav2's static layer, latched."""

from __future__ import annotations

from array import array
from collections.abc import Mapping

import numpy as np
from nav_msgs.msg import OccupancyGrid as OccupancyGridMsg
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Header

from ros_matching.datatypes import OccupancyGrid, ScaleState
from ros_matching.mapping import GridConfig, MappingResult, OccupancyMapper
from ros_matching.nodes.common.conversions import header_to_msg, pose_to_msg
from ros_matching.nodes.common.problems import Problem, ProblemLog

_TOPIC = "~/occupancy_grid"
_UP = (0.0, 0.0, 1.0)  # in odom and map (REP-103)


class GridOutput:
    """Publisher of the grid: keyframes are kept at once, and the grid is made while there is a subscriber."""

    def __init__(self, node: LifecycleNode, config: GridConfig, problems: ProblemLog) -> None:
        self._node = node
        self._problems = problems
        self._mapper = OccupancyMapper(config, _UP)
        self._scale: ScaleState | None = None
        self._factors: dict[int, float] = {}
        self._is_new = False
        self._publisher = node.create_lifecycle_publisher(
            OccupancyGridMsg,
            _TOPIC,
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def destroy(self) -> None:
        """Remove the publisher from the node."""
        self._node.destroy_lifecycle_publisher(self._publisher)

    def take(self, result: MappingResult) -> None:
        """Add a mapped keyframe; another unit of length starts a new grid."""
        keyframe = result.keyframe
        if self._scale is not None and not self._scale.shares_unit(keyframe.scale):
            self.clear()
        self._scale, self._is_new = keyframe.scale, True
        if keyframe.scale is not ScaleState.UP_TO_SCALE:
            factor = self._factors.get(keyframe.id, 1.0)
            self._mapper.add(keyframe.id, result.depth_map, keyframe.world_from_camera, factor)

    def move(self, poses: Mapping[int, np.ndarray], scales: Mapping[int, float]) -> None:
        """Correct poses of keyframes, and rescale their lengths."""
        self._factors |= scales
        self._mapper.move(poses, scales)
        self._is_new = True

    def clear(self) -> None:
        """Begin again."""
        self._mapper.clear()
        self._factors = {}
        self._scale, self._is_new = None, False
        self._problems.clear(Problem.GRID)

    def publish(self, stamp_ns: int, fixed_frame: str) -> None:
        """Publish the grid if it has changed and has a subscriber; report why there is none."""
        if not (self._is_new and self._publisher.get_subscription_count()):
            return
        self._is_new = False
        if self._scale is ScaleState.UP_TO_SCALE:
            self._problems.report(
                Problem.GRID,
                "there is no occupancy grid, as the map is up to scale; set scale.source of vo_node (depth, stereo, "
                "wheel or height)",
            )
            return
        grid = self._mapper.grid()
        if grid is None:
            self._problems.report(Problem.GRID, f"there is no occupancy grid: {self._mapper.reason}")
            return
        self._problems.clear(Problem.GRID)
        self._publisher.publish(grid_to_msg(grid, header_to_msg(stamp_ns, fixed_frame)))


def grid_to_msg(grid: OccupancyGrid, header: Header) -> OccupancyGridMsg:
    """Return the message of a grid."""
    msg = OccupancyGridMsg(header=header)
    msg.info.map_load_time = header.stamp
    msg.info.resolution = float(grid.resolution)
    msg.info.height, msg.info.width = grid.cells.shape
    msg.info.origin = pose_to_msg(grid.world_from_grid)
    msg.data = array("b", grid.cells.tobytes())
    return msg
