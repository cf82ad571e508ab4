"""Two-view initialisation: wait for parallax, then reconstruct motion and structure from two images.

Standing still and turning on the spot are told apart from motion by the pure-rotation model: as long as it explains the
matches, there is nothing to triangulate and the initialisation waits.

Most first views are nearly planar (a wall, a table, the ground). A plane has two motions that explain it equally well
(Longuet-Higgins 1986; Ma et al., "An Invitation to 3-D Vision", section 5.3), and an essential matrix fitted to it
falls on either. So all motions that the essential matrix and the homography offer compete by the matches that agree
with their epipolar geometry, the points off the plane decide, and while their verdict could be chance we wait.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ros_matching.datatypes import Camera, Features, Frame, Matches
from ros_matching.geometry.epipolar import essential_from_pose, fundamental_from_essential, sampson_distance_px
from ros_matching.geometry.essential import estimate_essential, recover_pose
from ros_matching.geometry.homography import decompose_homography, estimate_homography
from ros_matching.geometry.pose_refinement import refine_relative_pose
from ros_matching.geometry.rotation import estimate_rotation
from ros_matching.geometry.se3 import angle_between_deg, rotation_angle_deg
from ros_matching.geometry.two_view import TwoViewGeometry, two_view_geometry
from ros_matching.matching.two_view import TwoViewMatcher
from ros_matching.tracking.config import TrackingConfig
from ros_matching.tracking.turning import Turn, turn_from

# The camera has not moved enough while a pure rotation explains this share of the matches that any motion explains.
_ROTATION_SHARE = 0.5
# A camera that only turns hands the reference on after so much, long before the first image is out of its sight.
_HAND_ON_DEG = 12.0
# Two motions are one if their directions and rotations differ by less.
_SAME_DIRECTION_DEG = 10.0
_SAME_ROTATION_DEG = 1.0
# The best motion must beat the next by this many standard deviations of the matches that only one of them explains.
_MIN_ADVANTAGE = 3.0
# A match agrees with a motion within so many standard deviations of the noise, which is never thought to be smaller.
_NOISES = 3.0
_MIN_NOISE_PX = 0.1


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
    """Why there is no reconstruction yet, and how many matches there were with the reference image.

    ``turn`` from the reference image to this one, if the camera only turned; ``new_reference`` if later images are
    compared with this one.
    """

    reason: str
    matches: int = 0
    parallax_deg: float = float("nan")
    turn: Turn | None = None
    new_reference: bool = False


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
            return Waiting("took the first image as the reference", new_reference=True)
        frame0, features0 = self._reference
        camera = frame.camera
        matches = self._matcher.match_features(features0, features, frame0.camera, camera)
        if len(matches) < self._config.init_min_matches:
            self._reference = (frame, features)
            return Waiting(
                f"only {len(matches)} matches with the reference image ({self._config.init_min_matches} needed); "
                "took the current image as the new reference",
                len(matches),
                new_reference=True,
            )
        outcome = self._reconstruct(matches, camera)
        if isinstance(outcome, Waiting):
            if outcome.turn is None or outcome.turn.angle_deg < _HAND_ON_DEG:
                return outcome
            self._reference = (frame, features)
            return replace(outcome, new_reference=True)
        self._reference = None
        return InitialReconstruction(frame0, features0, frame, features, matches, outcome)

    def _reconstruct(self, matches: Matches, camera: Camera) -> TwoViewGeometry | Waiting:
        config, count = self._config, len(matches)
        threshold_px = config.threshold_px(camera)
        points0, points1 = matches.points0, matches.points1
        essential = estimate_essential(points0, points1, camera, camera, threshold_px)
        rotation = estimate_rotation(points0, points1, camera, camera, threshold_px)
        explained = 0 if essential is None else np.count_nonzero(essential[1])
        turned = 0 if rotation is None else np.count_nonzero(rotation[1])
        if turned > _ROTATION_SHARE * explained:
            turn = turn_from(rotation[0], matches.select(rotation[1]), camera, threshold_px)
            reason = "no parallax: the camera stands still, only turns, or sees only far things"
            return Waiting(reason, count, turn=turn if turned >= config.init_min_matches / 2 else None)
        if essential is None:
            return Waiting("no motion explains the matches", count)
        geometry = _select_geometry(essential, matches, camera, threshold_px)
        if geometry is None:
            return Waiting("two motions explain the matches equally well, as with a plane: move on", count)
        parallax = _median(geometry.parallax_deg[geometry.inliers])
        if not parallax >= config.init_parallax_deg:
            return Waiting(f"parallax {parallax:.1f} deg of {config.init_parallax_deg:.1f} deg needed", count, parallax)
        points = np.count_nonzero(well_triangulated(geometry, config.min_parallax_deg))
        if points < config.init_min_points:
            return Waiting(f"only {points} points of {config.init_min_points} triangulated", count, parallax)
        return geometry


def _select_geometry(
    essential: tuple[np.ndarray, np.ndarray], matches: Matches, camera: Camera, threshold_px: float
) -> TwoViewGeometry | None:
    """The motion that explains the matches best, if it clearly explains them better than any other.

    Each is refined twice, with the usual threshold and then with one of the noise that the best of them leaves: where
    the matches are far more exact than the threshold, that tells motions apart that the threshold cannot.
    """
    points = matches.points0, matches.points1
    view = recover_pose(essential[0], *points, camera, camera, essential[1])
    motions = [] if view is None else [view]
    homography = estimate_homography(*points, threshold_px)
    if homography is not None:
        motions += decompose_homography(homography[0], *points, camera, camera, homography[1], threshold_px)
    poses = [motion.camera1_from_camera0 for motion in motions]
    for _ in range(2):
        refined = [refine_relative_pose(pose, *points, camera, camera, threshold_px, matches.scores) for pose in poses]
        poses = [pose.camera1_from_camera0 for pose in refined if pose is not None]
        if not poses:
            return None
        threshold_px = min(
            threshold_px, _NOISES * min(_noise_px(pose, matches, camera, threshold_px) for pose in poses)
        )
    views = [two_view_geometry(pose, *points, camera, camera, threshold_px) for pose in poses]
    costs = [_cost(view, matches, camera, threshold_px) for view in views]
    best = int(np.argmin([cost.sum() for cost in costs]))
    rivals = [row for row, view in enumerate(views) if not _same_motion(views[best], view)]
    return views[best] if all(_advantage(costs[best], costs[row]) >= _MIN_ADVANTAGE for row in rivals) else None


def _sampson_px(camera1_from_camera0: np.ndarray, matches: Matches, camera: Camera) -> np.ndarray:
    fundamental = fundamental_from_essential(essential_from_pose(camera1_from_camera0), camera, camera)
    return sampson_distance_px(fundamental, matches.points0, matches.points1)


def _noise_px(camera1_from_camera0: np.ndarray, matches: Matches, camera: Camera, threshold_px: float) -> float:
    """The standard deviation of the distances from the epipolar geometry, of what lies within the threshold."""
    distance = _sampson_px(camera1_from_camera0, matches, camera)
    near = distance[distance < 2 * threshold_px]
    return max(float(np.median(near)) / 0.6745, _MIN_NOISE_PX) if len(near) else threshold_px


def _cost(view: TwoViewGeometry, matches: Matches, camera: Camera, threshold_px: float) -> np.ndarray:
    """What each match (M,) speaks against a motion: its squared distance as a share of the threshold's, at most one."""
    distance = _sampson_px(view.camera1_from_camera0, matches, camera)
    return np.where(view.inliers, np.minimum((distance / threshold_px) ** 2, 1.0), 1.0)


def _same_motion(view0: TwoViewGeometry, view1: TwoViewGeometry) -> bool:
    pose0, pose1 = view0.camera1_from_camera0, view1.camera1_from_camera0
    direction = angle_between_deg(pose0[:3, 3], pose1[:3, 3])
    return direction < _SAME_DIRECTION_DEG and rotation_angle_deg(pose0[:3, :3] @ pose1[:3, :3].T) < _SAME_ROTATION_DEG


def _advantage(best: np.ndarray, rival: np.ndarray) -> float:
    """How surely the first costs (M,) are lower than the second: the paired differences, in standard deviations."""
    difference = rival - best
    return float(difference.sum() / np.sqrt(max(np.sum(difference**2), 1e-12)))


def well_triangulated(geometry: TwoViewGeometry, min_parallax_deg: float) -> np.ndarray:
    """The inliers (M,) bool with enough parallax to have a depth."""
    with np.errstate(invalid="ignore"):
        return geometry.inliers & (geometry.parallax_deg > min_parallax_deg)


def _median(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else float("nan")
