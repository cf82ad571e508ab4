"""A camera that only turns: what is known of its motion, and how well.

Without parallax there is nothing to triangulate, but the rotation is known as well as ever, and the position is known
not to have changed by more than the matches would show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import Camera, Matches
from ros_matching.geometry.homography import rotation_homography, transfer_errors_px
from ros_matching.geometry.se3 import invert, pose_from, rotation_angle_deg
from ros_matching.geometry.two_view import TwoViewGeometry

# A displacement that leaves so much of error beside the best turn is so many times as large, seen as an angle: the turn
# takes the better part of it for its own. Measured on random motions; 2 to 4.5 where the scene is deep.
_TAKEN_FOR_TURN = 3.0
# The camera only turned if the typical match is as near to the turn as this share of the threshold for inliers.
_TYPICAL_ERROR = 0.5
# Two images may be alike to the bit; where their keypoints are is known to no less than this.
_MIN_ERROR_PX = 0.05
# So much of a displacement too small for a map may be wrong: its direction rests on few pixels.
_UNCERTAIN_SHARE = 0.3


@dataclass(frozen=True)
class Turn:
    """A turn between two images, ``camera1_from_camera0`` (4, 4), and how many matches it explains.

    ``parallax_rad`` is how far a displacement may still have moved what is typically far away, seen from the camera.
    Unless ``rotation_only``, a small displacement is known too, in typical depths.
    """

    camera1_from_camera0: np.ndarray
    inliers: int
    parallax_rad: float
    rotation_only: bool = True

    @property
    def angle_deg(self) -> float:
        """How far the camera turned."""
        return float(rotation_angle_deg(self.camera1_from_camera0))


def turn_from(rotation1_from_0: np.ndarray, matches: Matches, camera: Camera, threshold_px: float) -> Turn | None:
    """What a rotation (3, 3) says of the motion behind matches that lie within ``threshold_px`` of it.

    ``None`` where they lie so far from it on the whole that the camera also moved.
    """
    homography = rotation_homography(rotation1_from_0, camera, camera)
    error_px = float(np.median(transfer_errors_px(homography, matches.points0, matches.points1)))
    if error_px > _TYPICAL_ERROR * threshold_px:
        return None
    parallax_rad = _TAKEN_FOR_TURN * max(error_px, _MIN_ERROR_PX) / camera.fx
    return Turn(pose_from(rotation1_from_0, np.zeros(3)), len(matches), parallax_rad)


def typical_depth(view: TwoViewGeometry) -> float:
    """The median depth of all that two views see, in their baselines; NaN where nothing has a depth."""
    depths = view.points[view.inliers, 2]
    depths = depths[np.isfinite(depths)]
    return float(np.median(depths)) if len(depths) else float("nan")


def small_motion_from(view: TwoViewGeometry) -> Turn | None:
    """A motion that is clear but not enough for a map; the median depth is the unit of length.

    ``None`` where no match has a depth.
    """
    depth = typical_depth(view)
    if not np.isfinite(depth):
        return None
    pose = view.camera1_from_camera0
    pose = pose_from(pose[:3, :3], pose[:3, 3] / depth)
    parallax_rad = np.radians(np.nanmedian(view.parallax_deg[view.inliers]))
    unknown_rad = _UNCERTAIN_SHARE * parallax_rad
    return Turn(pose, int(np.count_nonzero(view.inliers)), float(unknown_rad), rotation_only=False)


def _covariance(parallax_rad: float) -> np.ndarray:
    """Covariance (6, 6) where points are typically one unit away; what is not displacement is error of the turn."""
    return np.eye(6) * parallax_rad**2


@dataclass(frozen=True)
class TurnedPose:
    """The pose of a camera that has only turned since the first image, whose camera frame is the world.

    ``motion`` is ``previous_from_current`` (4, 4) with its covariance, where the image before had such a pose, too.
    """

    world_from_camera: np.ndarray
    covariance: np.ndarray
    inliers: int
    rotation_only: bool
    motion: tuple[np.ndarray, np.ndarray] | None = None


class TurningStart:
    """Poses before there is a map, by the turns since the first image, and where the image stands that begins the map.

    The unit of length is the median depth of what is seen, as it stays for the map that continues these poses.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start a new world with the next image."""
        self.world_from_reference = np.eye(4)
        self._parallax_rad = 0.0  # what may have gone unnoticed up to the reference image
        self._last: TurnedPose | None = None
        self.has_posed = False

    @property
    def drift(self) -> np.ndarray:
        """The covariance (7, 7) over ``(dt, dr, ds)`` of where the reference image stands; its scale is the unit."""
        drift = np.zeros((7, 7))
        drift[:6, :6] = _covariance(self._parallax_rad)
        return drift

    def follow(self, turn: Turn | None, *, becomes_reference: bool) -> TurnedPose | None:
        """The pose of the next image by its turn since the reference image; ``None`` where it did not only turn.

        The next turns are told from this image if it ``becomes_reference``. Without a turn that breaks the chain: a
        new one begins at the last known pose.
        """
        if turn is None:
            if becomes_reference:
                self._break()
            self._last = None
            return None
        pose = self.world_from_reference @ invert(turn.camera1_from_camera0)
        parallax_rad = float(np.hypot(self._parallax_rad, turn.parallax_rad))
        motion = None
        if self._last is not None:
            motion = invert(self._last.world_from_camera) @ pose, 2 * _covariance(turn.parallax_rad)
        self._last = TurnedPose(pose, _covariance(parallax_rad), turn.inliers, turn.rotation_only, motion)
        self.has_posed = True
        if becomes_reference:
            self.world_from_reference, self._parallax_rad = pose, parallax_rad
        return self._last

    def _break(self) -> None:
        if self._last is not None:
            self.world_from_reference = self._last.world_from_camera
        self._parallax_rad = 0.0
        self.has_posed = False
