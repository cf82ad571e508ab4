"""Test of a pose in the map against the matches with a keyframe, of which only some observe landmarks.

A map that is locally wrong, or a body that moves with its own landmarks, draws the pose away. The other matches do not
follow: the motion between the two images, which they determine without the map, explains more of them.
"""

from __future__ import annotations

import numpy as np

from ros_matching.datatypes import Camera, Matches
from ros_matching.geometry.epipolar import essential_from_pose, fundamental_from_essential, sampson_distance_px
from ros_matching.geometry.essential import estimate_essential
from ros_matching.geometry.homography import rotation_homography, transfer_errors_px

# A pose that explains this fraction of the matches is not tested
_ENOUGH = 0.8
# A pose is contradicted if another motion explains more of the matches by this factor, and by at least this number
_FACTOR = 1.2
_MIN_DIFFERENCE = 20


def is_contradicted(matches: Matches, camera: Camera, camera1_from_camera0: np.ndarray, threshold_px: float) -> bool:
    """Return True if another motion than ``camera1_from_camera0`` (4, 4) explains clearly more matches of two images.

    A match is explained if it is within ``threshold_px`` of its epipolar line or of its place after the rotation alone.
    """
    count = len(matches)
    explained = _explained(matches, camera, camera1_from_camera0, threshold_px)
    if explained > _ENOUGH * count or _FACTOR * explained > count or explained + _MIN_DIFFERENCE > count:
        return False
    rival = estimate_essential(matches.points0, matches.points1, camera, camera, threshold_px)
    if rival is None:
        return False
    by_rival = np.count_nonzero(rival[1])
    return by_rival > max(_FACTOR * explained, explained + _MIN_DIFFERENCE)


def _explained(matches: Matches, camera: Camera, camera1_from_camera0: np.ndarray, threshold_px: float) -> int:
    homography = rotation_homography(camera1_from_camera0[:3, :3], camera, camera)
    explained = transfer_errors_px(homography, matches.points0, matches.points1) <= threshold_px
    if camera1_from_camera0[:3, 3].any():
        fundamental = fundamental_from_essential(essential_from_pose(camera1_from_camera0), camera, camera)
        explained |= sampson_distance_px(fundamental, matches.points0, matches.points1) <= threshold_px
    return int(np.count_nonzero(explained))
