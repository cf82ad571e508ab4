"""Example: a RealSense camera (D435, D435i, D455), visual odometry with metric scale, and optionally its IMU.

ros2 launch ros_matching realsense.launch.py                                # left infrared camera, scale by stereo
ros2 launch ros_matching realsense.launch.py stream:=color                  # colour, scale by the depth images
ros2 launch ros_matching realsense.launch.py imu:=true mapping:=true rviz:=true
ros2 launch ros_matching realsense.launch.py mode:=slam base_frame:=base_link

All arguments of vo.launch.py apply too. The infrared cameras have a global shutter, and their pattern of dots is turned
off, as dots that move with the camera are no landmarks. See docs/examples.md.
"""

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "stream": ("infra1", "Camera: infra1 (left infrared, global shutter) or color.", ["infra1", "color"]),
    "imu": ("false", "Use the IMU of the camera (D435i, D455).", ["true", "false"]),
    "scale": (
        "auto",
        "Scale source; auto: stereo with infra1, depth with color.",
        ["auto", "none", "depth", "stereo", "wheel", "height", "imu"],
    ),
    "driver": ("true", "Start realsense2_camera; false if it runs already.", ["true", "false"]),
    "camera_namespace": ("camera", "Namespace of the driver.", None),
    "camera_name": ("camera", "Name of the driver, also the prefix of its frames.", None),
    "serial_no": ("", "Serial number of the camera; empty: the only one.", None),
    "profile": ("640x480x30", "Width, height and rate of the images.", None),
    "base_frame": ("", "Frame of the robot; empty: the camera's own (camera_link), as for a hand-held camera.", None),
}


def generate_launch_description() -> LaunchDescription:
    """Return the launch description of the example."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, (default, description, choices) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_start)])


def _start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    values = {name: context.launch_configurations[name] for name in ARGUMENTS}
    if values["scale"] == "auto":
        values["scale"] = "stereo" if values["stream"] == "infra1" else "depth"
    driver = Node(
        package="realsense2_camera",
        executable="realsense2_camera_node",
        namespace=values["camera_namespace"],
        name=values["camera_name"],
        parameters=[_driver_parameters(values)],
        output="screen",
    )
    odometry = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare("ros_matching"), "launch", "vo.launch.py"])
        ),
        launch_arguments=_odometry_arguments(values).items(),
    )
    return [driver, odometry] if values["driver"] == "true" else [odometry]


def _driver_parameters(values: dict[str, str]) -> dict:
    """Return the parameters of realsense2_camera: only the streams that are used, which saves USB bandwidth."""
    is_color, uses_imu = values["stream"] == "color", values["imu"] == "true" or values["scale"] == "imu"
    uses_depth = values["scale"] == "depth"
    parameters = {
        "enable_color": is_color,
        "enable_infra1": not is_color,
        "enable_infra2": not is_color and values["scale"] == "stereo",
        "enable_depth": uses_depth,
        "enable_gyro": uses_imu,
        "enable_accel": uses_imu,
        "unite_imu_method": 2 if uses_imu else 0,  # one message with both, interpolated to the gyroscope
    }
    if is_color:
        parameters["rgb_camera.color_profile"] = values["profile"]
        parameters["align_depth.enable"] = uses_depth
    else:
        parameters["depth_module.infra_profile"] = values["profile"]
        parameters["depth_module.emitter_enabled"] = 0
    if values["serial_no"]:
        parameters["serial_no"] = ParameterValue(values["serial_no"], value_type=str)
    return parameters


def _odometry_arguments(values: dict[str, str]) -> dict[str, str]:
    """Return the arguments of vo.launch.py: topics of the driver, the scale source and the frame of the robot."""
    root = "/" + "/".join(filter(None, [values["camera_namespace"].strip("/"), values["camera_name"]]))
    image = "color/image_raw" if values["stream"] == "color" else "infra1/image_rect_raw"
    arguments = {
        "image_topic": f"{root}/{image}",
        "camera_info_topic": f"{root}/{values['stream']}/camera_info",
        "scale": values["scale"],
        "base_frame": values["base_frame"] or f"{values['camera_name']}_link",
        "depth_topic": f"{root}/aligned_depth_to_color/image_raw",
        "right_image_topic": f"{root}/infra2/image_rect_raw",
        "right_camera_info_topic": f"{root}/infra2/camera_info",
    }
    if values["imu"] == "true" or values["scale"] == "imu":
        arguments["imu_topic"] = f"{root}/imu"
    return arguments
