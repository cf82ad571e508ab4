"""Pure rotation: poses of a camera without parallax, and their covariance.

Without parallax nothing can be triangulated, but the rotation is observable, and the matches bound the translation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ros_matching.datatypes import Camera, Matches
from ros_matching.geometry.essential import estimate_essential
from ros_matching.geometry.homography import rotation_homography, transfer_errors_px
from ros_matching.geometry.se3 import invert, pose_from, rotation_angle_deg
from ros_matching.geometry.two_view import TwoViewGeometry

# Ratio of a translation, as an angle, to its residual error after the best rotation, which absorbs most of it
_ABSORBED = 3.0
# The camera only rotated if the median error of the matches is below this fraction of the inlier threshold.
_TYPICAL_ERROR = 0.5
# Lower limit of the error, for identical images
_MIN_ERROR_PX = 0.05
# Fraction and number of matches that another motion needs to explain
_RIVAL_FRACTION = 0.25
_RIVAL_MIN_MATCHES = 40
# Relative error of a translation of few pixels, too small for a map
_UNCERTAIN_FRACTION = 0.3


@dataclass(frozen=True)
class PureRotation:
    """A rotation between two images, ``camera1_from_camera0`` (4, 4), and the number of matches that agree.

    ``parallax_rad`` is the standard deviation of the translation, as a parallax at typical depth. Unless
    ``rotation_only``, a small translation is estimated too, in typical depths. With ``has_rival``, many other matches
    have another motion in common, so that ``parallax_rad`` includes it.
    """

    camera1_from_camera0: np.ndarray
    inliers: int
    parallax_rad: float
    rotation_only: bool = True
    has_rival: bool = False

    @property
    def angle_deg(self) -> float:
        """Angle of the rotation."""
        return float(rotation_angle_deg(self.camera1_from_camera0))


def pure_rotation_from(
    rotation1_from_0: np.ndarray, matches: Matches, camera: Camera, threshold_px: float
) -> PureRotation | None:
    """Return the motion of matches within ``threshold_px`` of a rotation (3, 3).

    ``None`` if their median error indicates a translation.
    """
    homography = rotation_homography(rotation1_from_0, camera, camera)
    error_px = float(np.median(transfer_errors_px(homography, matches.points0, matches.points1)))
    if error_px > _TYPICAL_ERROR * threshold_px:
        return None
    parallax_rad = _ABSORBED * max(error_px, _MIN_ERROR_PX) / camera.fx
    return PureRotation(pose_from(rotation1_from_0, np.zeros(3)), len(matches), parallax_rad)


def with_rival(
    rotation: PureRotation, others: Matches, count: int, camera: Camera, threshold_px: float
) -> PureRotation:
    """Return the rotation, less certain if the ``others`` of ``count`` matches have another motion in common.

    A part of the view that moves with the camera looks like standing still, and hides the motion of the rest.
    """
    needed = max(_RIVAL_MIN_MATCHES, _RIVAL_FRACTION * count)
    if len(others) < needed:
        return rotation
    motion = estimate_essential(others.points0, others.points1, camera, camera, threshold_px)
    if motion is None or np.count_nonzero(motion[1]) < needed:
        return rotation
    rotated = rotation_homography(rotation.camera1_from_camera0[:3, :3], camera, camera)
    others = others.select(motion[1])
    moved_px = float(np.median(transfer_errors_px(rotated, others.points0, others.points1)))
    return replace(rotation, parallax_rad=max(rotation.parallax_rad, moved_px / camera.fx), has_rival=True)


def typical_depth(view: TwoViewGeometry) -> float:
    """Return the median depth of the inliers of two views, in baselines; NaN if none has a depth."""
    depths = view.points[view.inliers, 2]
    depths = depths[np.isfinite(depths)]
    return float(np.median(depths)) if len(depths) else float("nan")


def small_motion_from(view: TwoViewGeometry) -> PureRotation | None:
    """Return a motion that is observable but too small for a map; the median depth is the unit of length.

    ``None`` if no match has a depth.
    """
    depth = typical_depth(view)
    if not np.isfinite(depth):
        return None
    pose = view.camera1_from_camera0
    pose = pose_from(pose[:3, :3], pose[:3, 3] / depth)
    parallax_rad = np.radians(np.nanmedian(view.parallax_deg[view.inliers]))
    unknown_rad = _UNCERTAIN_FRACTION * parallax_rad
    return PureRotation(pose, int(np.count_nonzero(view.inliers)), float(unknown_rad), rotation_only=False)


def _covariance(parallax_rad: float) -> np.ndarray:
    """Covariance (6, 6) at a typical depth of one: translation and rotation have equal errors in the image."""
    return np.eye(6) * parallax_rad**2


@dataclass(frozen=True)
class RotationOnlyPose:
    """The pose of a camera that only rotated since the first image, whose camera frame is the world.

    ``motion`` is ``previous_from_current`` (4, 4) with its covariance, if the previous image has such a pose.
    """

    world_from_camera: np.ndarray
    covariance: np.ndarray
    inliers: int
    rotation_only: bool
    motion: tuple[np.ndarray, np.ndarray] | None = None


class RotationTracker:
    """Poses before the first map, by the rotations since the first image, and the pose of the reference image.

    The unit of length is the median depth of the scene, as in the map that continues these poses.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self, world_from_camera: np.ndarray | None = None) -> None:
        """Start a new world with the next image, at its origin or at a pose (4, 4)."""
        self.world_from_reference = np.eye(4) if world_from_camera is None else world_from_camera
        self._parallax_rad = 0.0  # undetected translation up to the reference image
        self._last: RotationOnlyPose | None = None
        self.has_poses = False

    @property
    def drift(self) -> np.ndarray:
        """Covariance (7, 7) over ``(dt, dr, ds)`` of the pose of the reference image; its scale is the unit."""
        drift = np.zeros((7, 7))
        drift[:6, :6] = _covariance(self._parallax_rad)
        return drift

    def track(self, rotation: PureRotation | None, *, becomes_reference: bool) -> RotationOnlyPose | None:
        """Return the pose of the next image by its rotation since the reference image; ``None`` without one.

        The next rotations refer to this image if it ``becomes_reference``. A reference without a rotation breaks the
        chain: a new one starts at the last pose.
        """
        if rotation is None:
            if becomes_reference:
                self._break()
            self._last = None
            return None
        pose = self.world_from_reference @ invert(rotation.camera1_from_camera0)
        parallax_rad = float(np.hypot(self._parallax_rad, rotation.parallax_rad))
        motion = None
        if self._last is not None:
            motion = invert(self._last.world_from_camera) @ pose, 2 * _covariance(rotation.parallax_rad)
        self._last = RotationOnlyPose(pose, _covariance(parallax_rad), rotation.inliers, rotation.rotation_only, motion)
        self.has_poses = True
        if becomes_reference:
            self.world_from_reference, self._parallax_rad = pose, parallax_rad
        return self._last

    def _break(self) -> None:
        if self._last is not None:
            self.world_from_reference = self._last.world_from_camera
        self._parallax_rad = 0.0
        self.has_poses = False
