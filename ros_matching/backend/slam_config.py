"""Settings of SLAM."""

from __future__ import annotations

from dataclasses import dataclass

from ros_matching.config import Config, parameter


@dataclass(frozen=True)
class SlamConfig(Config):
    """Settings of ``Slam``."""

    jpeg_width: int = parameter(
        320, "width of the image kept of each keyframe, in pixels; 0 keeps none", minimum=0, maximum=8192
    )
    jpeg_quality: int = parameter(60, "JPEG quality of the image kept of each keyframe", minimum=1, maximum=100)
    covisible_edges: int = parameter(
        4, "constraints of a new keyframe to others in the local map, besides the last one", minimum=0, maximum=20
    )
    close_loops: bool = parameter(True, "recognise places, close loops and merge maps; needs the extra slam")
    loop_inliers: int = parameter(
        40, "landmarks, of both maps together, that must agree about a recognised place", minimum=10, maximum=10000
    )
    loop_keyframes: int = parameter(
        2, "keyframes that must agree about a recognised place before a loop is closed", minimum=1, maximum=10
    )
    cull_keyframes: bool = parameter(
        True, "remove keyframes of whose landmarks three others observe nine tenths, outside the local map"
    )
    adjusted_keyframes: int = parameter(
        1000,
        "keyframes up to which a bundle adjustment of the whole map follows a loop; 0 for none",
        minimum=0,
        maximum=100000,
    )
    localization_inliers: int = parameter(
        30, "landmarks of the map that an image must observe to be localised", minimum=10, maximum=10000
    )
    keep_trajectory: bool = parameter(True, "keep a relative pose for each tracked frame, for the trajectory")
