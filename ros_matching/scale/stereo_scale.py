"""Map scale from a right camera at a known baseline."""

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
_DISPARITY_STD_PX = 0.5  # of a match, in an image of that width
_MAX_STD = 0.15  # relative, of a single depth: farther points have too little disparity
_LANDMARK_STD = 0.01
_MIN_EPIPOLAR = 0.3  # smallest fraction of matches on their epipolar lines


class StereoScaleSource:
    """Matches an image with ``Frame.right``, and compares the triangulated depths with those of the landmarks."""

    name = "stereo"

    def __init__(self, config: ScaleConfig, matcher: MatchingPipeline) -> None:
        self._config = config
        self._matcher = matcher
        self.shared_std = config.stereo_sigma

    def reset(self) -> None:
        """Do nothing: the source keeps no state."""

    def measure(self, local_map: LocalMap, view: LocalizedView) -> ScaleMeasurement | NoMeasurement:
        """Measure the scale from one ratio per landmark that is matched in the right image."""
        right, camera = view.frame.right, local_map.camera
        if right is None:
            return NoMeasurement("no right image was received with the image", pending=True)
        features = self._matcher.extract(right.image)
        matches = self._matcher.match(view.features, features, camera, right.camera)
        on_line = self._on_epipolar_lines(matches, camera, right)
        disparities = signed_disparity_px(matches, camera, right)
        problem = self._problem(on_line, disparities, camera)
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
            stds = np.hypot(_std_px(camera) / disparities, _LANDMARK_STD)
            good = on_line & (metres > 0) & (disparities > 0) & (stds < _MAX_STD) & ~np.isnan(depths)
        count = np.count_nonzero(good)
        if count < self._config.min_landmarks:
            return NoMeasurement(
                f"the right camera observes {count} landmarks near enough to measure their distance; "
                f"{self._config.min_landmarks} are needed"
            )
        return robust_log_factor(depths[good], metres[good], stds[good], self.shared_std, "the stereo camera")

    def _on_epipolar_lines(self, matches: Matches, camera: Camera, right: RightImage) -> np.ndarray:
        """Return True (M,) for matches on their epipolar lines."""
        essential = essential_from_pose(right.right_from_camera)
        fundamental = fundamental_from_essential(essential, camera, right.camera)
        threshold_px = self._config.stereo_epipolar_px * camera.width / _REFERENCE_WIDTH_PX
        return sampson_distance_px(fundamental, matches.points0, matches.points1) < threshold_px

    def _problem(self, on_line: np.ndarray, disparities: np.ndarray, camera: Camera) -> str:
        """Return the reason why the matches (M,) contradict the calibration of the stereo camera; empty if none."""
        count, needed = np.count_nonzero(on_line), self._config.min_landmarks
        if len(on_line) < needed:
            return f"{len(on_line)} matches with the right image; {needed} are needed"
        if count < max(needed, _MIN_EPIPOLAR * len(on_line)):
            return (
                f"only {count} of {len(on_line)} matches with the right image lie on their epipolar lines; "
                "check the stereo calibration, that the stamps are equal, and that both images or none are rectified"
            )
        behind = np.count_nonzero(disparities[on_line] < -3 * _std_px(camera))
        if behind > 0.5 * count:
            return f"{behind} of {count} matches lie behind the cameras; are left and right swapped?"
        return ""


def signed_disparity_px(matches: Matches, camera: Camera, right: RightImage) -> np.ndarray:
    """Return the disparity (M,) of each match in the right image against a point at infinity; negative is behind.

    Measured along the epipolar line, positive towards nearer points. NaN outside the view of the right camera.
    """
    rays = camera.unproject(matches.points0) @ right.right_from_camera[:3, :3].T
    baseline = right.right_from_camera[:3, 3]
    # The derivative of the projection of (ray + w * baseline) by the inverse depth w, at w = 0.
    with np.errstate(divide="ignore", invalid="ignore"):
        xy, z = rays[:, :2] / rays[:, 2:], rays[:, 2:]
        along = (baseline[:2] - xy * baseline[2]) / z * (right.camera.fx, right.camera.fy)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
    return np.sum((matches.points1 - right.camera.project(rays)) * along, axis=1)


def _std_px(camera: Camera) -> float:
    return _DISPARITY_STD_PX * camera.width / _REFERENCE_WIDTH_PX
