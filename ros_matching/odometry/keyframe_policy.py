"""Decision whether a frame becomes a keyframe."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import Localization
from ros_matching.atlas.local_map import LocalMap
from ros_matching.geometry.se3 import invert, rotation_angle_deg
from ros_matching.geometry.triangulation import parallax_deg

# Up to so many keyframes, this fraction of the usual parallax is enough for the next one.
_YOUNG_KEYFRAMES = 4
_YOUNG_FRACTION = 0.5
# From this fraction of the parallax threshold the camera has moved, however little the image did.
_MOVED_FRACTION = 0.3


def needs_keyframe(
    local_map: LocalMap,
    localization: Localization,
    config: TrackingConfig,
    overlap_fn: Callable[[], float | None],
) -> bool:
    """Return True if the view has changed enough since the reference keyframe.

    Criteria: a large parallax, with a lower threshold for a map of few keyframes; or a large rotation, few inliers, or
    few landmarks of the reference in the image, but these only if the camera moved: standing still, or a blurred or
    covered view, adds nothing to the map. When driving straight ahead most of the image may stand still, as far points
    do; then the parallax shows the motion. ``overlap_fn`` returns the visible fraction of the reference's image, or
    ``None`` where the matcher cannot estimate it; it takes time and is called only where it decides.
    """
    matches = localization.matches
    if len(matches) == 0:
        return True
    parallax = 0.0 if localization.rotation_only else _parallax_fraction(local_map, localization, config)
    if parallax > 1.0:
        return True
    motion_px = np.median(np.linalg.norm(matches.points1 - matches.points0, axis=1))
    if motion_px < config.keyframe_min_motion * local_map.camera.width and not parallax > _MOVED_FRACTION:
        return False
    reference = localization.reference
    rotation_deg = rotation_angle_deg(localization.camera_from_world @ invert(reference.camera_from_world))
    if rotation_deg > config.keyframe_rotation_deg:
        return True
    if localization.rotation_only:
        return False
    if localization.inliers < config.keyframe_inliers:
        return True
    overlap = overlap_fn()
    if overlap is not None:
        return overlap < config.keyframe_overlap
    visible, _ = local_map.visible(localization.camera_from_world)
    shared = np.count_nonzero(np.isin(reference.observed, visible))
    return shared < config.keyframe_overlap * len(reference.observed)


def _parallax_fraction(local_map: LocalMap, localization: Localization, config: TrackingConfig) -> float:
    """The median parallax as a fraction of the threshold; NaN without landmarks."""
    needed = config.keyframe_parallax_deg
    if len(local_map.keyframes) <= _YOUNG_KEYFRAMES:
        needed *= _YOUNG_FRACTION
    parallax = median_parallax_deg(local_map, localization)
    return parallax / max(needed, 1e-9)


def median_parallax_deg(local_map: LocalMap, localization: Localization) -> float:
    """Median angle between the rays of the observed landmarks to this camera and the reference; NaN without any."""
    observed = localization.observed
    if len(observed) == 0:
        return float("nan")
    center = invert(localization.camera_from_world)[:3, 3]
    return float(np.median(parallax_deg(local_map.positions_of(observed), localization.reference.center, center)))
