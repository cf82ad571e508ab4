"""The scale from a right camera at a known distance."""

from __future__ import annotations

import numpy as np

from ros_matching.atlas.local_map import LocalMap
from ros_matching.datatypes import Camera, Matches, RightImage
from ros_matching.geometry.epipolar import essential_from_pose, fundamental_from_essential, sampson_distance_px
from ros_matching.geometry.triangulation import triangulate_relative
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.scale.config import ScaleConfig
from ros_matching.scale.scale_measurement import LocalizedView, NoMeasurement, ScaleMeasurement, robust_log_factor

_REFERENCE_WIDTH_PX = 640
_DISPARITY_SIGMA_PX = 0.5  # of a match, in an image of that width
_MAX_SIGMA = 0.15  # of a single depth: what is farther has too little disparity
_LANDMARK_SIGMA = 0.01
_MIN_FITTING = 0.3  # of the matches must fit the calibration


class StereoScaleSource:
    """Matches an image with ``Frame.right``, and compares the depths so found with those of the landmarks."""

    name = "stereo"

    def __init__(self, config: ScaleConfig, matcher: MatchingPipeline) -> None:
        self._config = config
        self._matcher = matcher
        self.shared_sigma = config.stereo_sigma

    def reset(self) -> None:
        """Nothing is remembered."""

    def measure(self, local_map: LocalMap, view: LocalizedView) -> ScaleMeasurement | NoMeasurement:
        """One ratio a landmark that is matched in the right camera's image."""
        right, camera = view.frame.right, local_map.camera
        if right is None:
            return NoMeasurement("no image of the right camera has come with the image", pending=True)
        features = self._matcher.extract(right.image)
        matches = self._matcher.match(view.features, features, camera, right.camera)
        fitting = self._fitting(matches, camera, right)
        disparities = signed_disparity_px(matches, camera, right)
        problem = self._problem(fitting, disparities, camera)
        if problem:
            return NoMeasurement(problem)
        rows, points = view.landmarks(local_map)
        depth_of = np.full(len(view.landmark_ids), np.nan)
        depth_of[rows] = points[:, 2]
        depths = depth_of[matches.indices0]
        metres = triangulate_relative(camera, right.camera, right.right_from_camera, matches.points0, matches.points1)[
            :, 2
        ]
        with np.errstate(divide="ignore", invalid="ignore"):
            sigmas = np.hypot(_sigma_px(camera) / disparities, _LANDMARK_SIGMA)
            good = fitting & (metres > 0) & (disparities > 0) & (sigmas < _MAX_SIGMA) & ~np.isnan(depths)
        count = np.count_nonzero(good)
        if count < self._config.min_landmarks:
            return NoMeasurement(
                f"{count} landmarks are seen by the right camera near enough to tell their distance; "
                f"{self._config.min_landmarks} are needed"
            )
        return robust_log_factor(depths[good], metres[good], sigmas[good], self.shared_sigma, "the stereo camera")

    def _fitting(self, matches: Matches, camera: Camera, right: RightImage) -> np.ndarray:
        """Which matches (M,) lie on their epipolar lines."""
        essential = essential_from_pose(right.right_from_camera)
        fundamental = fundamental_from_essential(essential, camera, right.camera)
        threshold_px = self._config.stereo_epipolar_px * camera.width / _REFERENCE_WIDTH_PX
        return sampson_distance_px(fundamental, matches.points0, matches.points1) < threshold_px

    def _problem(self, fitting: np.ndarray, disparities: np.ndarray, camera: Camera) -> str:
        """Why the matches (M,) cannot be those of this stereo camera, or nothing."""
        count, needed = np.count_nonzero(fitting), self._config.min_landmarks
        if len(fitting) < needed:
            return f"{len(fitting)} matches with the right camera's image; {needed} are needed"
        if count < max(needed, _MIN_FITTING * len(fitting)):
            return (
                f"only {count} of {len(fitting)} matches with the right camera's image lie on their epipolar lines; "
                "check the calibration between the cameras, and that both images have one stamp, both rectified or none"
            )
        behind = np.count_nonzero(disparities[fitting] < -3 * _sigma_px(camera))
        if behind > 0.5 * count:
            return f"{behind} of {count} matches lie behind the cameras; are left and right swapped?"
        return ""


def signed_disparity_px(matches: Matches, camera: Camera, right: RightImage) -> np.ndarray:
    """The disparity (M,) of each match in the right camera's image against a point at infinity; negative is behind.

    Measured along the epipolar line, towards where nearer points lie. NaN where the right camera does not look there.
    """
    turned = camera.unproject(matches.points0) @ right.right_from_camera[:3, :3].T
    baseline = right.right_from_camera[:3, 3]
    # The derivative of the projection of (ray + w * baseline) by the inverse depth w, at w = 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        xy, z = turned[:, :2] / turned[:, 2:], turned[:, 2:]
        along = (baseline[:2] - xy * baseline[2]) / z * (right.camera.fx, right.camera.fy)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
    return np.sum((matches.points1 - right.camera.project(turned)) * along, axis=1)


def _sigma_px(camera: Camera) -> float:
    return _DISPARITY_SIGMA_PX * camera.width / _REFERENCE_WIDTH_PX
