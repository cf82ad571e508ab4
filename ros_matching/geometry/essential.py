"""The relative pose of two views from matches, through the essential matrix."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from scipy.special import ndtr

from ros_matching.datatypes import Camera, Matches, RelativePose
from ros_matching.geometry.checks import as_correspondences
from ros_matching.geometry.epipolar import essential_from_pose, fundamental_from_essential, sampson_distance_px
from ros_matching.geometry.homography import decompose_homography, estimate_homography
from ros_matching.geometry.pose_refinement import refine_relative_pose
from ros_matching.geometry.se3 import local, pose_from
from ros_matching.geometry.two_view import (
    TwoViewGeometry,
    mean_focal_px,
    min_parallax_deg,
    triangulate_inliers,
    two_view_geometry,
)

__all__ = [
    "TwoViewGeometry",
    "estimate_essential",
    "estimate_relative_pose",
    "pose_of_matches",
    "poses_of_essential",
    "recover_pose",
    "refine_relative_pose",
    "two_view_geometry",
]

MIN_POINTS = 5
_STDS = 3.0  # a match with an error above so many standard deviations does not support a pose
_MAX_AMBIGUITY = 0.8  # the second best of the four poses may have at most this fraction of the best one's points


def pose_of_matches(matches: Matches, camera0: Camera, camera1: Camera) -> RelativePose | None:
    """``estimate_relative_pose`` by all that matches know of themselves."""
    return estimate_relative_pose(
        matches.points0, matches.points1, camera0, camera1, weights=matches.weights, std_px=matches.std_px
    )


def estimate_relative_pose(
    points0: np.ndarray,
    points1: np.ndarray,
    camera0: Camera,
    camera1: Camera,
    threshold_px: float = 1.0,
    weights: np.ndarray | None = None,
    std_px: np.ndarray | None = None,
) -> RelativePose | None:
    """The motion between two cameras from matched pixels (M, 2), some of them wrong, up to scale.

    Five-point RANSAC, the one of four poses that has the points in front of both cameras, then robust refinement with
    ``weights`` (M,), relative inverse variances. Where most of the scene is a plane, RANSAC may choose an essential
    matrix that explains as many matches and is wrong. Therefore the motions of a homography are refined too, and the
    result is the motion with most support; matches of known standard deviation (``std_px`` (M,), else NaN) count less
    the larger their error. ``None`` with fewer than five matches, or if they do not determine a pose (too few agree, or
    too little parallax to distinguish front from behind). If another motion explains the matches nearly as well, the
    covariance contains the difference.
    """
    estimate = estimate_essential(points0, points1, camera0, camera1, threshold_px)
    if estimate is None:
        return None
    view = recover_pose(estimate[0], points0, points1, camera0, camera1, estimate[1])
    if view is None:
        return None
    views = [view, *_plane_motions(points0, points1, camera0, camera1)]
    refined = [
        refine_relative_pose(view.camera1_from_camera0, points0, points1, camera0, camera1, threshold_px, weights)
        for view in views
    ]
    poses = [pose for pose in refined if pose is not None]
    if not poses:
        return None
    std_px = np.full(len(points0), np.nan) if std_px is None else std_px
    best = max(poses, key=lambda pose: _support(pose, points0, points1, camera0, camera1, std_px))
    return replace(best, covariance=best.covariance + sum(_ambiguity(best, pose) for pose in poses if pose is not best))


def _support(
    pose: RelativePose,
    points0: np.ndarray,
    points1: np.ndarray,
    camera0: Camera,
    camera1: Camera,
    std_px: np.ndarray,
) -> float:
    """The number of inliers of a pose, those of known standard deviation weighted by their error."""
    fundamental = fundamental_from_essential(essential_from_pose(pose.camera1_from_camera0), camera0, camera1)
    error = sampson_distance_px(fundamental, points0, points1) / (_STDS * std_px)
    return float(np.sum(np.where(np.isnan(std_px), 1.0, np.maximum(1.0 - error**2, 0.0))[pose.inliers]))


def _ambiguity(best: RelativePose, rival: RelativePose) -> np.ndarray:
    """The covariance (6, 6) to add to a pose for a rival that explains the matches nearly as well.

    The outer product of their difference, times the probability that the matches explained by only one of them favour
    the best by chance (McNemar's test). A plane leaves two equally good motions.
    """
    only_best = np.count_nonzero(best.inliers & ~rival.inliers)
    only_rival = np.count_nonzero(rival.inliers & ~best.inliers)
    chance = ndtr((only_rival - only_best) / np.sqrt(max(only_best + only_rival, 1)))
    step = local(best.camera1_from_camera0, rival.camera1_from_camera0)
    direction = best.camera1_from_camera0[:3, 3]
    step[:3] -= direction * (direction @ step[:3])  # the length is not estimated
    return chance * np.outer(step, step)


def _plane_motions(points0: np.ndarray, points1: np.ndarray, camera0: Camera, camera1: Camera) -> list[TwoViewGeometry]:
    """The two likeliest motions of the homography of the matches, if there is one."""
    found = estimate_homography(points0, points1)
    if found is None:
        return []
    return decompose_homography(found[0], points0, points1, camera0, camera1, found[1])[:2]


def estimate_essential(
    points0: np.ndarray,
    points1: np.ndarray,
    camera0: Camera,
    camera1: Camera,
    threshold_px: float = 1.0,
    confidence: float = 0.9999,
) -> tuple[np.ndarray, np.ndarray] | None:
    """The essential matrix (3, 3) of matched pixels (M, 2) and its inliers (M,) bool, by five-point RANSAC.

    Inliers have a Sampson distance of at most ``threshold_px``. OpenCV's USAC uses a fixed seed.
    ``None`` with fewer than five matches or inliers.
    """
    points0, points1 = as_correspondences(points0, points1)
    if len(points0) < MIN_POINTS:
        return None
    stacked, _ = cv2.findEssentialMat(
        np.ascontiguousarray(camera0.unproject(points0)[:, :2]),
        np.ascontiguousarray(camera1.unproject(points1)[:, :2]),
        np.eye(3),
        method=cv2.USAC_DEFAULT,
        prob=confidence,
        threshold=threshold_px / mean_focal_px(camera0, camera1),
    )
    candidates = []
    for essential in np.reshape([] if stacked is None else stacked, (-1, 3, 3)):
        if not np.isfinite(essential).all():  # OpenCV's answer to some degenerate matches
            continue
        fundamental = fundamental_from_essential(essential, camera0, camera1)
        candidates.append((essential, sampson_distance_px(fundamental, points0, points1) <= threshold_px))
    if not candidates:
        return None
    essential, inliers = max(candidates, key=lambda candidate: np.count_nonzero(candidate[1]))
    return (essential, inliers) if np.count_nonzero(inliers) >= MIN_POINTS else None


def recover_pose(
    essential: np.ndarray,
    points0: np.ndarray,
    points1: np.ndarray,
    camera0: Camera,
    camera1: Camera,
    inliers: np.ndarray,
) -> TwoViewGeometry | None:
    """The one of the four poses of an essential matrix (3, 3) that has the ``inliers`` (M,) in front of both cameras.

    ``None`` if a second pose does nearly as well, or where fewer than five inliers have any parallax.
    """
    points0, points1 = as_correspondences(points0, points1)
    views = [
        triangulate_inliers(pose, points0, points1, camera0, camera1, inliers) for pose in poses_of_essential(essential)
    ]
    enough_deg = min_parallax_deg(camera0, camera1)
    counts = [np.count_nonzero(view.parallax_deg > enough_deg) for view in views]
    best, second = np.argsort(counts, kind="stable")[::-1][:2]
    if counts[best] < MIN_POINTS or counts[second] > _MAX_AMBIGUITY * counts[best]:
        return None
    return views[best]


def poses_of_essential(essential: np.ndarray) -> list[np.ndarray]:
    """The four poses ``camera1_from_camera0`` (4, 4), of unit translation, that an essential matrix (3, 3) may be."""
    u, _, vt = np.linalg.svd(essential)
    quarter_turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    rotations = [
        rotation * np.sign(np.linalg.det(rotation)) for rotation in (u @ quarter_turn @ vt, u @ quarter_turn.T @ vt)
    ]
    return [pose_from(rotation, sign * u[:, 2]) for rotation in rotations for sign in (1.0, -1.0)]
