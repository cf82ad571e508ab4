"""Homographies: views of one plane, and views that only turn."""

from __future__ import annotations

import cv2
import numpy as np

from ros_matching.datatypes import Camera
from ros_matching.geometry.checks import as_correspondences
from ros_matching.geometry.planar import map_points, transfer_errors_px
from ros_matching.geometry.rotation import estimate_rotation, rotation_homography
from ros_matching.geometry.se3 import pose_from
from ros_matching.geometry.two_view import TwoViewGeometry, two_view_geometry

__all__ = [
    "decompose_homography",
    "estimate_homography",
    "estimate_rotation",
    "map_points",
    "rotation_homography",
    "transfer_errors_px",
]

MIN_POINTS = 4
_CONFIDENCE = 0.9999
_RANSAC_ITERATIONS = 2000
_MIN_TRANSLATION = 1e-6  # of the distance of the plane; a homography with less is a rotation


def estimate_homography(
    points0: np.ndarray, points1: np.ndarray, threshold_px: float = 2.0, confidence: float = _CONFIDENCE
) -> tuple[np.ndarray, np.ndarray] | None:
    """The homography (3, 3) that takes pixels of image 0 to image 1, and its inliers (M,) bool.

    Inliers are within ``threshold_px`` by ``transfer_errors_px``. OpenCV's USAC seeds its samples itself, always
    alike. ``None`` with fewer than four matches or inliers, or where they do not determine it (all on a line).
    """
    points0, points1 = as_correspondences(points0, points1)
    if len(points0) < MIN_POINTS:
        return None
    homography, _ = cv2.findHomography(
        points0, points1, cv2.USAC_DEFAULT, threshold_px, maxIters=_RANSAC_ITERATIONS, confidence=confidence
    )
    if homography is None or not np.isfinite(homography).all() or abs(np.linalg.det(homography)) < 1e-12:
        return None
    inliers = transfer_errors_px(homography, points0, points1) <= threshold_px
    return (homography, inliers) if np.count_nonzero(inliers) >= MIN_POINTS else None


def decompose_homography(
    homography: np.ndarray,
    points0: np.ndarray,
    points1: np.ndarray,
    camera0: Camera,
    camera1: Camera,
    inliers: np.ndarray,
    threshold_px: float = 2.0,
) -> list[TwoViewGeometry]:
    """The motions that a homography (3, 3) of a plane may stand for, best first.

    Of the four (Malis and Vargas 2007) those remain that see the plane of the ``inliers`` (M,) before both cameras;
    two that do are told apart by points off the plane alone. Order is by triangulated matches, each of which agrees
    with the motion within ``threshold_px``. Empty for a rotation, which has no direction of translation.
    """
    points0, points1 = as_correspondences(points0, points1)
    if not inliers.any():
        return []
    normalised = np.linalg.inv(camera1.matrix) @ homography @ camera0.matrix
    # The sign that takes rays to rays in front of camera 1, which a homography alone does not have.
    rays0, rays1 = camera0.unproject(points0[inliers]), camera1.unproject(points1[inliers])
    normalised = normalised * np.sign(np.median(np.sum(rays0 @ normalised.T * rays1, axis=1)))
    _, rotations, translations, normals = cv2.decomposeHomographyMat(normalised, np.eye(3))
    views = []
    for rotation, translation, normal in zip(rotations, translations, normals, strict=True):
        length = np.linalg.norm(translation)
        if length < _MIN_TRANSLATION or np.mean(rays0 @ normal.ravel() > 0) < 0.5:
            continue
        pose = pose_from(rotation, translation.ravel() / length)
        views.append(two_view_geometry(pose, points0, points1, camera0, camera1, threshold_px))
    return sorted(views, key=lambda view: -np.count_nonzero(np.isfinite(view.parallax_deg)))
