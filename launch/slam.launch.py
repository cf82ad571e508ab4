"""Launch file of SLAM: vo.launch.py with a map that is kept, whose loops are closed, and with map -> odom on /tf.

ros2 launch ros_matching slam.launch.py image_topic:=/camera/image_raw camera_info_topic:=/camera/camera_info
ros2 launch ros_matching slam.launch.py map_file:=/maps/office mode:=localization rviz:=true
ros2 launch ros_matching slam.launch.py source:=/data/redkitchen rviz:=true
ros2 launch ros_matching slam.launch.py --show-args

The arguments are those of vo.launch.py with other defaults: mode:=slam, and RViz shows the map. See docs/slam.md.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("ros_matching")


def generate_launch_description() -> LaunchDescription:
    """Return the launch description of SLAM."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "mode",
                default_value="slam",
                description="Map: one that is kept (slam), or a saved one (localization).",
                choices=["slam", "localization"],
            ),
            DeclareLaunchArgument(
                "rviz_config",
                default_value=PathJoinSubstitution([SHARE, "config", "slam.rviz"]),
                description="Configuration file of RViz.",
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, "launch", "vo.launch.py"])),
                launch_arguments={name: LaunchConfiguration(name) for name in ("mode", "rviz_config")}.items(),
            ),
        ]
    )
