"""The services of ``mapping_node``: ``~/save_cloud`` and ``~/clear``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from std_srvs.srv import Trigger

from ros_matching.nodes.cloud_file import save_cloud
from ros_matching.nodes.mapping_config import MappingNodeConfig
from ros_matching.nodes.mapping_pipeline import MappingPipeline
from ros_matching.nodes.parameters import read_config
from ros_matching.nodes.services import offer


class MappingServices:
    """Answers for a node. ``in_worker`` calls with the pipeline, in the thread that alone may touch it.

    It waits for the keyframe at work, so the services have a callback group of their own.
    """

    def __init__(self, node: Node, in_worker: Callable[[Callable[[MappingPipeline], Any]], Any]) -> None:
        self._node = node
        self._in_worker = in_worker
        group = MutuallyExclusiveCallbackGroup()
        offer(node, Trigger, "~/save_cloud", lambda _: self._save_cloud(), group)
        offer(node, Trigger, "~/clear", lambda _: self._clear(), group)

    def _clear(self) -> str:
        self._in_worker(lambda pipeline: pipeline.clear("~/clear was called"))
        return "the map begins anew with the next keyframe"

    def _save_cloud(self) -> str:
        file = read_config(self._node, MappingNodeConfig).cloud_file
        return save_cloud(self._in_worker(lambda pipeline: pipeline.cloud()), file)
