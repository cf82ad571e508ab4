"""How the local map grows and is refined when a keyframe is added."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ros_matching.datatypes import Camera, Matches
from ros_matching.geometry.bundle_adjustment import BundleConfig, BundleProblem, bundle_adjust
from ros_matching.geometry.epipolar import essential_from_pose, fundamental_from_essential, sampson_distance_px
from ros_matching.geometry.se3 import angle_between_deg, invert, transform
from ros_matching.geometry.triangulation import parallax_deg, reprojection_errors_px, triangulate
from ros_matching.geometry.two_view import mean_focal_px
from ros_matching.matching.two_view import TwoViewMatcher
from ros_matching.stages import StageTimer
from ros_matching.tracking.config import TrackingConfig
from ros_matching.tracking.initialisation import InitialReconstruction
from ros_matching.tracking.local_map import NO_LANDMARK, LocalMap, MapKeyframe, Observations, observation_weights

# A keyframe takes part in an adjustment only if it sees this many of the landmarks.
_MIN_SHARED = 10
# So many older keyframes at most hold the window in place, those that share the most landmarks with it.
_MAX_HOLDING = 10
# The loss of the adjustment turns robust at so many standard deviations of the noise, between these limits in pixels of
# the threshold for outliers.
_LOSS_SIGMAS = 2.0
_LOSS_SHARE = 0.1, 0.7


# Smallest parallax of a new landmark in standard deviations of its noise, as the median of its neighbours in the image,
# and what fraction of that its own must have. Selecting landmarks by their own parallax would prefer those whose noise
# enlarges it. They are too near, the next pose moves too little, and the scale of the map shrinks with every keyframe:
# in a fast turn with motion blur to a tenth within a few frames.
_PARALLAX_STDS = 4.0
_PARALLAX_NEIGHBOURS = 8
_OWN_PARALLAX = 0.5


@dataclass(frozen=True)
class Window:
    """What an adjustment is about: ``problem``, whose cameras are ``keyframes`` and points ``landmarks`` (P,), by id.

    Its observations are those ``rows`` (O,) of ``seen``, the sightings of all keyframes.
    """

    keyframes: list[MapKeyframe]
    landmarks: np.ndarray
    seen: Observations
    rows: np.ndarray
    problem: BundleProblem
    config: BundleConfig


class LocalMapper:
    """Triangulates new landmarks of a keyframe, joins what is seen twice, and adjusts the recent window."""

    def __init__(self, matcher: TwoViewMatcher, config: TrackingConfig, stages: StageTimer) -> None:
        self._matcher = matcher
        self._config = config
        self._stages = stages

    def begin(
        self, local_map: LocalMap, first: InitialReconstruction, world_from_first: np.ndarray, depth: float
    ) -> MapKeyframe | None:
        """Fill an empty map from two views, the first at a given pose, with a given median depth.

        Returns the second keyframe, or ``None`` where too few landmarks survive the adjustment.
        """
        geometry, matches = first.geometry, first.matches
        first_from_world = invert(world_from_first)
        keyframe0 = local_map.add_keyframe(
            first.frame0, first.features0, first_from_world, np.full(len(first.features0), NO_LANDMARK)
        )
        keyframe1 = local_map.add_keyframe(
            first.frame1,
            first.features1,
            geometry.camera1_from_camera0 @ first_from_world,
            np.full(len(first.features1), NO_LANDMARK),
        )
        positions = transform(world_from_first, geometry.points[first.points])
        local_map.add_landmarks(positions, keyframe0, keyframe1, matches.select(first.points))
        self.adjust(local_map, keyframe1)
        if len(local_map.positions) < self._config.init_min_points:
            return None
        local_map.scale_to_depth(depth)
        return keyframe1

    def extend(
        self, local_map: LocalMap, keyframe: MapKeyframe, known_matches: dict[int, Matches] | None = None
    ) -> None:
        """Connect a new keyframe with its neighbours: new landmarks, new sightings of old ones, merged duplicates.

        ``known_matches`` are those of ``match_nearby`` (neighbour, keyframe) already made, by keyframe id. The other
        stages of the matcher run here, where a wrong match becomes a landmark and stays; a pose rejects it by itself.
        """
        camera = local_map.camera
        for neighbour in self._neighbours(local_map, keyframe):
            known = (known_matches or {}).get(neighbour.id)
            with self._stages(self._matcher.match_stage):
                matches = self._matcher.match_keypoints(neighbour.features, keyframe.features, camera, camera, known)
            with self._stages(self._matcher.prune_stage):
                matches = self._matcher.pruned(matches, camera, camera)
            matches = matches.select(self._worthwhile(local_map, neighbour, keyframe, matches))
            with self._stages("refine"):
                matches = self._matcher.refined(matches, neighbour.features, keyframe.features)
            self._triangulate(local_map, neighbour, keyframe, matches)
            self._share(local_map, neighbour, keyframe, matches)

    def adjust(self, local_map: LocalMap, keyframe: MapKeyframe) -> None:
        """Bundle adjustment of the newest keyframes; older ones that see the same landmarks hold the gauge."""
        local_map.remove_unsupported()
        window = self.window(local_map, keyframe)
        if window is None:
            return
        result = bundle_adjust(window.problem, window.config)
        for member, pose in zip(window.keyframes, result.camera_from_world, strict=True):
            member.camera_from_world = pose
        local_map.positions[window.landmarks] = result.points
        self._drop_outliers(local_map, window, result.errors_px)

    def window(self, local_map: LocalMap, keyframe: MapKeyframe) -> Window | None:
        """The newest keyframes with all that holds them; ``None`` where the given one sees too little to be moved."""
        recent = local_map.keyframes[-self._config.window_keyframes :]
        window = [k for k in recent if len(k.seen) >= _MIN_SHARED]
        if keyframe not in window:
            return None
        moving = {k.id for k in window}
        wanted = np.zeros(len(local_map.positions), dtype=bool)
        for member in window:
            wanted[member.seen] = True
        shared = {k.id: np.count_nonzero(wanted[k.seen]) for k in local_map.keyframes if k.id not in moving}
        holding = sorted((k for k in shared if shared[k] >= _MIN_SHARED), key=lambda k: -shared[k])[:_MAX_HOLDING]
        others = [k for k in local_map.keyframes if k.id in holding]
        keyframes = others + window
        seen = local_map.observations(keyframes)
        rows = np.flatnonzero(wanted[seen.landmark])
        landmarks, point_index = np.unique(seen.landmark[rows], return_inverse=True)
        fixed = np.array([k.id not in moving for k in keyframes])
        fixed[0] = True  # the scale needs no anchor: no step changes it, as the cost is flat along it
        problem = BundleProblem(
            camera_from_world=np.stack([k.camera_from_world for k in keyframes]),
            points=local_map.positions[landmarks],
            camera_index=seen.keyframe[rows],
            point_index=point_index,
            points_px=seen.points_px[rows],
            weights=seen.weights[rows],
            fixed_cameras=fixed,
            camera=local_map.camera,
        )
        return Window(keyframes, landmarks, seen, rows, problem, self._bundle_config_for(problem))

    def _bundle_config_for(self, problem: BundleProblem) -> BundleConfig:
        """The loss that fits the noise of a problem, of which the present errors tell."""
        error_px = np.empty(len(problem.points_px))
        for number, pose in enumerate(problem.camera_from_world):
            mine = problem.camera_index == number
            points = problem.points[problem.point_index[mine]]
            error_px[mine] = reprojection_errors_px(points, problem.points_px[mine], problem.camera, pose)
        low, high = np.multiply(_LOSS_SHARE, self._config.threshold_px(problem.camera))
        scale_px = float(np.clip(_LOSS_SIGMAS * np.median(error_px) / 1.1774, low, high))
        return BundleConfig(loss_scale_px=scale_px, convergence=1e-3)

    def _neighbours(self, local_map: LocalMap, keyframe: MapKeyframe) -> list[MapKeyframe]:
        neighbours = local_map.covisible(keyframe, self._config.neighbour_keyframes)
        previous = local_map.keyframes[-2]
        return neighbours if previous in neighbours else [previous, *neighbours[: self._config.neighbour_keyframes - 1]]

    def _worthwhile(
        self, local_map: LocalMap, neighbour: MapKeyframe, keyframe: MapKeyframe, matches: Matches
    ) -> np.ndarray:
        """Rows of the matches that may tell something new: near their epipolar lines, and not of one landmark already.

        Where neither side has a landmark, only with the parallax that a new one needs.
        """
        camera = local_map.camera
        keyframe_from_neighbour = keyframe.camera_from_world @ invert(neighbour.camera_from_world)
        near = np.ones(len(matches), dtype=bool)
        if keyframe_from_neighbour[:3, 3].any():  # a camera that only turned has no epipolar lines
            near = _epipolar_distance_px(matches, camera, keyframe_from_neighbour) < 2 * self._config.threshold_px(
                camera
            )
        ids0, ids1 = neighbour.landmark_ids[matches.indices0], keyframe.landmark_ids[matches.indices1]
        turned = camera.unproject(matches.points0) @ keyframe_from_neighbour[:3, :3].T
        apart = angle_between_deg(turned, camera.unproject(matches.points1)) > self._config.min_parallax_deg
        return np.flatnonzero(near & np.where(ids0 == ids1, (ids0 == NO_LANDMARK) & apart, True))

    def _triangulate(
        self, local_map: LocalMap, neighbour: MapKeyframe, keyframe: MapKeyframe, matches: Matches
    ) -> None:
        """New landmarks from matches of which neither side sees one yet."""
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

    def _share(self, local_map: LocalMap, neighbour: MapKeyframe, keyframe: MapKeyframe, matches: Matches) -> None:
        """Let both sides of a match see one landmark where it projects well into both."""
        rows0, rows1 = matches.indices0, matches.indices1
        ids0, ids1 = neighbour.landmark_ids[rows0], keyframe.landmark_ids[rows1]
        only0 = (ids0 != NO_LANDMARK) & (ids1 == NO_LANDMARK)
        only1 = (ids0 == NO_LANDMARK) & (ids1 != NO_LANDMARK)
        both = (ids0 != NO_LANDMARK) & (ids1 != NO_LANDMARK) & (ids0 != ids1)
        adopt = self._fits(local_map, keyframe, ids0, matches.points1, only0)
        weights = observation_weights(matches)
        keyframe.see(rows1[adopt], ids0[adopt], matches.points1[adopt], weights[adopt])
        # The keyframe sees the landmark beside where the match says, so the neighbour does by as much.
        points0 = matches.points0 - (matches.points1 - keyframe.features.keypoints_px[rows1])
        adopt = self._fits(local_map, neighbour, ids1, points0, only1)
        neighbour.see(rows0[adopt], ids1[adopt], points0[adopt], weights[adopt])
        same = self._fits(local_map, keyframe, ids0, matches.points1, both)
        local_map.merge(ids0[same], ids1[same])

    def _fits(
        self, local_map: LocalMap, keyframe: MapKeyframe, ids: np.ndarray, points_px: np.ndarray, among: np.ndarray
    ) -> np.ndarray:
        """Rows, of those in the mask ``among``, whose landmark projects onto its pixel in the keyframe."""
        rows = np.flatnonzero(among)
        error_px = reprojection_errors_px(
            local_map.positions[ids[rows]], points_px[rows], local_map.camera, keyframe.camera_from_world
        )
        return rows[error_px < self._config.threshold_px(local_map.camera)]

    def _drop_outliers(self, local_map: LocalMap, window: Window, errors_px: np.ndarray) -> None:
        seen = window.seen
        bad = window.rows[~(errors_px < self._config.threshold_px(local_map.camera))]
        for number, member in enumerate(window.keyframes):
            mine = bad[seen.keyframe[bad] == number]
            member.landmark_ids[seen.keypoint[mine]] = NO_LANDMARK
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
    """Sampson distances (M,) of the matches of two views that do not share their center."""
    fundamental = fundamental_from_essential(essential_from_pose(camera1_from_camera0), camera, camera)
    return sampson_distance_px(fundamental, matches.points0, matches.points1)


def _median_of_neighbours(points_px: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Median (N,) of the values (N,) of the points (N, 2) nearest to each, without its own; of one alone, its own."""
    count = min(_PARALLAX_NEIGHBOURS, len(points_px) - 1)
    if count < 1:
        return values
    _, nearest = cKDTree(points_px).query(points_px, np.arange(2, count + 2))
    return np.median(values[nearest], axis=1)
