"""``ros-matching run``: the ROS nodes in one process, brought up to active, for where ``launch`` is not installed."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.cli.options import SOURCE_KINDS
from ros_matching.errors import NodeError

if TYPE_CHECKING:
    from ros_matching.nodes.replay_node import ReplayNode
    from ros_matching.nodes.vo_node import VoNode

_DESCRIPTION = """\
Run vo_node, configured and activated, until Ctrl-C; with --source also replay_node, until its end.

  ros-matching run --ros-args -r image:=/camera/image_raw -r camera_info:=/camera/camera_info
  ros-matching run --source /data/redkitchen --params my.yaml --ros-args -p wait_for_consumer:=true
"""


def add_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Declare the subcommand."""
    parser = subparsers.add_parser(
        "run",
        help="run the ROS 2 nodes in one process",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--params", metavar="FILE", type=Path, help="YAML file with parameters of the nodes")
    parser.add_argument("--source", metavar="SOURCE", help=f"replay this: {SOURCE_KINDS}")
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

    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        # Without rclpy's signal handling, which would take the context away before the nodes are taken down in order.
        with ros_context(_ros_args(args), signal_handler_options=SignalHandlerOptions.NO):
            _serve(args.source)
    except KeyboardInterrupt:
        print("ros-matching run: stopped", file=sys.stderr)
    return 0


def _ros_args(args: argparse.Namespace) -> list[str]:
    params = [] if args.params is None else ["--params-file", str(args.params)]
    return ["--ros-args", *params, *args.ros_args]


def _serve(source: str | None) -> None:
    from rclpy.executors import MultiThreadedExecutor

    from ros_matching.nodes.spinning import spinning

    vo_node, replay_node = _make_nodes(source)
    with spinning(MultiThreadedExecutor(), vo_node, *filter(None, [replay_node])):
        if not vo_node.bring_up():
            raise NodeError("vo_node could not be brought up; its log above tells why")
        try:
            if replay_node is None:
                threading.Event().wait()
            else:
                replay_node.play()
        finally:
            vo_node.trigger_shutdown()


def _make_nodes(source: str | None) -> tuple[VoNode, ReplayNode | None]:
    from rclpy.parameter import Parameter

    from ros_matching.nodes.replay_node import ReplayNode
    from ros_matching.nodes.vo_node import VoNode

    if source is None:
        return VoNode(), None
    vo_node = VoNode(parameter_overrides=[Parameter("use_sim_time", value=True)])
    return vo_node, ReplayNode(parameter_overrides=[Parameter("source", value=source)])
