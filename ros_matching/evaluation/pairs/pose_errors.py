"""Relative poses from matches by several estimators, and their errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from ros_matching.datatypes import Camera, Matches
from ros_matching.geometry.essential import MIN_POINTS, pose_of_matches
from ros_matching.geometry.se3 import angle_between_deg, pose_from, rotation_angle_deg
from ros_matching.geometry.two_view import mean_focal_px

FAILED_DEG = 180.0  # error without a pose
_THRESHOLD_PX = 1.0
_CONFIDENCE = 0.9999

Pose = tuple[np.ndarray, np.ndarray]  # camera1_from_camera0 (4, 4) and the inliers (M,) bool
PoseEstimator = Callable[[Matches, Camera, Camera], "Pose | None"]


@dataclass(frozen=True)
class PoseError:
    """Error of a relative pose in degrees; 180 each if there is no pose.

    ``translation_deg`` is the angle between the directions, 180 degrees for opposite ones; NaN if not evaluated.
    """

    rotation_deg: float
    translation_deg: float

    @property
    def worst_deg(self) -> float:
        """The larger of the two errors, used for accuracy."""
        return float(np.nanmax([self.rotation_deg, self.translation_deg]))


def pose_error(camera1_from_camera0: np.ndarray | None, truth: np.ndarray, rotation_only: bool = False) -> PoseError:
    """Return the error of an estimated pose (4, 4), or ``None`` without one, against the true one (4, 4)."""
    if camera1_from_camera0 is None:
        return PoseError(FAILED_DEG, np.nan if rotation_only else FAILED_DEG)
    rotation = rotation_angle_deg(camera1_from_camera0[:3, :3] @ truth[:3, :3].T)
    translation = np.nan if rotation_only else angle_between_deg(camera1_from_camera0[:3, 3], truth[:3, 3])
    return PoseError(float(rotation), float(translation))


def own_pose(matches: Matches, camera0: Camera, camera1: Camera) -> Pose | None:
    """Return the pose of ``MatchingPipeline.relative_pose``."""
    pose = pose_of_matches(matches, camera0, camera1)
    return None if pose is None else (pose.camera1_from_camera0, pose.inliers)


def magsac_pose(matches: Matches, camera0: Camera, camera1: Camera) -> Pose | None:
    """Return the pose of an essential matrix by OpenCV's MAGSAC (Barath 2020), threshold one pixel."""
    if len(matches) < MIN_POINTS:
        return None
    rays = [
        np.ascontiguousarray(camera.unproject(points)[:, :2])
        for camera, points in ((camera0, matches.points0), (camera1, matches.points1))
    ]
    essential, inliers = cv2.findEssentialMat(
        *rays,
        np.eye(3),
        method=cv2.USAC_MAGSAC,
        prob=_CONFIDENCE,
        threshold=_THRESHOLD_PX / mean_focal_px(camera0, camera1),
    )
    if essential is None or essential.shape != (3, 3) or not np.isfinite(essential).all():
        return None
    count, rotation, translation, _ = cv2.recoverPose(essential, *rays, np.eye(3), mask=inliers.copy())
    if count == 0:
        return None
    return pose_from(rotation, translation[:, 0]), inliers[:, 0] > 0


POSE_ESTIMATORS: Mapping[str, PoseEstimator] = {"own": own_pose, "magsac": magsac_pose}
