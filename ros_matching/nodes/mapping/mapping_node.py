"""``mapping_node``: dense mapping of the odometry's keyframes as a ROS 2 lifecycle node, with its services.

configure loads the network; activate subscribes; deactivate maps the waiting keyframes; cleanup frees. The executor's
callbacks only store messages. One worker thread does all work on keyframes and gives way to the odometry.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nav_msgs.msg import Path as PathMsg
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import Trigger

from ros_matching.errors import NodeError
from ros_matching.mapping import load_dense_mapper
from ros_matching.msg import Keyframe as KeyframeMsg
from ros_matching.msg import KeyframeCorrections
from ros_matching.nodes.common.diagnostics import NodeReport
from ros_matching.nodes.common.endpoints import create_service
from ros_matching.nodes.common.executable import run_node
from ros_matching.nodes.common.managed_node import ManagedNode
from ros_matching.nodes.common.parameters import read_config
from ros_matching.nodes.common.problems import Problem
from ros_matching.nodes.common.worker import Worker
from ros_matching.nodes.mapping.config import CONFIGS, LIVE_SETTINGS, MappingNodeConfig
from ros_matching.nodes.mapping.grid_output import GridOutput
from ros_matching.nodes.mapping.keyframe_input import KeyframeInput
from ros_matching.nodes.mapping.map_files import FilesAtEnd, load_map, save_cloud, save_map
from ros_matching.nodes.mapping.outputs import MappingOutputs
from ros_matching.nodes.mapping.pipeline import Mapper, MappingParts, MappingPipeline, PoseCorrections, ReceivedKeyframe
from ros_matching.nodes.mapping.statistics import MappingStatistics, mapping_report
from ros_matching.nodes.vo.trajectory_record import part_path

_NICEST = 19
_MOST_PARTS = 100
_REPORT_PERIOD_S = 5.0


class MappingServices:
    """Services of the node. ``in_worker`` calls a function with the pipeline in the worker's thread.

    It waits for the keyframe in progress, so the services have a callback group of their own.
    """

    def __init__(self, node: Node, in_worker: Callable[[Callable[[MappingPipeline], Any]], Any]) -> None:
        self._node = node
        self._in_worker = in_worker
        group = MutuallyExclusiveCallbackGroup()
        create_service(node, Trigger, "~/save_cloud", lambda _: self._save_cloud(), group)
        create_service(node, Trigger, "~/save_map", lambda _: self._save_map(), group)
        create_service(node, Trigger, "~/clear", lambda _: self._clear(), group)

    def _clear(self) -> str:
        self._in_worker(lambda pipeline: pipeline.clear("~/clear was called"))
        return "the map restarts with the next keyframe"

    def _save_cloud(self) -> str:
        file = read_config(self._node, MappingNodeConfig).cloud_file
        return save_cloud(self._in_worker(lambda pipeline: pipeline.cloud()), file)

    def _save_map(self) -> str:
        file = read_config(self._node, MappingNodeConfig).map_file
        return save_map(self._in_worker(lambda pipeline: pipeline.stored()), file)


class MappingNode(ManagedNode):
    """The node; tests replace the mapper by ``load``."""

    NAME = "mapping_node"
    TITLE = "dense mapping"
    CONFIGS = CONFIGS
    LIVE_SETTINGS = LIVE_SETTINGS
    LIBRARY = "ros_matching.mapping"

    def __init__(self, *, load: Callable[..., Mapper] = load_dense_mapper, **node_options: Any) -> None:
        """Declare the parameters; raises ``NodeError`` or ``ConfigError`` for one of the wrong type or range."""
        super().__init__(**node_options)
        self._load = load
        self._config = read_config(self, MappingNodeConfig)
        self._statistics = MappingStatistics()
        self._parts_kept = 0
        self._pipeline: MappingPipeline | None = None
        self._worker: Worker[ReceivedKeyframe] | None = None
        self._files_at_end = FilesAtEnd(self.get_logger(), self._problems)
        self._mapping_services = MappingServices(self, self._in_worker)

    def _configure(self) -> None:
        self._parts_kept = 0
        self._config, mapping, grid = (read_config(self, config_class, prefix) for prefix, config_class in self.CONFIGS)
        mapper = self._load(
            self._config.device, mapping, weights=self._config.weights or None, network=self._config.network
        )
        self._statistics = MappingStatistics()
        outputs = MappingOutputs(self, self._config)
        self._configured.callback(outputs.destroy)
        grid_output = GridOutput(self, grid, self._problems)
        self._configured.callback(grid_output.destroy)
        self._corrections = PoseCorrections()
        self._pipeline = MappingPipeline(
            MappingParts(
                mapper=mapper,
                outputs=outputs,
                grid=grid_output,
                statistics=self._statistics,
                problems=self._problems,
                corrections=self._corrections,
                log=self.get_logger().warning,
                save_before_restart=self._save_before_restart,
            )
        )
        stored = load_map(self._config.map_file)
        if stored is not None:
            self._pipeline.restore(stored)
            points, keyframes = len(stored.arrays.points), len(stored.stamps_ns)
            self.get_logger().info(
                f"continuing {self._config.map_file}: {points} points of {keyframes} keyframes, {stored.unit.value}"
            )
        self._worker = Worker(
            self._pipeline.process,
            self._on_worker_error,
            "mapping_worker",
            queue_length=self._config.queue_length,
            on_start=lambda: lower_priority(self._config),
            periodic_task=self._publish_map,
            task_period_s=self._config.map_period_s,
        )
        self._configured.callback(self._release)
        self.get_logger().info(f"configured with the network {self._config.network}")

    def _activate(self) -> None:
        self._files_at_end.reset()
        self._active.callback(self._finish)
        self._input = KeyframeInput(
            self, self._config.queue_length, self._problems, self._on_keyframe, self._on_corrections
        )
        self._active.callback(self._input.destroy)
        self.get_logger().info(f"active, subscribed to {self._input.topic}")

    def close(self) -> str:
        """Map waiting keyframes if the map is to be saved, and release everything; return the reason of a failure."""
        super().close()
        return self._files_at_end.failure

    def close_at_once(self) -> str:
        """Save the map without the waiting keyframes; return the reason of a failure, or an empty text."""
        pipeline, config = self._pipeline, read_config(self, MappingNodeConfig)
        if pipeline is not None and self.state == "active" and config.save_at_end:
            self._files_at_end.save(pipeline.cloud, pipeline.stored, config)
        return self._files_at_end.failure

    def _finish(self) -> None:
        """Map the keyframes that wait for later ones, while the publishers are open, and save the map if configured."""
        config = read_config(self, MappingNodeConfig)
        if config.save_at_end:
            self._guarded(self._drain, "mapping the keyframes that wait")()
        self._guarded(lambda: self._statistics.count_dropped(self._worker.cancel()), "dropping keyframes")()
        self._guarded(lambda: self._in_worker(lambda pipeline: pipeline.finish()), "mapping the last keyframes")()
        if self.context.ok():
            self._guarded(lambda: self._in_worker(lambda pipeline: pipeline.publish_map()), "publishing the map")()
        if config.save_at_end:
            self._files_at_end.save(
                lambda: self._in_worker(lambda pipeline: pipeline.cloud()),
                lambda: self._in_worker(lambda pipeline: pipeline.stored()),
                config,
            )

    def _drain(self) -> None:
        """Map the waiting keyframes, and log every few seconds how many are left."""
        if self._worker.is_idle:
            return
        self.get_logger().info(f"keyframes to map before the map is saved: {self._worker.waiting + 1}")
        while not self._worker.drain(_REPORT_PERIOD_S):
            self.get_logger().info(f"keyframes left to map: {self._worker.waiting + 1}")

    def _save_before_restart(self) -> None:
        """Save the map before a restart to files of its own."""
        config = read_config(self, MappingNodeConfig)
        cloud = self._pipeline.cloud()
        if config.save_at_end and len(cloud) > 0:
            if self._parts_kept >= _MOST_PARTS:
                raise NodeError(f"{_MOST_PARTS} maps have been saved; find out why the odometry restarts repeatedly")
            self._parts_kept += 1
            if config.cloud_file or not config.map_file:
                file = str(part_path(Path(config.cloud_file), self._parts_kept)) if config.cloud_file else ""
                self.get_logger().info(f"saved {save_cloud(cloud, file)}")
            if config.map_file:
                file = str(part_path(Path(config.map_file), self._parts_kept))
                self.get_logger().info(f"saved {save_map(self._pipeline.stored(), file)}")

    def _release(self) -> None:
        self._worker.stop()
        self._worker = self._pipeline = None

    def _in_worker(self, action: Callable[[MappingPipeline], Any]) -> Any:
        """Call a function with the pipeline in the worker's thread, and return its result."""
        worker, pipeline = self._worker, self._pipeline
        if worker is None or pipeline is None:
            raise self._not_configured()
        return worker.call(lambda: action(pipeline)).result()

    def _on_keyframe(self, msg: KeyframeMsg) -> None:
        worker = self._worker
        if worker is not None:
            self._statistics.count_arrival(worker.submit(ReceivedKeyframe(msg, time.perf_counter())))

    def _on_corrections(self, msg: PathMsg | KeyframeCorrections) -> None:
        try:
            self._corrections.receive(msg)
        except NodeError as error:
            self._problems.report(Problem.KEYFRAME, f"the corrected poses of keyframes cannot be used: {error}")

    def _publish_map(self) -> None:
        if self.state == "active":
            self._pipeline.publish_map()

    def _watch(self) -> None:
        self._input.watch()
        self._check_file()

    def _check_file(self) -> None:
        """Report an unwritable file early, before the map would be lost at the end."""
        config = read_config(self, MappingNodeConfig)
        try:
            if config.save_at_end:
                FilesAtEnd.check(config)
            self._problems.clear(Problem.FILE)
        except NodeError as error:
            self._problems.report(Problem.FILE, f"the map cannot be saved at the end: {error}")

    def _report(self) -> tuple[str, NodeReport]:
        waiting = 0 if self._worker is None else self._worker.waiting
        return self._config.device, mapping_report(self._statistics, waiting, self._config.queue_length)


def lower_priority(config: MappingNodeConfig) -> None:
    """Lower the priority of the calling thread and of the network threads that it starts below the odometry."""
    thread = threading.get_native_id()  # on Linux, the niceness is per thread
    niceness = os.getpriority(os.PRIO_PROCESS, thread) + config.niceness
    os.setpriority(os.PRIO_PROCESS, thread, min(niceness, _NICEST))
    torch = sys.modules.get("torch")  # only if a network has imported it
    if torch is not None:
        torch.set_num_threads(config.threads or max(1, len(os.sched_getaffinity(0)) - 1))


def main(args: list[str] | None = None) -> int:
    """Run the node in this process and return the exit code, see ``run_node``."""
    return run_node(MappingNode, args, lambda: MultiThreadedExecutor(num_threads=2))


if __name__ == "__main__":
    sys.exit(main())
