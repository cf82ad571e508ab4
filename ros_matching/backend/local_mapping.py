"""Local mapping: landmarks and observations of a new keyframe, and bundle adjustment of the recent window."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import NO_LANDMARK, MapKeyframe, observation_weights
from ros_matching.atlas.local_map import LocalMap
from ros_matching.atlas.map_update import AdjustedWindow, AdjustmentWindow
from ros_matching.datatypes import Camera, Matches
from ros_matching.geometry.bundle_adjustment import BundleConfig, BundleProblem, bundle_adjust
from ros_matching.geometry.bundle_covariance import bundle_covariance
from ros_matching.geometry.epipolar import essential_from_pose, fundamental_from_essential, sampson_distance_px
from ros_matching.geometry.se3 import angle_between_deg, invert
from ros_matching.geometry.self_calibration import IntrinsicsEvidence, intrinsics_evidence
from ros_matching.geometry.triangulation import parallax_deg, reprojection_errors_px, triangulate
from ros_matching.geometry.two_view import mean_focal_px
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.stages import StageTimer

# Fewest landmarks of an adjustment that a keyframe in it observes
_MIN_SHARED = 10
# Limit of older, fixed keyframes in a window: those that share the most landmarks with it.
_MAX_FIXED = 10
# Lower limit of the noise of an observation
_MIN_STD_PX = 0.05
# Windows that measure the intrinsics: of every third keyframe, with at least five, and not more than 16 in all
_EVIDENCE_EVERY, _EVIDENCE_KEYFRAMES, _EVIDENCE_WINDOWS = 3, 5, 16
# Scale of the robust loss in standard deviations of the noise, and its limits as fractions of the outlier threshold.
_LOSS_STDS = 2.0
_LOSS_RANGE = 0.1, 0.7


# Smallest parallax of a new landmark in standard deviations of its noise, as the median of its neighbours in the image,
# and the fraction of it that its own parallax must reach. Selecting landmarks by their own parallax would prefer those
# whose noise enlarges it: they are too near, the next pose moves too little, and the map scale shrinks.
_PARALLAX_STDS = 4.0
_PARALLAX_NEIGHBOURS = 8
_OWN_PARALLAX = 0.5


class LocalMapper:
    """Triangulates new landmarks of a keyframe, merges duplicates, and adjusts the recent window."""

    def __init__(self, matcher: MatchingPipeline, config: TrackingConfig, stages: StageTimer) -> None:
        self._matcher = matcher
        self._config = config
        self._stages = stages
        self._evidence_left = _EVIDENCE_WINDOWS

    def extend(self, local_map: LocalMap, keyframe: MapKeyframe) -> None:
        """Connect a new keyframe with its neighbours."""
        is_localized = self.is_localized(keyframe)
        for number, neighbour in enumerate(self.neighbours(local_map, keyframe)):
            self.connect(local_map, neighbour, keyframe, filters=number == 0 or not is_localized, prunes=number == 0)

    def is_localized(self, keyframe: MapKeyframe) -> bool:
        """Return True if a new keyframe observes so many landmarks that its epipolar lines reject wrong matches."""
        return len(keyframe.observed) >= self._config.keyframe_inliers

    def neighbours(self, local_map: LocalMap, keyframe: MapKeyframe) -> list[MapKeyframe]:
        """Return the keyframes with which a new one is connected: the one before it and the most covisible."""
        neighbours = local_map.covisible(keyframe, self._config.neighbour_keyframes)
        row = local_map.keyframes.index(keyframe)
        if row == 0 or local_map.keyframes[row - 1] in neighbours:
            return neighbours
        return [local_map.keyframes[row - 1], *neighbours[: self._config.neighbour_keyframes - 1]]

    def connect(
        self,
        local_map: LocalMap,
        neighbour: MapKeyframe,
        keyframe: MapKeyframe,
        matches: Matches | None = None,
        *,
        filters: bool,
        prunes: bool,
    ) -> None:
        """Connect a new keyframe with a neighbour: new landmarks, observations of old ones, merged duplicates.

        ``matches`` are existing ones of the feature matcher (neighbour, keyframe). A wrong match becomes a landmark,
        therefore consensus ``filters`` and the pruner ``prunes`` those with the first neighbour, which are most. With
        the others, the epipolar lines of known poses reject as well what fits no motion; consensus is needed if the
        pose is not known well (not ``is_localized``).
        """
        camera = local_map.camera
        if matches is None:
            with self._stages("match"):
                matches = self._matcher.feature_matcher.match(neighbour.features, keyframe.features)
        if filters:
            with self._stages(self._matcher.consensus.stage):
                matches = self._matcher.consensus.filter(matches, neighbour.features, keyframe.features)
        if prunes:
            with self._stages(self._matcher.pruner.stage):
                matches = self._matcher.pruner.prune(matches, camera, camera)
        matches = matches.select(self._informative(local_map, neighbour, keyframe, matches))
        with self._stages("refine"):
            matches = self._matcher.refiner.refine(matches, neighbour.features, keyframe.features)
        self._triangulate(local_map, neighbour, keyframe, matches)
        self._share_landmarks(local_map, neighbour, keyframe, matches)

    def adjust(self, local_map: LocalMap, keyframe: MapKeyframe) -> None:
        """Adjust the newest keyframes; older ones that observe the same landmarks fix the gauge."""
        local_map.remove_unsupported()
        window = self.window(local_map, keyframe)
        if window is None:
            return
        result = bundle_adjust(window.problem, window.config)
        for member, pose in zip(window.keyframes, result.camera_from_world, strict=True):
            member.camera_from_world = pose
        local_map.move_landmarks(window.landmarks, result.points)
        self._drop_outliers(local_map, window, result.errors_px)

    def adjusted_window(self, local_map: LocalMap, keyframe: MapKeyframe) -> AdjustedWindow | None:
        """Return the adjusted window around a keyframe, with its covariance."""
        window = self.window(local_map, keyframe)
        if window is None:
            return None
        by_intrinsics = np.stack([member.by_intrinsics for member in window.keyframes])
        covariance = bundle_covariance(window.problem, window.config, _MIN_STD_PX, by_intrinsics=by_intrinsics)
        return AdjustedWindow(window, covariance, self._evidence(window, keyframe))

    def _evidence(self, window: AdjustmentWindow, keyframe: MapKeyframe) -> IntrinsicsEvidence | None:
        """Return what some of the first windows say of the calibration; later ones only repeat it."""
        small = len(window.keyframes) < _EVIDENCE_KEYFRAMES
        if small or keyframe.id % _EVIDENCE_EVERY or not self._evidence_left:
            return None
        self._evidence_left -= 1
        return intrinsics_evidence(window.problem, window.config)

    def window(self, local_map: LocalMap, keyframe: MapKeyframe) -> AdjustmentWindow | None:
        """Build the problem of the newest keyframes and their constraints; ``None`` without ``keyframe`` in it.

        Restored keyframes do not move.
        """
        recent = local_map.keyframes[-self._config.window_keyframes :]
        window = [k for k in recent if len(k.observed) >= _MIN_SHARED and not k.is_restored]
        if keyframe not in window:
            return None
        moving = {k.id for k in window}
        wanted = np.unique(np.concatenate([member.observed for member in window]))
        shared = dict(zip((k.id for k in local_map.keyframes), local_map.shared_counts(wanted), strict=True))
        candidates = (k for k in shared if k not in moving and shared[k] >= _MIN_SHARED)
        fixed_ids = sorted(candidates, key=lambda k: -shared[k])[:_MAX_FIXED]
        others = [k for k in local_map.keyframes if k.id in fixed_ids]
        keyframes = others + window
        observed = local_map.observations(keyframes)
        rows = np.flatnonzero(np.isin(observed.landmark, wanted))
        landmarks, point_index = np.unique(observed.landmark[rows], return_inverse=True)
        fixed = np.array([k.id not in moving for k in keyframes])
        fixed[0] = True  # the scale needs no constraint: the gradient along it is zero
        problem = BundleProblem(
            camera_from_world=np.stack([k.camera_from_world for k in keyframes]),
            points=local_map.positions_of(landmarks),
            camera_index=observed.keyframe[rows],
            point_index=point_index,
            points_px=observed.points_px[rows],
            weights=observed.weights[rows],
            fixed_cameras=fixed,
            camera=local_map.camera,
        )
        return AdjustmentWindow(keyframes, landmarks, observed, rows, problem, self._bundle_config_for(problem))

    def _bundle_config_for(self, problem: BundleProblem) -> BundleConfig:
        """Return the loss for the noise of a problem, estimated from its current errors."""
        error_px = np.empty(len(problem.points_px))
        for number, pose in enumerate(problem.camera_from_world):
            mine = problem.camera_index == number
            points = problem.points[problem.point_index[mine]]
            error_px[mine] = reprojection_errors_px(points, problem.points_px[mine], problem.camera, pose)
        low, high = np.multiply(_LOSS_RANGE, self._config.threshold_px(problem.camera))
        scale_px = float(np.clip(_LOSS_STDS * np.median(error_px) / 1.1774, low, high))
        return BundleConfig(loss_scale_px=scale_px, convergence=1e-3)

    def _informative(
        self, local_map: LocalMap, neighbour: MapKeyframe, keyframe: MapKeyframe, matches: Matches
    ) -> np.ndarray:
        """Return rows of matches near their epipolar lines whose two sides do not observe the same landmark.

        If neither side has a landmark, the match must have the parallax that a new one needs.
        """
        camera = local_map.camera
        keyframe_from_neighbour = keyframe.camera_from_world @ invert(neighbour.camera_from_world)
        near = np.ones(len(matches), dtype=bool)
        if keyframe_from_neighbour[:3, 3].any():  # a pure rotation has no epipolar lines
            near = _epipolar_distance_px(matches, camera, keyframe_from_neighbour) < 2 * self._config.threshold_px(
                camera
            )
        ids0, ids1 = neighbour.landmark_ids[matches.indices0], keyframe.landmark_ids[matches.indices1]
        rotated = camera.unproject(matches.points0) @ keyframe_from_neighbour[:3, :3].T
        apart = angle_between_deg(rotated, camera.unproject(matches.points1)) > self._config.min_parallax_deg
        return np.flatnonzero(near & np.where(ids0 == ids1, (ids0 == NO_LANDMARK) & apart, True))

    def _triangulate(
        self, local_map: LocalMap, neighbour: MapKeyframe, keyframe: MapKeyframe, matches: Matches
    ) -> None:
        """Add landmarks from matches whose sides observe none yet."""
        new = (neighbour.landmark_ids[matches.indices0] == NO_LANDMARK) & (
            keyframe.landmark_ids[matches.indices1] == NO_LANDMARK
        )
        if not new.any():
            return
        camera = local_map.camera
        points0, points1 = matches.points0[new], matches.points1[new]
        poses = neighbour.camera_from_world, keyframe.camera_from_world
        positions = triangulate(camera, camera, *poses, points0, points1)
        error_px = np.maximum(
            reprojection_errors_px(positions, points0, camera, poses[0]),
            reprojection_errors_px(positions, points1, camera, poses[1]),
        )
        parallax = np.nan_to_num(parallax_deg(positions, neighbour.center, keyframe.center))
        needed_deg = max(self._config.min_parallax_deg, _PARALLAX_STDS * _parallax_std_deg(matches, camera, *poses))
        good = error_px < self._config.threshold_px(camera)
        good &= _median_of_neighbours(points1, parallax) > needed_deg
        good &= parallax > _OWN_PARALLAX * needed_deg
        local_map.add_landmarks(positions[good], neighbour, keyframe, matches.select(np.flatnonzero(new)[good]))

    def _share_landmarks(
        self, local_map: LocalMap, neighbour: MapKeyframe, keyframe: MapKeyframe, matches: Matches
    ) -> None:
        """Make both sides of a match observe one landmark if its reprojection error is small in both."""
        rows0, rows1 = matches.indices0, matches.indices1
        ids0, ids1 = neighbour.landmark_ids[rows0], keyframe.landmark_ids[rows1]
        only0 = (ids0 != NO_LANDMARK) & (ids1 == NO_LANDMARK)
        only1 = (ids0 == NO_LANDMARK) & (ids1 != NO_LANDMARK)
        both = (ids0 != NO_LANDMARK) & (ids1 != NO_LANDMARK) & (ids0 != ids1)
        adopt = self._fits(local_map, keyframe, ids0, matches.points1, only0)
        weights = observation_weights(matches)
        keyframe.observe(rows1[adopt], ids0[adopt], matches.points1[adopt], weights[adopt])
        # The observation of the keyframe has an offset from the match: the same offset in the neighbour
        points0 = matches.points0 - (matches.points1 - keyframe.features.keypoints_px[rows1])
        adopt = self._fits(local_map, neighbour, ids1, points0, only1)
        neighbour.observe(rows0[adopt], ids1[adopt], points0[adopt], weights[adopt])
        same = self._fits(local_map, keyframe, ids0, matches.points1, both)
        local_map.merge_landmarks(ids0[same], ids1[same])

    def _fits(
        self, local_map: LocalMap, keyframe: MapKeyframe, ids: np.ndarray, points_px: np.ndarray, among: np.ndarray
    ) -> np.ndarray:
        """Return rows in the mask ``among`` whose landmark projects onto its pixel in the keyframe."""
        rows = np.flatnonzero(among)
        error_px = reprojection_errors_px(
            local_map.positions_of(ids[rows]), points_px[rows], local_map.camera, keyframe.camera_from_world
        )
        return rows[error_px < self._config.threshold_px(local_map.camera)]

    def _drop_outliers(self, local_map: LocalMap, window: AdjustmentWindow, errors_px: np.ndarray) -> None:
        bad = window.rows[~(errors_px < self._config.threshold_px(local_map.camera))]
        for number, member in enumerate(window.keyframes):
            mine = bad[window.observations.keyframe[bad] == number]
            member.landmark_ids[window.observations.keypoint[mine]] = NO_LANDMARK
        local_map.remove_unsupported()


def _parallax_std_deg(
    matches: Matches, camera: Camera, camera0_from_world: np.ndarray, camera1_from_world: np.ndarray
) -> float:
    """Standard deviation of the parallax of matches of two views, from their distances to the epipolar lines."""
    camera1_from_camera0 = camera1_from_world @ invert(camera0_from_world)
    if not camera1_from_camera0[:3, 3].any():
        return np.inf
    std_px = 1.4826 * np.median(_epipolar_distance_px(matches, camera, camera1_from_camera0))
    return float(np.degrees(np.sqrt(2) * std_px / mean_focal_px(camera, camera)))


def _epipolar_distance_px(matches: Matches, camera: Camera, camera1_from_camera0: np.ndarray) -> np.ndarray:
    """Sampson distances (M,) of the matches of two views with different centres."""
    fundamental = fundamental_from_essential(essential_from_pose(camera1_from_camera0), camera, camera)
    return sampson_distance_px(fundamental, matches.points0, matches.points1)


def _median_of_neighbours(points_px: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Median (N,) of the values (N,) of the nearest other points (N, 2); a single point keeps its value."""
    count = min(_PARALLAX_NEIGHBOURS, len(points_px) - 1)
    if count < 1:
        return values
    _, nearest = cKDTree(points_px).query(points_px, np.arange(2, count + 2))
    return np.median(values[nearest], axis=1)
