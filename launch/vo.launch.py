"""Launch file of visual odometry: vo_node, and optionally dense mapping, a replay, and RViz.

ros2 launch ros_matching vo.launch.py image_topic:=/camera/image_raw camera_info_topic:=/camera/camera_info
ros2 launch ros_matching vo.launch.py source:=/data/redkitchen mapping:=true rviz:=true
ros2 launch ros_matching vo.launch.py --show-args

The nodes configure and activate themselves (autostart), and the replay waits until they are active. The launch does not
track their states, so a manual change of state has no side effect. A node that fails ends the launch with a non-zero
exit code; the reason is printed last. See docs/launch.md.
"""

import os

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessIO, OnProcessStart
from launch.logging import get_logger
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from ros_matching.nodes.common.launch_arguments import (
    ARGUMENTS,
    FORMER_NAMES,
    Argument,
    NodePlan,
    is_true,
    misspelt,
    plan,
)
from ros_matching.nodes.common.launch_watch import OPTIONAL, LaunchWatch, Role
from ros_matching.nodes.common.process import PARENT_VARIABLE

PACKAGE = "ros_matching"
RESPAWN_DELAY_S = 2.0
# With save_at_end, mapping_node first maps the waiting keyframes; the SIGTERM after that lets it save the map.
SIGTERM_TIMEOUT_S = {"mapping_node": "60"}
OTHER_SIGTERM_TIMEOUT_S = "20"  # a slow machine may load a network or render an image first

_logger = get_logger(PACKAGE)


def generate_launch_description() -> LaunchDescription:
    """Return the launch description of the visual odometry."""
    return LaunchDescription([*map(_declaration, ARGUMENTS), OpaqueFunction(function=_start)])


def _declaration(argument: Argument) -> DeclareLaunchArgument:
    default = argument.default
    if argument.share_file:
        default = PathJoinSubstitution([FindPackageShare(PACKAGE), *argument.share_file.split("/")])
    choices = list(argument.choices) or None
    return DeclareLaunchArgument(
        argument.name, default_value=default, description=argument.description, choices=choices
    )


def _start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Start the nodes with the current arguments: a second launch of this file in one context has its own."""
    given = context.launch_configurations
    for name, nearest in misspelt(given).items():
        _logger.warning(f"there is no launch argument {name}; did you mean {nearest}?")
    for former, name in FORMER_NAMES.items():
        if given.get(former):
            _logger.warning(f"the launch argument {former} is deprecated; use {name}")
    values = {argument.name: given[argument.name] for argument in ARGUMENTS}
    watch = _watch_of(context)
    return [action for node in plan(values) for action in _actions(node, values, watch)]


def _watch_of(context: LaunchContext) -> LaunchWatch:
    """Return the watch, one for all robots in the launch."""
    if not hasattr(context.locals, "ros_matching_watch"):
        context.extend_globals({"ros_matching_watch": LaunchWatch()})
    return context.locals.ros_matching_watch


def _actions(node: NodePlan, values: dict[str, str], watch: LaunchWatch) -> list[LaunchDescriptionEntity]:
    role = _role(node, values)
    number = watch.expect("/".join(filter(None, [values["namespace"].strip("/"), node.executable])), role)
    action = _process(node, values, role, lambda event, context: _on_exit(watch, number, event, context))
    return [
        RegisterEventHandler(OnProcessStart(target_action=action, on_start=lambda *_: watch.started(number))),
        RegisterEventHandler(
            OnProcessIO(
                target_action=action, on_stderr=lambda event: watch.wrote(number, event.text.decode(errors="replace"))
            )
        ),
        action,
    ]


def _role(node: NodePlan, values: dict[str, str]) -> Role:
    is_required = is_true(values["required"])
    if node.executable == "rviz2":
        return OPTIONAL
    if node.executable == "replay_node":
        return Role(is_required, may_finish=True, ends_launch=not is_true(values["rviz"]))
    return Role(is_required, respawns=is_true(values["respawn"]))


def _process(node: NodePlan, values: dict[str, str], role: Role, on_exit) -> ExecuteProcess:
    is_lifecycle_node = node.executable in ("vo_node", "mapping_node")
    return (LifecycleNode if is_lifecycle_node else Node)(
        package="rviz2" if node.executable == "rviz2" else PACKAGE,
        executable=node.executable,
        name=node.executable,
        namespace=values["namespace"],
        parameters=[*node.parameter_files, {name: _typed(value) for name, value in node.parameters.items()}],
        remappings=list(node.remappings),
        arguments=list(node.arguments),
        ros_arguments=["--log-level", values["log_level"]],
        output="screen",
        additional_env={PARENT_VARIABLE: str(os.getpid())},
        respawn=role.respawns,
        respawn_delay=RESPAWN_DELAY_S,
        sigterm_timeout=SIGTERM_TIMEOUT_S.get(node.executable, OTHER_SIGTERM_TIMEOUT_S),
        on_exit=on_exit,
    )


def _typed(value: bool | int | float | str) -> bool | int | float | ParameterValue:
    """Return the value with its type: launch would parse a text that looks like a number or a flag."""
    return ParameterValue(value, value_type=str) if isinstance(value, str) else value


def _on_exit(watch: LaunchWatch, number: int, event, context: LaunchContext) -> list[LaunchDescriptionEntity]:
    decision = watch.ended(number, event.returncode, is_shutdown=context.is_shutdown)
    if decision.log:
        _logger.error(decision.log)
    if decision.fail:
        raise RuntimeError(decision.fail)  # the only way to a non-zero exit code of a launch
    return [Shutdown(reason=decision.shut_down)] if decision.shut_down else []
