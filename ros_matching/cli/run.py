"""``ros-matching run``: the ROS nodes, brought up to active, without ``launch``."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ros_matching.cli.options import SOURCE_KINDS, add_former_name
from ros_matching.errors import RosMatchingError
from ros_matching.nodes.common.launch_arguments import ARGUMENTS, FLAG, FORMER_NAMES, Argument, NodePlan, plan
from ros_matching.nodes.common.process import describe_exit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from ros_matching.nodes.common.process import NodeProcess, StopSignals
    from ros_matching.nodes.replay.replay_node import ReplayNode
    from ros_matching.nodes.vo.vo_node import VoNode

_MAPPING_TIMEOUT_S = 120.0
_POLL_S = 0.2

# Launch arguments that are not options here: they have options of their own below, or are for launch only.
_NOT_OPTIONS = {"params_file", "mapping_params_file", "mapping", "cloud", "source", "use_sim_time"}
_NOT_OPTIONS |= {"autostart", "respawn", "required", "rviz", "rviz_config", "log_level", *FORMER_NAMES}

_DESCRIPTION = """\
Run vo_node, configured and activated, until Ctrl-C; with --source also replay_node, until its end.
With --mapping also mapping_node, in a process of its own; --cloud FILE saves its map.

  ros-matching run --image-topic /camera/image_raw --camera-info-topic /camera/camera_info --camera-extrinsics identity
  ros-matching run --source /data/redkitchen --params my.yaml --wait-for-consumer
  ros-matching run --source scene:room --cloud room.ply

The options below --cloud are the arguments of vo.launch.py. The first Ctrl-C or SIGTERM finishes and writes the map;
the second one writes the current map and ends the program at once. Exit codes: 0 at the end or after a signal, 1 when a
node could not be configured, failed or could not write the map, 2 for invalid options and sources.
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
    parser.add_argument("--source", metavar="SOURCE", help=f"source to replay: {SOURCE_KINDS}")
    parser.add_argument("--mapping", action="store_true", help="also run dense mapping")
    parser.add_argument(
        "--cloud", metavar="FILE", type=Path, help="write the map there at the end, as PLY or PCD; implies --mapping"
    )
    options = {
        argument.name: _add_option(parser, argument) for argument in ARGUMENTS if argument.name not in _NOT_OPTIONS
    }
    for former, name in FORMER_NAMES.items():
        add_former_name(parser, f"--{former.replace('_', '-')}", options[name])
    parser.add_argument(
        "--ros-args",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="ARG",
        help="the rest of the line is for ROS: -r FROM:=TO, -p NAME:=VALUE, --log-level LEVEL, ...",
    )
    return parser


def _add_option(parser: argparse.ArgumentParser, argument: Argument) -> argparse.Action:
    option = f"--{argument.name.replace('_', '-')}"
    text = argument.description.replace("%", "%%")
    if argument.choices == FLAG:
        return parser.add_argument(option, action="store_const", const="true", default="", help=text)
    choices = [choice for choice in argument.choices if choice] or None
    metavar = None if choices else argument.name.rpartition("_")[2].upper()
    return parser.add_argument(option, choices=choices, default="", metavar=metavar, help=text)


def run(args: argparse.Namespace) -> int:
    """Bring the nodes up and serve them until the replay's end, a failure or a signal; return the exit code."""
    from ros_matching.cli.over_ros import require_ros

    require_ros()
    from rclpy.signals import SignalHandlerOptions

    from ros_matching.nodes.common.process import StopSignals
    from ros_matching.nodes.common.spinning import ros_context

    nodes = {node.executable: node for node in plan(_values(args))}
    ros_args = _ros_args(args, list(nodes.values()))
    with StopSignals() as signals:
        signals.on(1, lambda: print("ros-matching run: stopping; a second signal ends at once", file=sys.stderr))
        with _mapping_process(nodes, ros_args) as mapping:
            _end_at_once_when_asked(signals, mapping)
            # The signal handlers of ROS would destroy the context before the nodes are shut down in order.
            with ros_context(ros_args, signal_handler_options=SignalHandlerOptions.NO):
                failure = _serve(nodes, mapping, signals)
        if mapping is not None and mapping.exit_code:
            failure = failure or f"mapping_node {describe_exit(mapping.exit_code)}; see its log above"
    if failure:
        print(f"ros-matching run: {failure}", file=sys.stderr)
    return 1 if failure else 0


def _end_at_once_when_asked(signals: StopSignals, mapping: NodeProcess | None) -> None:
    """At the second signal, let mapping_node save its current map; without one there is nothing to save."""
    signals.on(2, (lambda: os._exit(0)) if mapping is None else mapping.stop_now)
    signals.on(3, lambda: os._exit(1))


def _values(args: argparse.Namespace) -> dict[str, str]:
    """Return the launch arguments that the options give."""
    values = {
        argument.name: getattr(args, argument.name) or "" for argument in ARGUMENTS if hasattr(args, argument.name)
    }
    cloud = "" if args.cloud is None else str(args.cloud.absolute())
    return values | {"cloud": cloud, "mapping": "true" if args.mapping else ""}


def _ros_args(args: argparse.Namespace, nodes: Sequence[NodePlan]) -> list[str]:
    """Return the ROS arguments for all nodes of this process, and for mapping_node."""
    ros_args = ["--ros-args"]
    if args.params is not None:
        ros_args += ["--params-file", str(args.params)]
    if args.namespace:
        ros_args += ["-r", f"__ns:=/{args.namespace.strip('/')}"]
    for old, new in dict(pair for node in nodes for pair in node.remappings).items():
        ros_args += ["-r", f"{old}:={new}"]
    return [*ros_args, *args.ros_args]


def _mapping_process(nodes: Mapping[str, NodePlan], ros_args: list[str]) -> AbstractContextManager[NodeProcess | None]:
    """Return the process of mapping_node, if requested."""
    from ros_matching.nodes.common.process import NodeProcess

    node = nodes.get("mapping_node")
    if node is None:
        return contextlib.nullcontext()
    parameters = [f"{name}:={json.dumps(value)}" for name, value in _parameters(node).items()]  # JSON is YAML
    given = [part for parameter in parameters for part in ("-p", parameter)]
    return NodeProcess("mapping_node", [*ros_args[1:], *given], grace_s=math.inf)


def _serve(nodes: Mapping[str, NodePlan], mapping: NodeProcess | None, signals: StopSignals) -> str:
    """Run vo_node, and replay_node if there is one, until the end; return what failed, or nothing."""
    from rclpy.executors import MultiThreadedExecutor

    from ros_matching.nodes.common.spinning import spinning

    vo_node, replay_node = _make_nodes(nodes)
    with spinning(MultiThreadedExecutor(), vo_node, *filter(None, [replay_node])):
        if not vo_node.bring_up(lambda: signals.count > 0):
            return "" if signals.count else f"vo_node {vo_node.failure}"
        try:
            with _mapping_active(vo_node, mapping, signals):
                _work(vo_node, replay_node, mapping, signals)
        except RosMatchingError as error:
            return str(error)
        finally:
            vo_node.trigger_shutdown()
    return ""


def _work(vo_node: VoNode, replay_node: ReplayNode | None, mapping: NodeProcess | None, signals: StopSignals) -> None:
    """Replay, or wait, until a signal comes or mapping_node ends."""
    if replay_node is None:
        while not signals.wait(_POLL_S) and vo_node.context.ok() and not (mapping and mapping.has_ended):
            pass
    else:
        signals.on(1, replay_node.stop)
        if mapping is not None:
            mapping.when_ended(replay_node.stop)
        replay_node.play()
    if mapping is not None and not signals.count:
        mapping.require_alive()


@contextlib.contextmanager
def _mapping_active(vo_node: VoNode, mapping: NodeProcess | None, signals: StopSignals) -> Iterator[None]:
    """mapping_node, if there is one, active while the block lasts, and then until it has done its work."""
    from ros_matching.nodes.common.lifecycle import LifecycleClient

    if mapping is None:
        yield
        return
    stopped = lambda: mapping.has_ended or signals.count > 0  # noqa: E731
    is_active = LifecycleClient(vo_node, "mapping_node", stopped=stopped).bring_up(_MAPPING_TIMEOUT_S)
    yield
    if is_active:
        LifecycleClient(vo_node, "mapping_node", stopped=lambda: mapping.has_ended).deactivate()


def _make_nodes(nodes: Mapping[str, NodePlan]) -> tuple[VoNode, ReplayNode | None]:
    from rclpy.parameter import Parameter

    from ros_matching.nodes.replay.replay_node import ReplayNode
    from ros_matching.nodes.vo.vo_node import VoNode

    overrides = {
        name: [Parameter(parameter, value=value) for parameter, value in _parameters(node).items()]
        for name, node in nodes.items()
    }
    vo_node = VoNode(parameter_overrides=overrides["vo_node"])
    if "replay_node" not in nodes:
        return vo_node, None
    return vo_node, ReplayNode(parameter_overrides=overrides["replay_node"])


def _parameters(node: NodePlan) -> dict[str, bool | float | str]:
    """The parameters of a node that is brought up here, in order, rather than by itself."""
    return {name: value for name, value in node.parameters.items() if name not in ("autostart", "wait_for")}
