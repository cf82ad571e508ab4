"""The settings of ``vo_node``; those of the tracker are beside it, as ROS parameters under ``tracking.``."""

from __future__ import annotations

from dataclasses import dataclass

from ros_matching.config import check_frames, parameter
from ros_matching.errors import ConfigError
from ros_matching.matching.config import MatcherConfig


@dataclass(frozen=True)
class VoConfig(MatcherConfig):
    """The matcher of ``vo_node``, its topics, its frames, and the lengths of what it keeps."""

    autostart: bool = parameter(
        False, "configure and activate at the start, without a lifecycle manager (for ros2 run)"
    )
    transport: str = parameter("raw", "which topic carries the pictures", choices=("raw", "compressed"))
    rectified: bool = parameter(
        False, "the pictures are rectified already (image_rect): P of CameraInfo holds, distortion is ignored"
    )
    camera_info_wait_s: float = parameter(
        1.0, "how long the first picture waits for its CameraInfo, in seconds", minimum=0, maximum=60
    )
    camera_info_max_age_s: float = parameter(
        2.0, "a repeated CameraInfo older than this against the picture is reported as stale, in seconds", minimum=0
    )
    scale_sync_s: float = parameter(
        0.02,
        "largest difference in time of a depth image or partner image from the picture it belongs to, in seconds",
        minimum=0,
        maximum=1,
    )
    scale_wait_s: float = parameter(
        0.05,
        "how long a picture waits for its depth image or partner image, if these come at all, in seconds",
        minimum=0,
        maximum=1,
    )
    stereo_baseline_m: float = parameter(
        0.0,
        "distance of the partner camera to the right of the camera, both rectified, in metres; 0 takes it from "
        "CameraInfo, or from /tf_static",
        minimum=0,
    )
    camera_mount: str = parameter(
        "tf",
        "where the camera sits on the robot: tf takes base_frame -> camera from /tf_static; identity puts it at "
        "the origin of base_frame, looking along its x axis",
        choices=("tf", "identity"),
    )
    odom_frame: str = parameter("odom", "the fixed frame: where base_frame was at the first keyframe")
    base_frame: str = parameter("base_link", "the robot's frame, x forward and z up")
    camera_frame: str = parameter("", "the camera's optical frame, z forward; empty takes the frame_id of the pictures")
    frame_prefix: str = parameter(
        "", "put before odom_frame, base_frame and camera_frame, as in robot1/base_link; the frames of messages stay"
    )
    publish_tf: bool = parameter(True, "publish the transform odom_frame -> base_frame on /tf")
    path_length: int = parameter(1000, "poses that the path keeps, the newest", minimum=1, maximum=100_000)
    path_period_s: float = parameter(0.5, "the path is published at most this often, in seconds", minimum=0)
    trajectory_file: str = parameter("", "where ~/save_trajectory writes; ~ is the home folder")
    trajectory_format: str = parameter("tum", "what ~/save_trajectory writes", choices=("tum", "kitti"))
    trajectory_length: int = parameter(
        200_000, "poses that are kept for ~/save_trajectory, the newest", minimum=1, maximum=100_000_000
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_frames(self, "odom_frame", "base_frame", may_be_empty=["camera_frame"])
        if self.odom_frame == self.base_frame:
            raise ConfigError(f"odom_frame and base_frame must differ, got {self.odom_frame!r} for both")


LIVE_SETTINGS = frozenset({"trajectory_file", "trajectory_format"})
"""What may be set while the node is configured; the rest is read in the transition to configured."""
