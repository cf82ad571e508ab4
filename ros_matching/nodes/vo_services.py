"""The services of ``vo_node``: ``~/reset``, ``~/pause`` and ``~/save_trajectory``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from std_srvs.srv import SetBool, Trigger

from ros_matching.errors import NodeError, RosMatchingError
from ros_matching.nodes.parameters import read_config
from ros_matching.nodes.vo_config import VoConfig
from ros_matching.nodes.vo_pipeline import VoPipeline


class VoServices:
    """Answers for a node whose ``pipeline`` is ``None`` while it is unconfigured."""

    def __init__(self, node: Node, pipeline: Callable[[], VoPipeline | None]) -> None:
        self._node = node
        self._pipeline = pipeline
        node.create_service(Trigger, "~/reset", lambda _, answer: self._answer(answer, self._reset))
        node.create_service(
            SetBool, "~/pause", lambda request, answer: self._answer(answer, lambda p: self._pause(p, request.data))
        )
        node.create_service(Trigger, "~/save_trajectory", lambda _, answer: self._answer(answer, self._save_trajectory))

    def _answer(self, answer: Any, action: Callable[[VoPipeline], str]) -> Any:
        """Do what was asked; the message is what was done, or why not."""
        pipeline = self._pipeline()
        try:
            if pipeline is None:
                raise NodeError("the node is unconfigured; configure and activate it first (ros2 lifecycle set)")
            answer.message = action(pipeline)
            answer.success = True
        except RosMatchingError as error:
            answer.success, answer.message = False, str(error)
        return answer

    @staticmethod
    def _reset(pipeline: VoPipeline) -> str:
        pipeline.reset("~/reset was called")
        return "the odometry starts anew with the next image"

    @staticmethod
    def _pause(pipeline: VoPipeline, is_paused: bool) -> str:
        pipeline.paused = is_paused
        return "paused" if is_paused else "going on"

    def _save_trajectory(self, pipeline: VoPipeline) -> str:
        config = read_config(self._node, VoConfig)
        return pipeline.save_trajectory(config.trajectory_file, config.trajectory_format)
