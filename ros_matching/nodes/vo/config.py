"""Settings of ``vo_node``; those of the tracker are ROS parameters with the prefix ``tracking.``."""

from __future__ import annotations

from dataclasses import dataclass

from ros_matching.atlas.config import TrackingConfig
from ros_matching.backend.slam_config import SlamConfig
from ros_matching.config import check_frames, parameter
from ros_matching.errors import ConfigError
from ros_matching.inertial.config import ImuConfig
from ros_matching.matching.config import MatcherConfig
from ros_matching.scale import ScaleConfig


@dataclass(frozen=True)
class VoConfig(MatcherConfig):
    """Settings of ``vo_node``: matcher, topics, frames, and lengths of buffers."""

    mode: str = parameter(
        "odometry",
        "odometry: no map is kept; slam: a map is kept and loops are closed; localization: in the map of map_file, "
        "which stays as it is",
        choices=("odometry", "slam", "localization"),
    )
    map_file: str = parameter(
        "",
        "folder of a saved map: localization needs it, slam continues in it if it is there; ~/save_map saves into it",
    )
    save_map_at_end: bool = parameter(
        False, "save the map into map_file when the node is cleaned up or shut down, with the mode slam"
    )
    autostart: bool = parameter(
        False, "configure and activate at the start, without a lifecycle manager (for ros2 run)"
    )
    transport: str = parameter(
        "raw", "image topic: raw (sensor_msgs/Image) or compressed (CompressedImage)", choices=("raw", "compressed")
    )
    rectified: bool = parameter(
        False, "the images are already rectified (image_rect): use P of CameraInfo and no distortion"
    )
    camera_info_wait_s: float = parameter(
        1.0, "time that the first image waits for its CameraInfo, in seconds", minimum=0, maximum=60
    )
    camera_info_max_age_s: float = parameter(
        2.0, "a repeated CameraInfo that is older than the image by more is reported as stale, in seconds", minimum=0
    )
    scale_sync_s: float = parameter(
        0.02,
        "largest difference in time between an image and its depth image or right image, in seconds",
        minimum=0,
        maximum=1,
    )
    scale_wait_s: float = parameter(
        0.05,
        "time that an image waits for its depth image or right image, if there are any, in seconds",
        minimum=0,
        maximum=1,
    )
    use_imu: bool = parameter(
        False,
        "use the IMU on the topic imu: rotation between images, and poses for a moment without usable images; "
        "scale.source imu measures metres by it, and implies it",
    )
    imu_wait_s: float = parameter(
        0.02, "longest time that an image waits for the samples up to its stamp, in seconds", minimum=0, maximum=1
    )
    imu_extrinsics: str = parameter(
        "tf",
        "pose of the camera along the axes of the IMU: tf takes it from /tf_static, by the frame_id of the messages; "
        "else x y z qx qy qz qw in metres",
    )
    mask_file: str = parameter(
        "", "mask of all images, of their size: black is not used, as for the robot's own body; ~ is the home folder"
    )
    mask_sync_s: float = parameter(
        0.1, "largest difference in time between an image and its mask on the topic mask", minimum=0, maximum=10
    )
    mask_wait_s: float = parameter(
        0.05, "time that an image waits for its mask, if there are any, in seconds", minimum=0, maximum=1
    )
    stereo_baseline_m: float = parameter(
        0.0,
        "distance from the camera to the right camera, both rectified, in metres; 0 takes it from CameraInfo or "
        "/tf_static",
        minimum=0,
    )
    camera_extrinsics: str = parameter(
        "tf",
        "extrinsics of the camera: tf takes base_frame -> camera from /tf_static; identity places the camera at the "
        "origin of base_frame, looking along its x axis",
        choices=("tf", "identity"),
        former_name="camera_mount",
    )
    mapping_thread: bool = parameter(
        True,
        "map keyframes in a thread of their own; only images with few landmarks wait for it; false is deterministic",
    )
    odom_frame: str = parameter("odom", "the fixed frame: base_frame at the first keyframe")
    base_frame: str = parameter("base_link", "the robot's frame, x forward and z up")
    camera_frame: str = parameter("", "the camera's optical frame, z forward; empty takes the frame_id of the images")
    frame_prefix: str = parameter(
        "", "prefix of odom_frame, base_frame and camera_frame, as in robot1/base_link; frames of messages stay"
    )
    map_frame: str = parameter("map", "the frame of the map: base_frame at its first keyframe")
    publish_map_tf: bool = parameter(
        True, "publish the transform map_frame -> odom_frame on /tf, with the modes slam and localization"
    )
    map_period_s: float = parameter(
        2.0, "the map's path, landmarks and pose graph are published at most this often, in seconds", minimum=0.1
    )
    publish_tf: bool = parameter(True, "publish the transform odom_frame -> base_frame on /tf")
    path_length: int = parameter(1000, "number of poses in the path, the newest", minimum=1, maximum=100_000)
    path_period_s: float = parameter(0.5, "the path is published at most this often, in seconds", minimum=0)
    trajectory_file: str = parameter("", "file for ~/save_trajectory; ~ is the home folder")
    trajectory_format: str = parameter("tum", "file format of ~/save_trajectory", choices=("tum", "kitti"))
    trajectory_length: int = parameter(
        200_000, "number of poses stored for ~/save_trajectory, the newest", minimum=1, maximum=100_000_000
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_frames(self, "odom_frame", "base_frame", "map_frame", may_be_empty=["camera_frame"])
        if self.odom_frame == self.base_frame:
            raise ConfigError(f"odom_frame and base_frame must differ, got {self.odom_frame!r} for both")
        if self.map_frame in (self.odom_frame, self.base_frame):
            raise ConfigError(f"map_frame must differ from odom_frame and base_frame, got {self.map_frame!r}")
        if self.save_map_at_end and not self.map_file:
            raise ConfigError("save_map_at_end needs a folder to save the map in; set map_file")
        if self.mode == "localization" and not self.map_file:
            raise ConfigError("the mode localization needs a saved map; set map_file to its folder")


@dataclass(frozen=True)
class NodeSlamConfig(SlamConfig):
    """Settings of SLAM in a node, which may run for days: its memory must not grow with time."""

    keep_trajectory: bool = parameter(False, "keep a relative pose for each tracked frame: memory grows with time")


CONFIGS = (
    ("", VoConfig),
    ("tracking.", TrackingConfig),
    ("scale.", ScaleConfig),
    ("slam.", NodeSlamConfig),
    ("imu.", ImuConfig),
)
"""Prefixes of the parameters, and their settings."""

LIVE_SETTINGS = frozenset({"map_file", "save_map_at_end", "trajectory_file", "trajectory_format"})
"""Settings that may change while the node is configured; all others are read by the configure transition."""
