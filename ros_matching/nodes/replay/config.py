"""Settings of ``replay_node``."""

from __future__ import annotations

from dataclasses import dataclass

from ros_matching.config import Config, check_frames, parameter


@dataclass(frozen=True)
class ReplayConfig(Config):
    """Settings of the replay."""

    source: str = parameter("", "source to replay: a folder, video, bag or scene, as for `ros-matching track`")
    rate: float = parameter(1.0, "speed, as a multiple of real time", minimum=0.001, maximum=1000.0)
    loop: bool = parameter(False, "restart at the end; stamps and /clock then jump back")
    wait_for_consumer: bool = parameter(False, "replay as fast as the consumer answers (vo_status), in place of `rate`")
    consumer: str = parameter("vo_node", "name of the lifecycle node that wait_for_consumer waits for")
    consumer_timeout_s: float = parameter(60.0, "seconds without an answer that end the replay", minimum=0.1)
    wait_for: str = parameter(
        "", "names of lifecycle nodes that must be active before the first frame, separated by commas; without limit"
    )
    transport: str = parameter("raw", "publish image (raw) or image/compressed (JPEG)", choices=("raw", "compressed"))
    jpeg_quality: int = parameter(95, "quality of the compressed images", minimum=1, maximum=100)
    camera_frame: str = parameter("camera_optical_frame", "frame of the camera: x right, y down, z forward")
    base_frame: str = parameter(
        "base_link", "frame whose origin carries the camera, looking along x, for /tf_static; empty: publish none"
    )
    ground_truth_frame: str = parameter("ground_truth", "frame of the ground-truth poses", former_name="truth_frame")
    imu_frame: str = parameter("imu_link", "frame of the IMU, where the source has one")
    frame_prefix: str = parameter("", "prefix of the four frames, as in robot1/base_link")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_frames(self, "camera_frame", "ground_truth_frame", "imu_frame", may_be_empty=["base_frame"])


CONFIGS = (("", ReplayConfig),)
"""Prefixes of the parameters, and their settings."""
