"""Tests of a pose in the map for evidence of another one.

A map that is locally wrong draws the pose away. The matches with the keyframe that observe no landmark do not follow:
the motion between the two images, which they determine without the map, explains more of them (``is_contradicted``).

Where a large body moves by itself, or the robot's own body is in view, two groups of landmarks determine two poses
(``rival_pose``). Only the motion before shows which one is that of the camera in the world.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ros_matching.datatypes import Camera, Matches
from ros_matching.geometry.epipolar import essential_from_pose, fundamental_from_essential, sampson_distance_px
from ros_matching.geometry.essential import estimate_essential
from ros_matching.geometry.homography import rotation_homography, transfer_errors_px
from ros_matching.geometry.pnp import PnpEstimate, estimate_pnp

# A pose explains matches within this multiple of the threshold: one by few landmarks is inaccurate, but not wrong
_TOLERANCE = 2.0
# A pose that explains this fraction of the matches is not tested
_ENOUGH = 0.8
# A pose is contradicted if another motion explains more of the matches by this factor, and by at least this number
_FACTOR = 1.2
_MIN_DIFFERENCE = 20
# A second pose is a rival if it explains this fraction of the landmarks, and at least this number
_RIVAL_FRACTION = 0.2
_RIVAL_MIN_LANDMARKS = 20
_RIVAL_ITERATIONS = 80  # enough, with 0.99, if half of the landmarks that are not explained share it


def is_contradicted(matches: Matches, camera: Camera, motions: Sequence[np.ndarray], threshold_px: float) -> bool:
    """Return True if another motion explains clearly more matches of two images than all of the ``motions`` together.

    These are camera1_from_camera0 (4, 4): of the camera, and of a rival if there is one. A match is explained if it is
    within ``threshold_px``, by the motions within twice as much, of its epipolar line or of its place after the
    rotation alone.
    """
    count = len(matches)
    explained = np.count_nonzero(
        np.any([_explained(matches, camera, motion, _TOLERANCE * threshold_px) for motion in motions], axis=0)
    )
    if explained > _ENOUGH * count or _FACTOR * explained > count or explained + _MIN_DIFFERENCE > count:
        return False
    rival = estimate_essential(matches.points0, matches.points1, camera, camera, threshold_px)
    if rival is None:
        return False
    by_rival = np.count_nonzero(rival[1])
    return bool(by_rival > max(_FACTOR * explained, explained + _MIN_DIFFERENCE))


def _explained(matches: Matches, camera: Camera, camera1_from_camera0: np.ndarray, threshold_px: float) -> np.ndarray:
    homography = rotation_homography(camera1_from_camera0[:3, :3], camera, camera)
    explained = transfer_errors_px(homography, matches.points0, matches.points1) <= threshold_px
    if camera1_from_camera0[:3, 3].any():
        fundamental = fundamental_from_essential(essential_from_pose(camera1_from_camera0), camera, camera)
        explained |= sampson_distance_px(fundamental, matches.points0, matches.points1) <= threshold_px
    return explained


def rival_pose(
    points_world: np.ndarray, points_px: np.ndarray, camera: Camera, threshold_px: float, explained: np.ndarray
) -> PnpEstimate | None:
    """Return a second pose that explains many of the landmarks (N, 3) that the first one does not.

    ``points_px`` (N, 2) are their pixels, ``explained`` (N,) bool those that agree with the first pose; the inliers of
    the result are those of all landmarks. ``None`` if there is no such pose.
    """
    needed = max(_RIVAL_MIN_LANDMARKS, _RIVAL_FRACTION * len(points_px))
    rest = np.flatnonzero(~explained)
    if len(rest) < needed:
        return None
    found = estimate_pnp(points_world[rest], points_px[rest], camera, threshold_px, ransac_iterations=_RIVAL_ITERATIONS)
    if found is None or np.count_nonzero(found.inliers) < needed:
        return None
    inliers = np.zeros(len(points_px), dtype=bool)
    inliers[rest[found.inliers]] = True
    return replace(found, inliers=inliers)
