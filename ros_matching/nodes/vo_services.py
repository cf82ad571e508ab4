"""The services of ``vo_node``: ``~/reset``, ``~/pause`` and ``~/save_trajectory``."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from ros_matching.nodes.parameters import read_config
from ros_matching.nodes.services import offer
from ros_matching.nodes.vo_config import VoConfig
from ros_matching.nodes.vo_pipeline import VoPipeline


class VoServices:
    """Answers for a node; ``pipeline`` raises ``NodeError`` while it is unconfigured."""

    def __init__(self, node: Node, pipeline: Callable[[], VoPipeline]) -> None:
        self._node = node
        self._pipeline = pipeline
        offer(node, Trigger, "~/reset", lambda _: self._reset())
        offer(node, SetBool, "~/pause", lambda request: self._pause(request.data))
        offer(node, Trigger, "~/save_trajectory", lambda _: self._save_trajectory())

    def _reset(self) -> str:
        self._pipeline().reset("~/reset was called")
        return "the odometry starts anew with the next image"

    def _pause(self, is_paused: bool) -> str:
        self._pipeline().paused = is_paused
        return "paused" if is_paused else "going on"

    def _save_trajectory(self) -> str:
        config = read_config(self._node, VoConfig)
        return self._pipeline().save_trajectory(config.trajectory_file, config.trajectory_format)
