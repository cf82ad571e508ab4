"""Topics and services of every node, for the reference in the documentation. Plain Python without ROS.

The parameters are those of the settings (``CONFIGS`` of each node). A test compares all of it with running nodes.
"""

from __future__ import annotations

from dataclasses import dataclass

from ros_matching.config import Config
from ros_matching.nodes.mapping.config import CONFIGS as MAPPING_CONFIGS
from ros_matching.nodes.replay.config import CONFIGS as REPLAY_CONFIGS
from ros_matching.nodes.vo.config import CONFIGS as VO_CONFIGS


@dataclass(frozen=True)
class Endpoint:
    """A topic or service: its name in the node, its type, its use, and the settings that it needs (empty: none)."""

    name: str
    type: str
    description: str
    when: str = ""


@dataclass(frozen=True)
class NodeInterface:
    """A node with its settings by prefix, and its topics and services."""

    name: str
    title: str
    configs: tuple[tuple[str, type[Config]], ...]
    publishes: tuple[Endpoint, ...] = ()
    subscribes: tuple[Endpoint, ...] = ()
    services: tuple[Endpoint, ...] = ()


_MAPS = "mode: slam or localization"
_ODOMETRY = "mode: odometry"
_DIAGNOSTICS = Endpoint("/diagnostics", "diagnostic_msgs/DiagnosticArray", "problems with remedies and figures, 1 Hz")

VO_NODE = NodeInterface(
    "vo_node",
    "Visual odometry, and SLAM with a map that is kept. A lifecycle node.",
    VO_CONFIGS,
    publishes=(
        Endpoint("vo_status", "ros_matching/VoStatus", "status of every image, with the reason and the stage times"),
        Endpoint(
            "relative_pose",
            "geometry_msgs/PoseWithCovarianceStamped",
            "the camera in its frame at the previous processed image",
        ),
        Endpoint("odom", "nav_msgs/Odometry", "the robot in odom_frame, with its velocity; only while tracking"),
        Endpoint("/tf", "tf2_msgs/TFMessage", "odom_frame to base_frame; map_frame to odom_frame", "publish_tf: true"),
        Endpoint("path", "nav_msgs/Path", "the newest poses"),
        Endpoint("keyframe", "ros_matching/Keyframe", "new keyframes with image and sparse points, for mapping_node"),
        Endpoint("keyframe_path", "nav_msgs/Path", "adjusted poses of recent keyframes", _ODOMETRY),
        Endpoint("keyframe_corrections", "ros_matching/KeyframeCorrections", "corrected keyframes of the map", _MAPS),
        Endpoint("markers", "visualization_msgs/MarkerArray", "frusta of the camera and of keyframes"),
        Endpoint("sparse_cloud", "sensor_msgs/PointCloud2", "sparse points of new keyframes"),
        Endpoint("debug_image", "sensor_msgs/Image", "the image with its tracked points"),
        Endpoint("~/map_path", "nav_msgs/Path", "the robot at the keyframes of the map, latched", _MAPS),
        Endpoint("~/landmarks", "sensor_msgs/PointCloud2", "landmarks of the map, latched", _MAPS),
        Endpoint("~/pose_graph", "visualization_msgs/MarkerArray", "keyframes and constraints, latched", _MAPS),
        _DIAGNOSTICS,
    ),
    subscribes=(
        Endpoint("image", "sensor_msgs/Image", "images", "transport: raw"),
        Endpoint("image/compressed", "sensor_msgs/CompressedImage", "images", "transport: compressed"),
        Endpoint("camera_info", "sensor_msgs/CameraInfo", "calibration of the images"),
        Endpoint("/tf_static", "tf2_msgs/TFMessage", "base_frame to the camera", "camera_extrinsics: tf, or an IMU"),
        Endpoint("mask", "sensor_msgs/Image", "0: no keypoints and no depth there"),
        Endpoint("depth/image", "sensor_msgs/Image", "registered depth", "scale.source: depth"),
        Endpoint("right/image", "sensor_msgs/Image", "images of the right camera", "scale.source: stereo"),
        Endpoint(
            "right/image/compressed",
            "sensor_msgs/CompressedImage",
            "images of the right camera",
            "scale.source: stereo, transport: compressed",
        ),
        Endpoint("right/camera_info", "sensor_msgs/CameraInfo", "its calibration", "scale.source: stereo"),
        Endpoint("wheel_odom", "nav_msgs/Odometry", "odometry of the wheels", "scale.source: wheel"),
        Endpoint("imu", "sensor_msgs/Imu", "rates and accelerations", "use_imu: true, or scale.source: imu"),
        Endpoint("initialpose", "geometry_msgs/PoseWithCovarianceStamped", "the robot in map_frame, a hint", _MAPS),
    ),
    services=(
        Endpoint("~/reset", "std_srvs/Trigger", "start a new track with the next image"),
        Endpoint("~/pause", "std_srvs/SetBool", "pause and resume"),
        Endpoint("~/save_trajectory", "std_srvs/Trigger", "write the poses to trajectory_file"),
        Endpoint("~/save_map", "ros_matching/SaveMap", "save the map in a folder", _MAPS),
        Endpoint("~/load_map", "ros_matching/LoadMap", "replace the map by a saved one", _MAPS),
        Endpoint("~/merge_map", "ros_matching/MergeMap", "add a saved map", _MAPS),
    ),
)

MAPPING_NODE = NodeInterface(
    "mapping_node",
    "Dense mapping from keyframes. A lifecycle node.",
    MAPPING_CONFIGS,
    publishes=(
        Endpoint("dense_cloud", "sensor_msgs/PointCloud2", "points of each mapped keyframe: x y z rgb confidence"),
        Endpoint("map_cloud", "sensor_msgs/PointCloud2", "the whole map, latched"),
        Endpoint("~/occupancy_grid", "nav_msgs/OccupancyGrid", "free space and obstacles, latched, in metres"),
        Endpoint("depth/image", "sensor_msgs/Image", "filtered depth of each keyframe, 32FC1"),
        Endpoint("depth/camera_info", "sensor_msgs/CameraInfo", "its camera"),
        Endpoint("depth/pose", "geometry_msgs/PoseStamped", "its pose"),
        _DIAGNOSTICS,
    ),
    subscribes=(
        Endpoint("keyframe", "ros_matching/Keyframe", "keyframes of vo_node"),
        Endpoint("keyframe_path", "nav_msgs/Path", "their adjusted poses"),
        Endpoint("keyframe_corrections", "ros_matching/KeyframeCorrections", "their corrections in a map of SLAM"),
    ),
    services=(
        Endpoint("~/save_cloud", "std_srvs/Trigger", "write the map to cloud_file"),
        Endpoint("~/save_map", "std_srvs/Trigger", "write the map to map_file"),
        Endpoint("~/clear", "std_srvs/Trigger", "forget the map"),
    ),
)

REPLAY_NODE = NodeInterface(
    "replay_node",
    "Replay of a recording or rendered scene, as a camera driver.",
    REPLAY_CONFIGS,
    publishes=(
        Endpoint("image", "sensor_msgs/Image", "images", "transport: raw"),
        Endpoint("image/compressed", "sensor_msgs/CompressedImage", "images", "transport: compressed"),
        Endpoint("camera_info", "sensor_msgs/CameraInfo", "calibration"),
        Endpoint("ground_truth_pose", "geometry_msgs/PoseStamped", "true pose of the camera, where known"),
        Endpoint("imu", "sensor_msgs/Imu", "samples of the source, if it has an IMU"),
        Endpoint("/clock", "rosgraph_msgs/Clock", "time of the recording"),
        Endpoint("/tf_static", "tf2_msgs/TFMessage", "base_frame to the camera and the IMU"),
    ),
    subscribes=(Endpoint("vo_status", "ros_matching/VoStatus", "answers of the consumer", "wait_for_consumer: true"),),
)

VIEWER_NODE = NodeInterface(
    "viewer_node",
    "`ros-matching view --live`: topics of running nodes in the browser.",
    (),
    subscribes=(
        Endpoint("vo_status", "ros_matching/VoStatus", "status line and plots"),
        Endpoint("odom", "nav_msgs/Odometry", "trajectory"),
        Endpoint("debug_image", "sensor_msgs/Image", "image with tracked points"),
        Endpoint("keyframe", "ros_matching/Keyframe", "keyframes and sparse points"),
        Endpoint("keyframe_path", "nav_msgs/Path", "adjusted keyframes"),
        Endpoint("map_cloud", "sensor_msgs/PointCloud2", "dense map"),
        Endpoint("vo_node/landmarks", "sensor_msgs/PointCloud2", "landmarks of SLAM"),
        Endpoint("vo_node/pose_graph", "visualization_msgs/MarkerArray", "loops of SLAM"),
    ),
)

INTERFACES = (VO_NODE, MAPPING_NODE, REPLAY_NODE, VIEWER_NODE)
