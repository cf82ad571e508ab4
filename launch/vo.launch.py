"""Visual odometry: starts vo_node, brings it up to active, and if wished replays a sequence to it and shows RViz.

With mapping:=true, mapping_node follows once vo_node is active, and the replay once both are.

ros2 launch ros_matching vo.launch.py image_topic:=/camera/image_raw camera_info_topic:=/camera/camera_info
ros2 launch ros_matching vo.launch.py source:=/data/redkitchen mapping:=true rviz:=true
ros2 launch ros_matching vo.launch.py --show-args
"""

from launch import Action, LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler, Shutdown
from launch.conditions import IfCondition, UnlessCondition
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration, NotEqualsSubstitution, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
from lifecycle_msgs.msg import Transition

PACKAGE = "ros_matching"


def generate_launch_description() -> LaunchDescription:
    """The launch description of the visual odometry."""
    vo_node, mapping_node = _vo_node(), _mapping_node()
    mapping = LaunchConfiguration("mapping")
    return LaunchDescription(
        [
            *_arguments(),
            vo_node,
            mapping_node,
            *_bring_up(vo_node),
            _when_active(vo_node, _configure(mapping_node), condition=IfCondition(mapping)),
            _activate_when_configured(mapping_node),
            _when_active(vo_node, _replay_node(), condition=UnlessCondition(mapping)),
            _when_active(mapping_node, _replay_node()),
            _rviz(),
        ]
    )


def _arguments() -> list[DeclareLaunchArgument]:
    def argument(name: str, default, description: str, **options) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(name, default_value=default, description=description, **options)

    flag = {"choices": ["true", "false", "True", "False"]}
    return [
        argument("namespace", "", "Namespace of the nodes and of all their topics and services."),
        argument("params_file", _share("config", "vo.yaml"), "YAML file with parameters of vo_node."),
        argument("mapping", "false", "Map densely, too: start mapping_node.", **flag),
        argument("mapping_params_file", _share("config", "mapping.yaml"), "YAML file with parameters of mapping_node."),
        argument("image_topic", "image", "Image topic; with transport:=compressed the one it is the base of."),
        argument("camera_info_topic", "camera_info", "CameraInfo topic of the images."),
        argument(
            "transport",
            "raw",
            "Take sensor_msgs/Image from image_topic (raw), or CompressedImage from image_topic/compressed.",
            choices=["raw", "compressed"],
        ),
        argument("source", "", "What to replay: a folder, video, bag or scene:NAME; empty for a live camera."),
        argument("use_sim_time", _has_source(), "Take the time from /clock; true by default with a source.", **flag),
        argument("rate", "1.0", "Speed of the replay, as a multiple of real time."),
        argument("wait_for_consumer", "false", "Replay each frame when vo_node is done with the last one.", **flag),
        argument(
            "autostart", "true", "Configure and activate the nodes; false leaves it to a lifecycle manager.", **flag
        ),
        argument("rviz", "false", "Start RViz.", **flag),
        argument("rviz_config", _share("config", "vo.rviz"), "Configuration file of RViz."),
        argument("log_level", "info", "Log level of the nodes.", choices=["debug", "info", "warn", "error", "fatal"]),
    ]


def _vo_node() -> LifecycleNode:
    return LifecycleNode(
        package=PACKAGE,
        executable="vo_node",
        name="vo_node",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("params_file"),
            {"transport": _text("transport"), "use_sim_time": _flag("use_sim_time")},
        ],
        remappings=_remappings(),
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
    )


def _mapping_node() -> LifecycleNode:
    return LifecycleNode(
        package=PACKAGE,
        executable="mapping_node",
        name="mapping_node",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            LaunchConfiguration("mapping_params_file"),
            {"use_sim_time": _flag("use_sim_time")},
        ],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
        sigterm_timeout="60",  # with save_at_end it maps what still waits first
        condition=IfCondition(LaunchConfiguration("mapping")),
    )


def _bring_up(node: LifecycleNode) -> list:
    """Configure the node as soon as it is there, and activate it when that is done."""
    return [_activate_when_configured(node), _configure(node)]


def _configure(node: LifecycleNode) -> EmitEvent:
    return _change(node, Transition.TRANSITION_CONFIGURE)


def _activate_when_configured(node: LifecycleNode) -> RegisterEventHandler:
    configured = OnStateTransition(
        target_lifecycle_node=node,
        start_state="configuring",
        goal_state="inactive",
        entities=[_change(node, Transition.TRANSITION_ACTIVATE)],
    )
    return RegisterEventHandler(configured)


def _change(node: LifecycleNode, transition: int) -> EmitEvent:
    event = ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition)
    return EmitEvent(event=event, condition=IfCondition(LaunchConfiguration("autostart")))


def _when_active(node: LifecycleNode, action: Action, **options) -> RegisterEventHandler:
    active = OnStateTransition(
        target_lifecycle_node=node, start_state="activating", goal_state="active", entities=[action]
    )
    return RegisterEventHandler(active, **options)


def _replay_node() -> Node:
    """Replays the source, if there is one; its end is the end of all but RViz."""
    return Node(
        package=PACKAGE,
        executable="replay_node",
        name="replay_node",
        namespace=LaunchConfiguration("namespace"),
        parameters=[
            {
                "source": _text("source"),
                "transport": _text("transport"),
                "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
                "wait_for_consumer": _flag("wait_for_consumer"),
            }
        ],
        remappings=_remappings(),
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
        condition=IfCondition(_has_source()),
        on_exit=[Shutdown(reason="the replay has ended", condition=UnlessCondition(LaunchConfiguration("rviz")))],
    )


def _rviz() -> Node:
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=LaunchConfiguration("namespace"),
        arguments=["--display-config", LaunchConfiguration("rviz_config")],
        parameters=[{"use_sim_time": _flag("use_sim_time")}],
        remappings=_remappings(),
        condition=IfCondition(LaunchConfiguration("rviz")),
    )


def _remappings() -> list[tuple]:
    image_topic = LaunchConfiguration("image_topic")
    return [
        ("image", image_topic),
        ("image/compressed", [image_topic, "/compressed"]),
        ("camera_info", LaunchConfiguration("camera_info_topic")),
    ]


def _share(*parts: str) -> PathJoinSubstitution:
    return PathJoinSubstitution([FindPackageShare(PACKAGE), *parts])


def _has_source() -> NotEqualsSubstitution:
    return NotEqualsSubstitution(LaunchConfiguration("source"), "")


def _text(name: str) -> ParameterValue:
    """The argument as a string, also where YAML would read a number or a flag in it."""
    return ParameterValue(LaunchConfiguration(name), value_type=str)


def _flag(name: str) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(name), value_type=bool)
