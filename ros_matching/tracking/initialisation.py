"""Two-view initialisation: wait for parallax, then reconstruct motion and structure from two images.

Standing still and turning on the spot are told apart from motion by the pure-rotation model: as long as it explains the
matches, there is nothing to triangulate and the initialisation waits. Otherwise the essential matrix and the homography
compete (model selection after Mur-Artal, Montiel and Tardos, "ORB-SLAM", T-RO 2015, section IV), because a planar scene
leaves the essential matrix ill-determined.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import Camera, Features, Frame, Matches
from ros_matching.geometry.epipolar import fundamental_from_essential, sampson_distance_px
from ros_matching.geometry.essential import TwoViewGeometry, estimate_essential, recover_pose
from ros_matching.geometry.homography import decompose_homography, estimate_homography
from ros_matching.geometry.planar import transfer_errors_px
from ros_matching.geometry.rotation import estimate_rotation
from ros_matching.matching.two_view import TwoViewMatcher
from ros_matching.tracking.config import TrackingConfig

# The camera counts as not having moved if a pure rotation explains this share of what the best motion explains.
_ROTATION_SHARE = 0.9
# ORB-SLAM's threshold on score_H / (score_H + score_E), above which the homography is taken.
_HOMOGRAPHY_SHARE = 0.45
# The runner-up decomposition may explain at most this share of the best one's points.
_AMBIGUITY_SHARE = 0.75
_CHI2_1_DOF = 3.84
_CHI2_2_DOF = 5.99


@dataclass(frozen=True)
class InitialReconstruction:
    """Two frames with their relative geometry, good enough to begin a map with."""

    frame0: Frame
    features0: Features
    frame1: Frame
    features1: Features
    matches: Matches
    geometry: TwoViewGeometry


@dataclass(frozen=True)
class Waiting:
    """Why there is no reconstruction yet, and how many matches there were with the reference image."""

    reason: str
    matches: int = 0
    parallax_deg: float = float("nan")


class TwoViewInitializer:
    """Holds a reference image and tries to reconstruct with each later one."""

    def __init__(self, matcher: TwoViewMatcher, config: TrackingConfig) -> None:
        self._matcher = matcher
        self._config = config
        self._reference: tuple[Frame, Features] | None = None

    def reset(self) -> None:
        """Forget the reference image."""
        self._reference = None

    def add(self, frame: Frame, features: Features) -> InitialReconstruction | Waiting:
        """Try with this frame as the second view; it becomes the reference where the old one is out of sight."""
        if self._reference is None:
            self._reference = (frame, features)
            return Waiting("took the first image as the reference")
        frame0, features0 = self._reference
        camera = frame.camera
        matches = self._matcher.match_features(features0, features, frame0.camera, camera)
        if len(matches) < self._config.init_min_matches:
            self._reference = (frame, features)
            return Waiting(
                f"only {len(matches)} matches with the reference image ({self._config.init_min_matches} needed); "
                "took the current image as the new reference",
                len(matches),
            )
        outcome = self._reconstruct(matches, camera)
        if isinstance(outcome, Waiting):
            return outcome
        self._reference = None
        return InitialReconstruction(frame0, features0, frame, features, matches, outcome)

    def _reconstruct(self, matches: Matches, camera: Camera) -> TwoViewGeometry | Waiting:
        config, count = self._config, len(matches)
        threshold_px = config.threshold_px(camera)
        points0, points1 = matches.points0, matches.points1
        essential = estimate_essential(points0, points1, camera, camera, threshold_px)
        rotation = estimate_rotation(points0, points1, camera, camera, threshold_px)
        explained = 0 if essential is None else np.count_nonzero(essential[1])
        if rotation is not None and np.count_nonzero(rotation[1]) > _ROTATION_SHARE * explained:
            return Waiting("no parallax: the camera stands still, only turns, or sees only far things", count)
        if essential is None:
            return Waiting("no motion explains the matches", count)
        geometry = _select_geometry(essential, points0, points1, camera, threshold_px)
        if geometry is None:
            return Waiting("no motion model explains the matches unambiguously", count)
        parallax = _median(geometry.parallax_deg[geometry.inliers])
        if not parallax >= config.init_parallax_deg:
            return Waiting(f"parallax {parallax:.1f} deg of {config.init_parallax_deg:.1f} deg needed", count, parallax)
        points = np.count_nonzero(_well_triangulated(geometry, config.min_parallax_deg))
        if points < config.init_min_points:
            return Waiting(f"only {points} points of {config.init_min_points} triangulated", count, parallax)
        return geometry


def _select_geometry(
    essential: tuple[np.ndarray, np.ndarray],
    points0: np.ndarray,
    points1: np.ndarray,
    camera: Camera,
    threshold_px: float,
) -> TwoViewGeometry | None:
    """The geometry of matched pixels (M, 2) by the better of essential matrix and homography; ``None`` if ambiguous."""
    homography = estimate_homography(points0, points1, threshold_px)
    score_e = _essential_score(essential[0], points0, points1, camera, threshold_px)
    score_h = 0.0 if homography is None else _homography_score(homography[0], points0, points1, threshold_px)
    if score_h > _HOMOGRAPHY_SHARE * (score_h + score_e):
        return _from_homography(homography, points0, points1, camera)
    return recover_pose(essential[0], points0, points1, camera, camera, essential[1])


def _from_homography(
    homography: tuple[np.ndarray, np.ndarray], points0: np.ndarray, points1: np.ndarray, camera: Camera
) -> TwoViewGeometry | None:
    candidates = decompose_homography(homography[0], points0, points1, camera, camera, homography[1])
    counts = [np.count_nonzero(c.inliers) for c in candidates]
    if not candidates or (len(counts) > 1 and counts[1] > _AMBIGUITY_SHARE * counts[0]):
        return None
    return candidates[0]


def _essential_score(
    essential: np.ndarray, points0: np.ndarray, points1: np.ndarray, camera: Camera, threshold_px: float
) -> float:
    """ORB-SLAM eq. 2 for the essential matrix; the threshold is two standard deviations of a pixel error."""
    fundamental = fundamental_from_essential(essential, camera, camera)
    chi2 = (sampson_distance_px(fundamental, points0, points1) / (threshold_px / 2)) ** 2
    return float(np.where(chi2 < _CHI2_1_DOF, _CHI2_2_DOF - chi2, 0).sum())


def _homography_score(homography: np.ndarray, points0: np.ndarray, points1: np.ndarray, threshold_px: float) -> float:
    """ORB-SLAM eq. 2 for the homography, in the second image."""
    chi2 = (transfer_errors_px(homography, points0, points1) / (threshold_px / 2)) ** 2
    return float(np.where(chi2 < _CHI2_2_DOF, _CHI2_2_DOF - chi2, 0).sum())


def _well_triangulated(geometry: TwoViewGeometry, min_parallax_deg: float) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return geometry.inliers & (geometry.parallax_deg > min_parallax_deg)


def _median(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else float("nan")
