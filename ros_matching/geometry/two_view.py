"""Inliers, points and parallax of the matches of two views, by their relative pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import Camera
from ros_matching.geometry.checks import as_correspondences
from ros_matching.geometry.epipolar import essential_from_pose, fundamental_from_essential, sampson_distance_px
from ros_matching.geometry.se3 import angle_between_deg, invert
from ros_matching.geometry.triangulation import parallax_deg, triangulate_relative

_MIN_PARALLAX_PX = 1.0  # rays less apart than this meet behind the cameras as easily as before them


@dataclass(frozen=True)
class TwoViewGeometry:
    """A relative pose with the inliers, points and parallax of its matches.

    ``camera1_from_camera0`` (4, 4) with a translation of unit length; ``inliers`` (M,) bool; ``points`` (M, 3) in the
    coordinates of camera 0 and ``parallax_deg`` (M,), both NaN for outliers and where the rays do not meet in front of
    both cameras.
    """

    camera1_from_camera0: np.ndarray
    inliers: np.ndarray
    points: np.ndarray
    parallax_deg: np.ndarray


def two_view_geometry(
    camera1_from_camera0: np.ndarray,
    points0: np.ndarray,
    points1: np.ndarray,
    camera0: Camera,
    camera1: Camera,
    threshold_px: float = 1.0,
) -> TwoViewGeometry:
    """Triangulate matched pixels (M, 2) by a known relative pose (4, 4).

    Inliers have a Sampson distance of at most ``threshold_px``, and rays that do not clearly meet behind a camera.
    """
    points0, points1 = as_correspondences(points0, points1)
    fundamental = fundamental_from_essential(essential_from_pose(camera1_from_camera0), camera0, camera1)
    near = sampson_distance_px(fundamental, points0, points1) <= threshold_px
    return triangulate_inliers(camera1_from_camera0, points0, points1, camera0, camera1, near)


def triangulate_inliers(
    camera1_from_camera0: np.ndarray,
    points0: np.ndarray,
    points1: np.ndarray,
    camera0: Camera,
    camera1: Camera,
    inliers: np.ndarray,
) -> TwoViewGeometry:
    """The geometry of the matches (M, 2) that are ``inliers`` (M,); those clearly behind a camera stop being so."""
    rows = np.flatnonzero(inliers)
    met = triangulate_relative(camera0, camera1, camera1_from_camera0, points0[rows], points1[rows])
    rays0 = camera0.unproject(points0[rows])
    rays1 = camera1.unproject(points1[rows]) @ camera1_from_camera0[:3, :3]
    clear = angle_between_deg(rays0, rays1) > min_parallax_deg(camera0, camera1)
    kept = np.zeros(len(points0), dtype=bool)
    kept[rows] = ~(clear & np.isnan(met[:, 0]))
    points, parallax = np.full((len(points0), 3), np.nan), np.full(len(points0), np.nan)
    points[rows] = met
    parallax[rows] = parallax_deg(met, np.zeros(3), invert(camera1_from_camera0)[:3, 3])
    return TwoViewGeometry(camera1_from_camera0, kept, points, parallax)


def min_parallax_deg(camera0: Camera, camera1: Camera) -> float:
    """The parallax below which the side on which two rays meet is noise: that of one pixel."""
    return float(np.degrees(_MIN_PARALLAX_PX / mean_focal_px(camera0, camera1)))


def mean_focal_px(camera0: Camera, camera1: Camera) -> float:
    """The mean focal length of two cameras, which converts pixels to normalised coordinates."""
    return 0.25 * (camera0.fx + camera0.fy + camera1.fx + camera1.fy)
