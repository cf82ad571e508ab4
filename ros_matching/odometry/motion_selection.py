"""Selection of the motion between two images from their matches, with a test for ambiguity.

Most first views are nearly planar (a wall, a table, the ground). Two motions explain a plane equally well
(Longuet-Higgins 1986; Ma et al., "An Invitation to 3-D Vision", section 5.3), and an essential matrix fitted to it is
either of them. Therefore all solutions of the essential matrix and of the homography, and a pure rotation, are
compared. Their cost is the distance of the matches from the epipolar geometry, in standard deviations of the noise of
the best one. If matches are much more accurate than the inlier threshold, this disambiguates motions with the same
inliers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ros_matching.datatypes import Camera, Matches
from ros_matching.geometry.epipolar import essential_from_pose, fundamental_from_essential, sampson_distance_px
from ros_matching.geometry.essential import estimate_essential, recover_pose
from ros_matching.geometry.homography import (
    decompose_homography,
    estimate_homography,
    estimate_rotation,
    rotation_homography,
    transfer_errors_px,
)
from ros_matching.geometry.pose_refinement import refine_motion
from ros_matching.geometry.se3 import angle_between_deg, rotation_angle_deg
from ros_matching.geometry.two_view import TwoViewGeometry, two_view_geometry

# Largest difference of direction and rotation between two estimates of the same motion
_SAME_DIRECTION_DEG = 10.0
_SAME_ROTATION_DEG = 1.0
# Refinement: first roughly on so many matches, then on all
_ROUGH_MATCHES, _ROUGH_ITERATIONS = 300, 6
_ITERATIONS = 15
# Largest difference of two refinements that reached the same minimum
_SAME_MINIMUM_DEG = 0.05
# Smallest cost difference to any other motion, in standard deviations of the sum over matches
_MIN_ADVANTAGE = 3.0
# A motion with less than this fraction of the parallax is the simpler explanation, as blur and a rolling shutter look
# like motion. It is rejected only if the ratio of the costs is also large.
_LESS_PARALLAX = 0.5
_MIN_COST_RATIO = 1.25
# Inlier threshold in standard deviations of the noise, and the lower limit of the noise
_NOISES = 3.0
_MIN_NOISE_PX = 0.1


@dataclass(frozen=True)
class Motion:
    """A motion with the two-view geometry of the matches, and the robust cost (M,) of each match, from 0 to 1."""

    view: TwoViewGeometry
    costs: np.ndarray

    @cached_property
    def parallax_deg(self) -> float:
        """Median parallax of the inliers; NaN without any."""
        values = self.view.parallax_deg[self.view.inliers]
        values = values[np.isfinite(values)]
        return float(np.median(values)) if len(values) else float("nan")


@dataclass(frozen=True)
class CompetingMotions:
    """The ``best`` motion, the others, the costs (M,) of a pure rotation, and the noise of the matches as an angle."""

    best: Motion
    others: list[Motion]
    rotation_costs: np.ndarray
    noise_deg: float

    @property
    def beats_rotation(self) -> bool:
        """True if a pure rotation does not explain the matches."""
        return self._is_rejected(self.rotation_costs, simpler=True)

    @property
    def beats_rivals(self) -> bool:
        """True if the best motion is not ambiguous."""
        rivals = (other for other in self.others if not _same_motion(self.best.view, other.view))
        return all(
            self._is_rejected(rival.costs, simpler=rival.parallax_deg < _LESS_PARALLAX * self.best.parallax_deg)
            for rival in rivals
        )

    def _is_rejected(self, costs: np.ndarray, simpler: bool) -> bool:
        difference = costs - self.best.costs
        advantage = difference.sum() / np.sqrt(max(np.sum(difference**2), 1e-12))
        ratio = costs.sum() / max(self.best.costs.sum(), 1e-12)
        return bool(advantage >= _MIN_ADVANTAGE and (ratio >= _MIN_COST_RATIO or not simpler))


def competing_motions(matches: Matches, camera: Camera, threshold_px: float) -> CompetingMotions | None:
    """Estimate all motions that explain matches with outliers; ``None`` if there is none."""
    poses = _candidates(matches, camera, threshold_px)
    # With the given threshold, roughly, then with one from the residual noise
    for subset, iterations in ((_subset(matches), _ROUGH_ITERATIONS), (matches, _ITERATIONS)):
        refined = _refined(poses, subset, camera, threshold_px, iterations)
        if not refined:
            return None
        poses = _distinct([pose for pose, _ in refined])
        noise_px = min(_noise_px(distance, threshold_px) for _, distance in refined)
        threshold_px = min(threshold_px, _NOISES * noise_px)
    motions = sorted(
        (_motion(pose, matches, camera, threshold_px) for pose in poses), key=lambda motion: motion.costs.sum()
    )
    return CompetingMotions(
        motions[0],
        motions[1:],
        _rotation_costs(matches, camera, threshold_px),
        float(np.degrees(noise_px / camera.fx)),
    )


def _candidates(matches: Matches, camera: Camera, threshold_px: float) -> list[np.ndarray]:
    """Return poses camera1_from_camera0 (4, 4) from the essential matrix and the homography of the matches."""
    points = matches.points0, matches.points1
    views = []
    essential = estimate_essential(*points, camera, camera, threshold_px)
    if essential is not None:
        view = recover_pose(essential[0], *points, camera, camera, essential[1])
        views += [] if view is None else [view]
    homography = estimate_homography(*points, threshold_px)
    if homography is not None:
        views += decompose_homography(homography[0], *points, camera, camera, homography[1], threshold_px)
    return [view.camera1_from_camera0 for view in views]


def _subset(matches: Matches) -> Matches:
    """Return enough of the matches for a rough refinement."""
    return matches.select(np.arange(0, len(matches), -(-len(matches) // _ROUGH_MATCHES)))


def _refined(
    poses: list[np.ndarray], matches: Matches, camera: Camera, threshold_px: float, iterations: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the refined poses that matches support, with the epipolar distances (M,) in pixels."""
    points = matches.points0, matches.points1
    refined = (refine_motion(pose, *points, camera, camera, threshold_px, matches.scores, iterations) for pose in poses)
    return [(found[0], np.abs(found[1])) for found in refined if found is not None]


def _distinct(poses: list[np.ndarray]) -> list[np.ndarray]:
    """Return one of the poses (4, 4) that were refined to the same minimum."""
    kept: list[np.ndarray] = []
    for pose in poses:
        if not any(_motion_difference_deg(pose, other) < _SAME_MINIMUM_DEG for other in kept):
            kept.append(pose)
    return kept


def _motion_difference_deg(pose0: np.ndarray, pose1: np.ndarray) -> float:
    """The larger of the differences of rotation and direction of translation."""
    direction = float(angle_between_deg(pose0[:3, 3], pose1[:3, 3]))
    return max(direction, rotation_angle_deg(pose0[:3, :3] @ pose1[:3, :3].T))


def _noise_px(distance_px: np.ndarray, threshold_px: float) -> float:
    """Return the standard deviation of the epipolar distances (M,) within twice the threshold."""
    near = distance_px[distance_px < 2 * threshold_px]
    return max(float(np.median(near)) / 0.6745, _MIN_NOISE_PX) if len(near) else threshold_px


def _motion(camera1_from_camera0: np.ndarray, matches: Matches, camera: Camera, threshold_px: float) -> Motion:
    view = two_view_geometry(camera1_from_camera0, matches.points0, matches.points1, camera, camera, threshold_px)
    distance = _sampson_px(camera1_from_camera0, matches, camera)
    return Motion(view, np.where(view.inliers, np.minimum((distance / threshold_px) ** 2, 1.0), 1.0))


def _rotation_costs(matches: Matches, camera: Camera, threshold_px: float) -> np.ndarray:
    rotation = estimate_rotation(matches.points0, matches.points1, camera, camera, threshold_px)
    if rotation is None:
        return np.ones(len(matches))
    homography = rotation_homography(rotation[0], camera, camera)
    distance = transfer_errors_px(homography, matches.points0, matches.points1)
    return np.minimum((distance / (2 * threshold_px)) ** 2, 1.0)


def _sampson_px(camera1_from_camera0: np.ndarray, matches: Matches, camera: Camera) -> np.ndarray:
    fundamental = fundamental_from_essential(essential_from_pose(camera1_from_camera0), camera, camera)
    return sampson_distance_px(fundamental, matches.points0, matches.points1)


def _same_motion(view0: TwoViewGeometry, view1: TwoViewGeometry) -> bool:
    pose0, pose1 = view0.camera1_from_camera0, view1.camera1_from_camera0
    direction = angle_between_deg(pose0[:3, 3], pose1[:3, 3])
    return direction < _SAME_DIRECTION_DEG and rotation_angle_deg(pose0[:3, :3] @ pose1[:3, :3].T) < _SAME_ROTATION_DEG
