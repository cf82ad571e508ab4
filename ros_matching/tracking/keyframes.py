"""When a frame becomes a keyframe."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ros_matching.geometry.se3 import invert, rotation_angle_deg
from ros_matching.geometry.triangulation import parallax_deg
from ros_matching.tracking.config import TrackingConfig
from ros_matching.tracking.local_map import LocalMap
from ros_matching.tracking.localization import Localization

# A map of so few keyframes gets the next one at this share of the usual parallax.
_YOUNG_KEYFRAMES = 4
_YOUNG_SHARE = 0.5
# From this share of the parallax that makes a keyframe by itself, the camera has moved, whatever the image did.
_MOVED_SHARE = 0.3


def needs_keyframe(
    local_map: LocalMap,
    localization: Localization,
    config: TrackingConfig,
    tell_overlap: Callable[[], float | None],
) -> bool:
    """Whether the view has changed enough since the reference keyframe.

    It has when the parallax is large, and more so while the map is young and its depths rest on little of it. It has
    when the camera turned far, or when few of the reference's landmarks are still in sight; but then never when the
    camera hardly moved: standing still, or a blurred or covered view, adds nothing to the map. Of a camera that drives
    straight ahead most of the image may stand still, as what is far away does; that it moved, its parallax tells. What
    share of the reference's image is still in sight, is told by its landmarks unless ``tell_overlap``, which costs time
    and is only asked where it decides, knows it.
    """
    matches = localization.matches
    if len(matches) == 0:
        return True
    parallax = 0.0 if localization.rotation_only else _parallax_share(local_map, localization, config)
    if parallax > 1.0:
        return True
    motion_px = np.median(np.linalg.norm(matches.points1 - matches.points0, axis=1))
    if motion_px < config.keyframe_min_motion * local_map.camera.width and not parallax > _MOVED_SHARE:
        return False
    reference = localization.reference
    turned = rotation_angle_deg(localization.camera_from_world @ invert(reference.camera_from_world))
    if turned > config.keyframe_rotation_deg:
        return True
    if localization.rotation_only:
        return False
    if localization.inliers < config.keyframe_inliers:
        return True
    overlap = tell_overlap()
    if overlap is not None:
        return overlap < config.keyframe_overlap
    visible, _ = local_map.visible(localization.camera_from_world)
    shared = np.count_nonzero(np.isin(reference.seen, visible))
    return shared < config.keyframe_overlap * len(reference.seen)


def _parallax_share(local_map: LocalMap, localization: Localization, config: TrackingConfig) -> float:
    """The median parallax, as a share of what makes a keyframe by itself; NaN without landmarks."""
    needed = config.keyframe_parallax_deg
    if len(local_map.keyframes) <= _YOUNG_KEYFRAMES:
        needed *= _YOUNG_SHARE
    parallax = median_parallax_deg(local_map, localization)
    return parallax / max(needed, 1e-9)


def median_parallax_deg(local_map: LocalMap, localization: Localization) -> float:
    """Median angle under which the seen landmarks see this camera and the reference keyframe; NaN without any."""
    seen = localization.seen
    if len(seen) == 0:
        return float("nan")
    center = invert(localization.camera_from_world)[:3, 3]
    return float(np.median(parallax_deg(local_map.positions[seen], localization.reference.center, center)))
