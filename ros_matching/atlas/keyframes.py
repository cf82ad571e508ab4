"""Keyframes of the map, their observations of landmarks, and poses of cameras in the map."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from ros_matching.datatypes import Features, Frame, Matches
from ros_matching.geometry.intrinsics_error import COUNT

NO_LANDMARK = -1


@dataclass(eq=False)
class MapKeyframe:
    """A keyframe in the map; pose and observations change as the map is refined.

    ``landmark_ids`` (K,) is the landmark that each keypoint observes, ``NO_LANDMARK`` for none; ``weights`` (K,) are
    relative inverse variances of these observations. ``unit`` is the length in the map of one unit of the map in which
    the keyframe was made: the product of all factors by which its lengths were multiplied since the first keyframe.
    ``is_restored`` marks one of a map that was kept: it stays where it is, and its image is a reduced copy.
    ``by_intrinsics`` (6, 4) is the derivative of the step to its true pose by the errors of the camera's intrinsics
    (``geometry.intrinsics_error``), zero before the first adjustment.
    """

    id: int
    frame: Frame
    features: Features
    camera_from_world: np.ndarray
    landmark_ids: np.ndarray
    weights: np.ndarray
    unit: float = 1.0
    is_restored: bool = False
    by_intrinsics: np.ndarray = field(default_factory=lambda: np.zeros((6, COUNT)))

    @property
    def center(self) -> np.ndarray:
        """The camera centre (3,) in the world."""
        return -self.camera_from_world[:3, :3].T @ self.camera_from_world[:3, 3]

    @property
    def observed(self) -> np.ndarray:
        """Ids of the observed landmarks."""
        return self.landmark_ids[self.landmark_ids != NO_LANDMARK]

    def observe(
        self, keypoints: np.ndarray, landmark_ids: np.ndarray, points_px: np.ndarray, weights: np.ndarray
    ) -> None:
        """Add observations of landmarks (N,) by keypoints (N,), at refined pixels (N, 2)."""
        moved = self.features.keypoints_px.copy()
        moved[keypoints] = points_px
        self.features = self.features.with_keypoints(moved)
        self.landmark_ids[keypoints] = landmark_ids
        self.weights[keypoints] = weights

    def copy(self) -> MapKeyframe:
        """Return an independent copy; image and features are shared, as they are immutable."""
        return replace(self, landmark_ids=self.landmark_ids.copy(), weights=self.weights.copy())


@dataclass(frozen=True)
class Observations:
    """O observations: row of the keyframe in a list, landmark id, keypoint row, pixel (O, 2) and weight of each."""

    keyframe: np.ndarray
    landmark: np.ndarray
    keypoint: np.ndarray
    points_px: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Localization:
    """A camera pose in the map with the observations that support it.

    ``landmark_ids`` (K,) is the landmark that each keypoint of the image observes, ``points_px`` (K, 2) its refined
    pixel, and ``weights`` (K,) relative inverse variances. ``matches`` are those with ``reference``. ``rotation_only``
    marks a pose at the position of the reference: the matches have no parallax. ``covariance`` (6, 6) of
    world_from_camera is given if the landmarks alone do not determine the pose. ``rival`` is the camera_from_world that
    explains many other landmarks, if part of the view moves by itself.
    """

    camera_from_world: np.ndarray
    covariance: np.ndarray | None
    landmark_ids: np.ndarray
    points_px: np.ndarray
    weights: np.ndarray
    reference: MapKeyframe
    matches: Matches
    rotation_only: bool = False
    rival: np.ndarray | None = None

    @property
    def observed(self) -> np.ndarray:
        """Ids of the landmarks that support the pose."""
        return self.landmark_ids[self.landmark_ids != NO_LANDMARK]

    @property
    def inliers(self) -> int:
        """Number of landmarks that support the pose."""
        return len(self.observed)


def observation_weights(matches: Matches) -> np.ndarray:
    """Return relative inverse variances (M,) of matches as observations: their scores, with mean one.

    Not ``matches.weights``: with the additional error of the landmark, the accuracy of a match matters less.
    """
    mean = matches.scores.mean() if len(matches) else 0.0
    return matches.scores / mean if mean > 0 else np.ones(len(matches))
