"""Settings of the tracker."""

from __future__ import annotations

from dataclasses import dataclass

from ros_matching.config import Config, parameter
from ros_matching.datatypes import Camera

_REFERENCE_WIDTH_PX = 640


@dataclass(frozen=True)
class TrackingConfig(Config):
    """Settings of ``VisualOdometry``. Pixel thresholds are for images 640 wide and scale with the width."""

    reprojection_px: float = parameter(
        2.5, "largest reprojection error of an inlier, in pixels of a 640 wide image", minimum=0.5, maximum=20
    )
    min_inliers: int = parameter(15, "inliers below which a frame is lost", minimum=6, maximum=1000)
    recovery_min_inliers: int = parameter(30, "inliers that a relocalisation needs", minimum=6, maximum=1000)
    init_min_matches: int = parameter(
        60, "matches below which the initialisation starts again from the current image", minimum=20, maximum=5000
    )
    init_min_points: int = parameter(50, "triangulated points that an initial map needs", minimum=10, maximum=5000)
    init_parallax_deg: float = parameter(
        0.5, "median parallax that an initial map needs, in degrees", minimum=0.1, maximum=30
    )
    min_parallax_deg: float = parameter(
        0.7, "parallax below which a point is not triangulated, in degrees", minimum=0.05, maximum=30
    )
    guided_radius_px: float = parameter(
        8.0, "radius of the search around a predicted landmark, in pixels of a 640 wide image", minimum=1, maximum=100
    )
    keyframe_overlap: float = parameter(
        0.75,
        "a keyframe is made when less than this fraction of the landmarks of the last keyframe is inside the image",
        minimum=0,
        maximum=1,
    )
    keyframe_inliers: int = parameter(
        200, "a keyframe is made when fewer landmarks than this are observed", minimum=0, maximum=10000
    )
    keyframe_parallax_deg: float = parameter(
        3.0, "a keyframe is made when the median parallax to the last keyframe is larger, in degrees", minimum=0
    )
    keyframe_min_motion: float = parameter(
        0.03,
        "median motion of matches since the last keyframe below which none is made, as a fraction of the image width",
        minimum=0,
        maximum=1,
    )
    keyframe_rotation_deg: float = parameter(
        10.0,
        "a keyframe is made when the camera has rotated more since the last one, in degrees",
        minimum=0,
        maximum=180,
    )
    window_keyframes: int = parameter(
        12, "most recent keyframes that bundle adjustment optimises", minimum=2, maximum=50
    )
    max_keyframes: int = parameter(
        40, "keyframes kept in the local map, for matching, triangulation and relocalisation", minimum=4, maximum=1000
    )
    neighbour_keyframes: int = parameter(
        3, "keyframes with which a new keyframe triangulates points", minimum=1, maximum=20
    )
    reinitialize_after: int = parameter(
        5, "lost frames after which a new map is started at the last pose", minimum=1, maximum=100000
    )

    def threshold_px(self, camera: Camera) -> float:
        """Return ``reprojection_px`` in pixels of this camera."""
        return self.reprojection_px * camera.width / _REFERENCE_WIDTH_PX

    def radius_px(self, camera: Camera) -> float:
        """Return ``guided_radius_px`` in pixels of this camera."""
        return self.guided_radius_px * camera.width / _REFERENCE_WIDTH_PX
