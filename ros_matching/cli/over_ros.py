"""A source replayed over ROS 2 topics into a ``vo_node`` process, with a recorder of its results."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.cli.options import hides_progress, matcher_label
from ros_matching.config import fields_of
from ros_matching.errors import MissingDependencyError, NodeError
from ros_matching.matching.config import MatcherConfig

if TYPE_CHECKING:
    from ros_matching.datatypes import Frame
    from ros_matching.evaluation.benchmark.benchmark_runs import BenchmarkRun
    from ros_matching.io.source import FrameSource
    from ros_matching.nodes.common.process import NodeProcess, StopSignals
    from ros_matching.nodes.replay.recorder import RecorderNode
    from ros_matching.nodes.replay.replay_node import ReplayNode


_BRING_UP_TIMEOUT_S = 120.0
_QUIET_S = 5.0
_INTERRUPTED = 130  # exit code


@dataclass(frozen=True)
class NodeSettings:
    """Settings of vo_node: matcher, a YAML file of parameters, and the pace of the frames.

    With ``realtime``, frames come at the camera's rate, and some may be dropped; otherwise each waits for the last
    one.
    """

    matcher_config: MatcherConfig
    params: Path | None = None
    realtime: bool = False

    def ros_args(self) -> list[str]:
        """Return the arguments after ``--ros-args``."""
        # Defaults are left to the parameter file.
        given = {info.name: getattr(self.matcher_config, info.name) for info in fields_of(MatcherConfig)}
        changed = {name: value for name, value in given.items() if value != getattr(MatcherConfig(), name)}
        parameters = {"matcher": self.matcher_config.matcher, "device": self.matcher_config.device} | changed
        if not self.realtime:
            # A live camera may lose images; here the replay waits for each one.
            parameters["qos_overrides./image.subscription.reliability"] = "reliable"
            parameters["mapping_thread"] = "false"  # the same results each time
        ros_args = ["--params-file", str(self.params)] if self.params else []
        for name, value in parameters.items():
            ros_args += ["-p", f"{name}:={value}"]
        return ros_args


def run_over_ros(source: FrameSource, settings: NodeSettings, log_path: Path, *, quiet: bool) -> BenchmarkRun:
    """Replay the source to a vo_node and return its results, also after a stop by a signal.

    Raises ``NodeError`` with the end of its log if vo_node cannot be brought up or ends early.
    """
    from rclpy.logging import LoggingSeverity
    from rclpy.parameter import Parameter
    from rclpy.signals import SignalHandlerOptions
    from tqdm import tqdm

    from ros_matching.evaluation.benchmark.benchmark_runs import BenchmarkRun
    from ros_matching.evaluation.trajectory.run_report import RunRecorder, peak_memory_mb
    from ros_matching.nodes.common.process import NodeProcess, StopSignals
    from ros_matching.nodes.common.spinning import ros_context
    from ros_matching.nodes.replay.recorder import RecorderNode
    from ros_matching.nodes.replay.replay_node import ReplayNode

    with (
        StopSignals() as signals,
        NodeProcess("vo_node", settings.ros_args(), log_path) as vo_node,
        ros_context([], signal_handler_options=SignalHandlerOptions.NO),
        tqdm(
            total=len(source),
            unit="frame",
            desc=f"{source.name}, {settings.matcher_config.matcher}",
            disable=hides_progress(quiet),
            dynamic_ncols=True,
        ) as bar,
    ):
        listener = RecorderNode()

        def note(frame: Frame) -> None:
            listener.expect(frame)
            bar.set_postfix_str(listener.progress, refresh=False)
            bar.update()

        wait = Parameter("wait_for_consumer", value=not settings.realtime)
        replay = ReplayNode(source=source, on_publish=note, parameter_overrides=[wait])
        replay.get_logger().set_level(LoggingSeverity.WARN)
        signals.on(1, replay.stop)  # results so far are reported
        signals.on(2, lambda: os._exit(_INTERRUPTED))
        _play(replay, listener, vo_node, signals)
        peak_mb = peak_memory_mb(vo_node.pid)
    recorder = RunRecorder(source.name, settings.matcher_config.matcher)
    listener.fill(recorder)
    recorder.add_faults(source.faults)
    recorder.set_calibration(source.calibration)
    dropped = listener.expected - len(recorder) if settings.realtime else 0
    report = recorder.report(dropped=dropped, interrupted=signals.count > 0)
    return BenchmarkRun(matcher_label(settings.matcher_config.matcher), report, peak_mb=peak_mb)


def _play(replay: ReplayNode, listener: RecorderNode, vo_node: NodeProcess, signals: StopSignals) -> None:
    from rclpy.executors import SingleThreadedExecutor

    from ros_matching.nodes.common.lifecycle import LifecycleClient
    from ros_matching.nodes.common.spinning import spinning

    with spinning(SingleThreadedExecutor(), listener, replay):
        # Created after the others: once it is answered, the process of vo_node knows them all.
        client = LifecycleClient(listener, "vo_node", stopped=lambda: vo_node.has_ended or signals.count > 0)
        vo_node.when_ended(replay.stop)
        try:
            if client.bring_up(_BRING_UP_TIMEOUT_S) and replay.play() and not signals.count:
                listener.wait_until_complete(_QUIET_S)
            vo_node.require_alive()
        except NodeError as error:
            if not signals.count:
                raise NodeError(f"{error}\n{vo_node.log_tail()}") from error


def require_ros() -> None:
    """Raise ``MissingDependencyError``, with the remedy, unless rclpy and the messages of this package exist."""
    try:
        import rclpy  # noqa: F401
        import tf2_msgs.msg  # noqa: F401

        import ros_matching.msg  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"this needs ROS 2 and the built messages of ros_matching ({error}); source a workspace in which "
            "ros_matching was built (. install/setup.bash), or run `make build` in its repository and use "
            ".venv/bin/ros-matching from there"
        ) from error
