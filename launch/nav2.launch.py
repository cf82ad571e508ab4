"""Example: Nav2 with the map, the costmaps and the localisation of ros_matching; no lidar, no amcl.

ros2 launch ros_matching nav2.launch.py image_topic:=... camera_info_topic:=... scale:=depth   # maps while driving
ros2 launch ros_matching nav2.launch.py map_file:=/maps/office mode:=localization grid:=/maps/office.yaml ...

All arguments of slam.launch.py apply too. Nav2's own parameters (nav2_params_file) are used, with
config/nav2_costmaps.yaml over them. vo_node publishes map -> odom -> base_link. See docs/examples.md.
"""

import tempfile
from pathlib import Path

import yaml
from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("ros_matching")
ARGUMENTS = {
    "grid": ("", "map.yaml of a saved grid, for map_server; empty: the grid of mapping_node, while it maps."),
    "nav2_params_file": ("", "Parameters of Nav2; empty: nav2_params.yaml of nav2_bringup."),
    "costmaps_file": (
        PathJoinSubstitution([SHARE, "config", "nav2_costmaps.yaml"]),
        "Parameters that replace those of nav2_params_file.",
    ),
    "navigation": ("true", "Start Nav2; false: only the map, the grid and the localisation."),
    "mapping": ("true", "Dense mapping: clouds and grid for the costmaps."),
}


def generate_launch_description() -> LaunchDescription:
    """Return the launch description of the example."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_start)])


def _start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    values = {name: context.launch_configurations[name] for name in ARGUMENTS}
    slam = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, "launch", "slam.launch.py"])),
        launch_arguments={"mapping": values["mapping"]}.items(),
    )
    actions = [slam, *(_map_server(values["grid"]) if values["grid"] else [])]
    if values["navigation"] == "true":
        files = [Path(values["nav2_params_file"] or _nav2_parameters()), Path(values["costmaps_file"])]
        parameters = merged([yaml.safe_load(file.read_text()) for file in files])
        if values["grid"]:
            parameters = merged([parameters, _static_layer("/map")])
        actions.append(_navigation(_written(parameters)))
    return actions


def _nav2_parameters() -> Path:
    from ament_index_python.packages import get_package_share_directory  # without Nav2 only navigation:=false works

    return Path(get_package_share_directory("nav2_bringup"), "params", "nav2_params.yaml")


def merged(documents: list[dict]) -> dict:
    """Return parameter documents as one: later values replace earlier ones, key by key; lists are replaced whole."""
    result: dict = {}
    for document in documents:
        for key, value in document.items():
            both_are_sections = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged([result[key], value]) if both_are_sections else value
    return result


def _static_layer(topic: str) -> dict:
    return {"global_costmap": {"global_costmap": {"ros__parameters": {"static_layer": {"map_topic": topic}}}}}


def _written(parameters: dict) -> str:
    """Return the path of a file with the parameters. It stays, as Nav2 may read it again when a node respawns."""
    with tempfile.NamedTemporaryFile("w", prefix="ros_matching_nav2_", suffix=".yaml", delete=False) as file:
        yaml.safe_dump(parameters, file, sort_keys=False)
    return file.name


def _map_server(grid: str) -> list[LaunchDescriptionEntity]:
    server = Node(
        package="nav2_map_server",
        executable="map_server",
        name="map_server",
        parameters=[{"yaml_filename": grid, "frame_id": "map", "topic_name": "map"}],
        output="screen",
    )
    manager = Node(
        package="nav2_lifecycle_manager",
        executable="lifecycle_manager",
        name="lifecycle_manager_map",
        parameters=[{"autostart": True, "node_names": ["map_server"]}],
        output="screen",
    )
    return [server, manager]


def _navigation(params_file: str) -> IncludeLaunchDescription:
    return IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare("nav2_bringup"), "launch", "navigation_launch.py"])
        ),
        launch_arguments={"params_file": params_file, "autostart": "true"}.items(),
    )
