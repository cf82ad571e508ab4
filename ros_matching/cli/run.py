"""``ros-matching run``: the ROS nodes, brought up to active, for where ``launch`` is not installed."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.cli.options import SOURCE_KINDS
from ros_matching.errors import NodeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from ros_matching.nodes.process import NodeProcess
    from ros_matching.nodes.replay_node import ReplayNode
    from ros_matching.nodes.vo_node import VoNode

_MAPPING_TIMEOUT_S = 120.0

_DESCRIPTION = """\
Run vo_node, configured and activated, until Ctrl-C; with --source also replay_node, until its end.
With --mapping also mapping_node, in a process of its own; --cloud FILE keeps its map.

  ros-matching run --ros-args -r image:=/camera/image_raw -r camera_info:=/camera/camera_info
  ros-matching run --source /data/redkitchen --params my.yaml --ros-args -p wait_for_consumer:=true
  ros-matching run --source scene:room --cloud room.ply
"""


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "run",
        help="run the ROS 2 nodes",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--params", metavar="FILE", type=Path, help="YAML file with parameters of the nodes")
    parser.add_argument("--source", metavar="SOURCE", help=f"replay this: {SOURCE_KINDS}")
    parser.add_argument("--mapping", action="store_true", help="map densely, too")
    parser.add_argument(
        "--cloud", metavar="FILE", type=Path, help="write the map there at the end, as PLY or PCD; implies --mapping"
    )
    parser.add_argument(
        "--ros-args",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="ARG",
        help="the rest of the line is for ROS: -r FROM:=TO, -p NAME:=VALUE, --log-level LEVEL, ...",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Bring the nodes up and serve them; 0 when ended by the replay's end, Ctrl-C or SIGTERM."""
    from ros_matching.cli.ros import require_ros

    require_ros()
    from rclpy.signals import SignalHandlerOptions

    from ros_matching.nodes.spinning import ros_context

    stopped = threading.Event()
    _note_signals(interrupt=False, stopped=stopped)
    try:
        # Without rclpy's signal handling, which would take the context away before the nodes are taken down in order.
        with (
            _mapping_process(args) as mapping,
            ros_context(_ros_args(args), signal_handler_options=SignalHandlerOptions.NO),
        ):
            _serve(args.source, mapping, stopped)
    except KeyboardInterrupt:
        print("ros-matching run: stopped", file=sys.stderr)
    return 0


def _note_signals(*, interrupt: bool, stopped: threading.Event) -> None:
    """Ctrl-C and SIGTERM set ``stopped`` and, if told to ``interrupt``, raise ``KeyboardInterrupt``.

    While a lifecycle transition is under way they must not: it would be left half done, or, where ROS calls Python from
    C, the exception be lost.
    """

    def stop(*_: object) -> None:
        stopped.set()
        if interrupt:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)


def _ros_args(args: argparse.Namespace) -> list[str]:
    params = [] if args.params is None else ["--params-file", str(args.params)]
    return ["--ros-args", *params, *args.ros_args]


def _mapping_process(args: argparse.Namespace) -> AbstractContextManager[NodeProcess | None]:
    """mapping_node as it is wished, if it is."""
    from ros_matching.nodes.process import NodeProcess

    if not args.mapping and args.cloud is None:
        return contextlib.nullcontext()
    ros_args = _ros_args(args)[1:]
    if args.source is not None:
        ros_args += ["-p", "use_sim_time:=true"]
    if args.cloud is not None:
        ros_args += ["-p", f"cloud_file:={args.cloud.absolute()}", "-p", "save_at_end:=true"]
    return NodeProcess("mapping_node", ros_args, grace_s=_MAPPING_TIMEOUT_S)


def _serve(source: str | None, mapping: NodeProcess | None, stopped: threading.Event) -> None:
    from rclpy.executors import MultiThreadedExecutor

    from ros_matching.nodes.spinning import spinning

    vo_node, replay_node = _make_nodes(source)
    with spinning(MultiThreadedExecutor(), vo_node, *filter(None, [replay_node])):
        if not vo_node.bring_up():
            raise NodeError("vo_node could not be brought up; its log above tells why")
        try:
            _note_signals(interrupt=True, stopped=stopped)
            if stopped.is_set():
                return
            with _mapping_active(vo_node, mapping):
                if replay_node is None:
                    stopped.wait()
                else:
                    replay_node.play()
        finally:
            _note_signals(interrupt=False, stopped=stopped)
            vo_node.trigger_shutdown()


@contextlib.contextmanager
def _mapping_active(vo_node: VoNode, mapping: NodeProcess | None) -> Iterator[None]:
    """mapping_node, if there is one, active while the block lasts, and then until it has done its work."""
    from ros_matching.nodes.lifecycle import LifecycleClient

    if mapping is None:
        yield
        return
    client = LifecycleClient(vo_node, "mapping_node", stopped=lambda: mapping.has_ended)
    client.bring_up(_MAPPING_TIMEOUT_S)
    mapping.require_alive()
    yield
    client.deactivate()


def _make_nodes(source: str | None) -> tuple[VoNode, ReplayNode | None]:
    from rclpy.parameter import Parameter

    from ros_matching.nodes.replay_node import ReplayNode
    from ros_matching.nodes.vo_node import VoNode

    if source is None:
        return VoNode(), None
    vo_node = VoNode(parameter_overrides=[Parameter("use_sim_time", value=True)])
    return vo_node, ReplayNode(parameter_overrides=[Parameter("source", value=source)])
