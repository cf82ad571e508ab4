"""Example: visual odometry and wheel odometry in robot_localization's EKF, which publishes odom -> base_link.

ros2 launch ros_matching wheel_fusion.launch.py image_topic:=... camera_info_topic:=... wheel_odom_topic:=/wheel/odom

All arguments of vo.launch.py apply too, except publish_tf and mode: the EKF alone publishes odom -> base_link, and
neither vo_node nor the wheels' driver may. The scale comes from the wheels unless scale:= names another source. See
docs/examples.md.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare("ros_matching")


def generate_launch_description() -> LaunchDescription:
    """Return the launch description of the example."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "wheel_odom_topic", default_value="/wheel/odom", description="nav_msgs/Odometry of the wheels."
            ),
            DeclareLaunchArgument("scale", default_value="wheel", description="Scale source of the visual odometry."),
            DeclareLaunchArgument(
                "ekf_params_file",
                default_value=PathJoinSubstitution([SHARE, "config", "robot_localization.yaml"]),
                description="YAML file with the parameters of ekf_node.",
            ),
            Node(
                package="robot_localization",
                executable="ekf_node",
                name="ekf_filter_node",
                parameters=[
                    LaunchConfiguration("ekf_params_file"),
                    {
                        "odom0": LaunchConfiguration("wheel_odom_topic"),
                        "odom1": "odom",
                    },
                ],
                output="screen",
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, "launch", "vo.launch.py"])),
                launch_arguments={
                    "publish_tf": "false",
                    "mode": "odometry",
                    "scale": LaunchConfiguration("scale"),
                    "wheel_odom_topic": LaunchConfiguration("wheel_odom_topic"),
                }.items(),
            ),
        ]
    )
