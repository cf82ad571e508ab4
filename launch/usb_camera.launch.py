"""Example: a USB camera with its calibration, by usb_cam or v4l2_camera, and visual odometry.

ros2 launch ros_matching usb_camera.launch.py calibration:=~/.ros/camera_info/webcam.yaml
ros2 launch ros_matching usb_camera.launch.py calibration:=webcam.yaml driver:=v4l2_camera video_device:=/dev/video2
ros2 launch ros_matching usb_camera.launch.py calibration:=webcam.yaml mapping:=true rviz:=true

All arguments of vo.launch.py apply too. The calibration is the YAML file of camera_calibration. See docs/examples.md.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from ros_matching.errors import ConfigError

ARGUMENTS = {
    "calibration": ("", "YAML file of camera_calibration, for images of this size.", None),
    "driver": ("usb_cam", "Driver to start; none if one runs already.", ["usb_cam", "v4l2_camera", "none"]),
    "video_device": ("/dev/video0", "Device of the camera.", None),
    "width": ("640", "Width of the images, as in the calibration.", None),
    "height": ("480", "Height of the images, as in the calibration.", None),
    "rate": ("30", "Images per second.", None),
    "pixel_format": (
        "",
        "Pixel format; empty: yuyv (usb_cam), YUYV (v4l2_camera). usb_cam: mjpeg2rgb is faster.",
        None,
    ),
    "camera_extrinsics": (
        "identity",
        "identity: hand-held, the camera is at base_frame and looks along x; tf: /tf_static has base_frame -> camera.",
        ["identity", "tf"],
    ),
}
FRAME = "camera_optical_frame"
_CALIBRATE = (
    "print a checkerboard and run: ros2 run camera_calibration cameracalibrator --size 8x6 --square 0.025 "
    "--ros-args -r image:=/image_raw"
)


def generate_launch_description() -> LaunchDescription:
    """Return the launch description of the example."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)
        for name, (default, description, choices) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_start)])


def _start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    values = {name: context.launch_configurations[name] for name in ARGUMENTS}
    odometry = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare("ros_matching"), "launch", "vo.launch.py"])
        ),
        launch_arguments={
            "image_topic": "/image_raw",
            "camera_info_topic": "/camera_info",
            "camera_extrinsics": values["camera_extrinsics"],
        }.items(),
    )
    if values["driver"] == "none":
        return [odometry]
    is_usb_cam = values["driver"] == "usb_cam"
    driver = Node(
        package=values["driver"],
        executable="usb_cam_node_exe" if is_usb_cam else "v4l2_camera_node",
        name=values["driver"],
        parameters=[_usb_cam_parameters(values) if is_usb_cam else _v4l2_parameters(values)],
        output="screen",
    )
    return [driver, odometry]


def _usb_cam_parameters(values: dict[str, str]) -> dict:
    return {
        "video_device": values["video_device"],
        "image_width": int(values["width"]),
        "image_height": int(values["height"]),
        "framerate": float(values["rate"]),
        "pixel_format": values["pixel_format"] or "yuyv",
        "frame_id": FRAME,
        "camera_info_url": _calibration_url(values["calibration"]),
    }


def _v4l2_parameters(values: dict[str, str]) -> dict:
    return {
        "video_device": values["video_device"],
        "image_size": [int(values["width"]), int(values["height"])],
        "time_per_frame": [1, round(float(values["rate"]))],
        "pixel_format": values["pixel_format"] or "YUYV",
        "camera_frame_id": FRAME,
        "camera_info_url": _calibration_url(values["calibration"]),
    }


def _calibration_url(calibration: str) -> str:
    """Return the URL of the file, as both drivers want it.

    Raises ``ConfigError`` without a file: an uncalibrated camera publishes a CameraInfo of zeros, which is refused.
    """
    if calibration.startswith(("file://", "package://")):
        return calibration
    path = Path(calibration).expanduser()
    if not calibration or not path.is_file():
        found = f"there is no file {path}" if calibration else "none was given"
        raise ConfigError(f"calibration must be the YAML file of the camera's calibration, but {found}; {_CALIBRATE}")
    return path.resolve().as_uri()
