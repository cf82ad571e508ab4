"""Which motion lies behind the matches of two images, and whether it could be another one.

Most first views are nearly planar (a wall, a table, the ground). A plane has two motions that explain it equally well
(Longuet-Higgins 1986; Ma et al., "An Invitation to 3-D Vision", section 5.3), and an essential matrix fitted to it
falls on either. So all motions that the essential matrix and the homography offer compete, and the pure rotation with
them. They are judged by how far the matches lie from their epipolar geometry, measured in the noise that the best of
them leaves: where the matches are far more exact than the usual threshold, that tells motions apart which agree with
the same matches.
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
from ros_matching.geometry.pose_refinement import refine_relative_pose
from ros_matching.geometry.se3 import angle_between_deg, rotation_angle_deg
from ros_matching.geometry.two_view import TwoViewGeometry, two_view_geometry

# Two motions are one if their directions and rotations differ by less.
_SAME_DIRECTION_DEG = 10.0
_SAME_ROTATION_DEG = 1.0
# The best motion must beat any other by so many standard deviations of the differences that single matches make.
_MIN_ADVANTAGE = 3.0
# One with much less parallax is the simpler explanation: blur and a rolling shutter look like motion, too. To be
# refuted it must cost so much more.
_LESS_PARALLAX = 0.5
_MIN_COST_RATIO = 1.25
# A match agrees with a motion within so many standard deviations of the noise, which is never thought to be smaller.
_NOISES = 3.0
_MIN_NOISE_PX = 0.1


@dataclass(frozen=True)
class Motion:
    """A motion with what it makes of the matches, and what each of them (M,) says against it, from 0 to 1."""

    view: TwoViewGeometry
    costs: np.ndarray

    @cached_property
    def parallax_deg(self) -> float:
        """Median over the matches that agree; NaN without any."""
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
        """Whether the camera has clearly moved."""
        return self._is_refuted(self.rotation_costs, simpler=True)

    @property
    def beats_rivals(self) -> bool:
        """Whether no other motion could as well be the right one."""
        rivals = (other for other in self.others if not _same_motion(self.best.view, other.view))
        return all(
            self._is_refuted(rival.costs, simpler=rival.parallax_deg < _LESS_PARALLAX * self.best.parallax_deg)
            for rival in rivals
        )

    def _is_refuted(self, costs: np.ndarray, simpler: bool) -> bool:
        difference = costs - self.best.costs
        advantage = difference.sum() / np.sqrt(max(np.sum(difference**2), 1e-12))
        ratio = costs.sum() / max(self.best.costs.sum(), 1e-12)
        return bool(advantage >= _MIN_ADVANTAGE and (ratio >= _MIN_COST_RATIO or not simpler))


def competing_motions(matches: Matches, camera: Camera, threshold_px: float) -> CompetingMotions | None:
    """The motions that may lie behind matches of which some are wrong; ``None`` where none explains them."""
    poses = _candidates(matches, camera, threshold_px)
    for _ in range(2):  # with the threshold given, then with one of the noise that remains
        poses = _refined(poses, matches, camera, threshold_px)
        if not poses:
            return None
        noise_px = min(_noise_px(pose, matches, camera, threshold_px) for pose in poses)
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
    """Poses camera1_from_camera0 (4, 4) that the essential matrix and the homography of the matches stand for."""
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


def _refined(poses: list[np.ndarray], matches: Matches, camera: Camera, threshold_px: float) -> list[np.ndarray]:
    points = matches.points0, matches.points1
    refined = (refine_relative_pose(pose, *points, camera, camera, threshold_px, matches.scores) for pose in poses)
    return [pose.camera1_from_camera0 for pose in refined if pose is not None]


def _noise_px(camera1_from_camera0: np.ndarray, matches: Matches, camera: Camera, threshold_px: float) -> float:
    """The standard deviation of the distances from the epipolar geometry, of what lies within twice the threshold."""
    distance = _sampson_px(camera1_from_camera0, matches, camera)
    near = distance[distance < 2 * threshold_px]
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
