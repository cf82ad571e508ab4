"""Localisation of an image in a map: one query, three strategies.

PnP: matches with a keyframe, whose keypoints observe landmarks, give a first pose; with it all landmarks of the map are
matched around their projections, and the pose is refined on all matches. The second step uses the whole map, not only
the last keyframe, which reduces drift. If PnP fails and there is a prediction: pure rotation about the keyframe, then
two-view geometry with the keyframe.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import NO_LANDMARK, Localization, MapKeyframe, observation_weights
from ros_matching.atlas.local_map import LocalMap
from ros_matching.datatypes import Camera, Features, Matches
from ros_matching.geometry.essential import estimate_relative_pose
from ros_matching.geometry.homography import estimate_rotation
from ros_matching.geometry.pnp import PnpEstimate, estimate_pnp, refine_pose
from ros_matching.geometry.se3 import invert, invert_covariance, pose_from, transform
from ros_matching.geometry.triangulation import reprojection_errors_px
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.odometry.contradiction import is_contradicted, rival_pose
from ros_matching.stages import StageTimer

# A pure rotation is accepted if it explains this fraction of at least so many matches with the reference keyframe, and
# the camera was last within this distance of it, in typical depths.
_ROTATION_FRACTION = 0.7
_ROTATION_MIN_MATCHES = 30
_ROTATION_MAX_DISTANCE = 0.05
# A rival pose replaces the one of more landmarks if it has this fraction of its support, and its distance from the
# prediction in the image is below this fraction.
_COMPARABLE = 0.4
_CLEARLY_NEARER = 0.6
# Fewest landmarks of one keyframe for a refinement in its image
_MIN_REFINED = 12
# Two-view geometry replaces PnP with so many matches, of which so many have landmarks that determine its scale.
_TWO_VIEW_MIN_MATCHES = 40
_TWO_VIEW_MIN_LANDMARKS = 6
# Their threshold is larger: images are bad or points new where landmarks are few
_TWO_VIEW_TOLERANCE = 2.5
# Landmarks that make the motion since the keyframe shorter than this fraction of its prediction are wrong together: a
# keyframe with that pose would shrink the scale of the map
_TWO_VIEW_MIN_MOTION = 0.25


@dataclass(frozen=True)
class LocalizationQuery:
    """An image to localise in a map with a reference keyframe.

    ``prediction`` is the predicted camera_from_world (4, 4), with ``is_rotation_measured`` by a gyroscope. Without one
    (a lost camera) only PnP is tried, as the camera may be far from the keyframe.
    """

    local_map: LocalMap
    features: Features
    reference: MapKeyframe
    prediction: np.ndarray | None = None
    min_inliers: int = 15
    is_rotation_measured: bool = False

    @property
    def camera(self) -> Camera:
        """The camera of the map."""
        return self.local_map.camera


class Localizer:
    """Estimates the pose of an image in a map."""

    def __init__(self, matcher: MatchingPipeline, config: TrackingConfig, stages: StageTimer) -> None:
        self._matcher = matcher
        self._config = config
        self._stages = stages

    def localize(self, query: LocalizationQuery) -> Localization | None:
        """Estimate the pose of the image; ``None`` if the matches do not support one."""
        nearby = None
        if query.prediction is not None:
            with self._stages("match"):
                nearby = self._matcher.feature_matcher.match(query.reference.features, query.features)
            found = self._localize_by_matches(query, nearby)
            if found is not None or not self._matcher.verifies_matches:
                return found
        # Without a prediction wrong matches matter more: use all stages of the matcher
        features, camera = (query.reference.features, query.features), query.camera
        with self._stages(self._matcher.consensus.stage):
            matches = self._matcher.feature_matcher.match(*features) if nearby is None else nearby
            matches = self._matcher.consensus.filter(matches, *features)
        with self._stages(self._matcher.pruner.stage):
            matches = self._matcher.pruner.prune(matches, camera, camera)
        return self._localize_by_matches(query, matches)

    def _localize_by_matches(self, query: LocalizationQuery, matches: Matches) -> Localization | None:
        found = self._uncontradicted(query, matches, self._by_pnp(query, matches))
        if found is None and query.is_rotation_measured:
            found = self._by_projection(query, matches)
        if found is None and query.prediction is not None:
            found = self._by_pure_rotation(query, matches)
            found = found or self._uncontradicted(query, matches, self._by_two_views(query, matches))
        return found

    def _by_projection(self, query: LocalizationQuery, matches: Matches) -> Localization | None:
        """Match the map around its projections by a prediction with measured rotation, as in blurred images."""
        found = self._refine_on_map(query, matches, query.prediction, _no_landmarks(query.features))
        return self._uncontradicted(query, matches, found)

    def _uncontradicted(
        self, query: LocalizationQuery, matches: Matches, found: Localization | None
    ) -> Localization | None:
        """Return the pose; ``None`` if the matches with the keyframe, most without landmarks, fit another motion."""
        if found is None:
            return None
        poses = [found.camera_from_world, *([] if found.rival is None else [found.rival])]
        motions = [pose @ invert(query.reference.camera_from_world) for pose in poses]
        with self._stages("pose"):
            contradicted = is_contradicted(matches, query.camera, motions, self._config.threshold_px(query.camera))
        return None if contradicted else found

    def _by_pnp(self, query: LocalizationQuery, matches: Matches) -> Localization | None:
        """Estimate the pose from the landmarks of the matched keypoints, and refine it on the whole map."""
        landmarks = query.reference.landmark_ids[matches.indices0]
        rows = np.flatnonzero(landmarks != NO_LANDMARK)
        points, points_px = query.local_map.positions_of(landmarks[rows]), matches.points1[rows]
        threshold_px = self._config.threshold_px(query.camera)
        with self._stages("pose"):
            weights = observation_weights(matches)[rows]
            estimate = estimate_pnp(points, points_px, query.camera, threshold_px, query.prediction, weights)
            if estimate is None or np.count_nonzero(estimate.inliers) < self._config.min_inliers:
                return None
            rival = rival_pose(points, points_px, query.camera, threshold_px, estimate.inliers)
            if rival is not None and query.prediction is not None and _is_better(rival, estimate, query, points):
                estimate, rival = rival, estimate
        rows = rows[estimate.inliers]
        landmark_ids = _no_landmarks(query.features)
        landmark_ids[matches.indices1[rows]] = landmarks[rows]
        found = self._refine_on_map(query, matches, estimate.camera_from_world, landmark_ids)
        return found if found is None or rival is None else replace(found, rival=rival.camera_from_world)

    def _refine_on_map(
        self, query: LocalizationQuery, matches: Matches, start: np.ndarray, landmark_ids: np.ndarray
    ) -> Localization | None:
        """Match the whole map around its projections by an initial pose, and refine the pose on all observations.

        ``landmark_ids`` (K,) are the observations so far; the search adds others. Returns ``None`` with fewer inliers
        than the query needs.
        """
        features, camera = query.features, query.camera
        visible, predicted_px = query.local_map.visible(start)
        if len(visible) < self._config.min_inliers:
            return None
        # Match the map around its projections
        with self._stages("match"):
            rows, keypoints = self._matcher.search_by_projection(
                query.local_map.descriptors_of(visible), predicted_px, features, self._config.radius_px(camera)
            )
        free = ~np.isin(visible[rows], landmark_ids) & (landmark_ids[keypoints] == NO_LANDMARK)
        landmark_ids = landmark_ids.copy()
        landmark_ids[keypoints[free]] = visible[rows[free]]
        observing = np.flatnonzero(landmark_ids != NO_LANDMARK)
        # Refine the observations
        points_px, weights = features.keypoints_px.copy(), _weights(features, matches)
        with self._stages("refine"):
            points_px[observing] = self._refined_points(query, landmark_ids[observing], points_px[observing])
        # Refine the pose
        with self._stages("pose"):
            refined = refine_pose(
                start,
                query.local_map.positions_of(landmark_ids[observing]),
                points_px[observing],
                camera,
                self._config.threshold_px(camera),
                weights[observing],
            )
        if refined is None:
            return None
        landmark_ids[observing[~refined.inliers]] = NO_LANDMARK
        found = Localization(
            refined.camera_from_world, None, landmark_ids, points_px, weights, query.reference, matches
        )
        return found if found.inliers >= query.min_inliers else None

    def _refined_points(self, query: LocalizationQuery, landmark_ids: np.ndarray, points_px: np.ndarray) -> np.ndarray:
        """Refine the pixels (N, 2) of landmarks (N,) by alignment with the image of a keyframe."""
        refined = points_px.copy()
        for keyframe, rows, keypoints in query.local_map.latest_observations(landmark_ids, query.reference):
            if len(rows) < _MIN_REFINED:
                continue
            known_px = keyframe.features.keypoints_px[keypoints]
            refined[rows], _ = self._matcher.refiner.refine_points(
                keyframe.features, query.features, known_px, points_px[rows]
            )
        return refined

    def _by_pure_rotation(self, query: LocalizationQuery, matches: Matches) -> Localization | None:
        """Estimate the pose of a pure rotation since the reference keyframe, at its position.

        If the map is matched with that pose, the pose is refined on the map.
        """
        camera, threshold_px = query.camera, self._config.threshold_px(query.camera)
        depth = query.local_map.typical_depth
        distance = _distance(query.prediction, query.reference)
        if len(matches) < _ROTATION_MIN_MATCHES or distance > _ROTATION_MAX_DISTANCE * depth:
            return None
        with self._stages("pose"):
            rotation = estimate_rotation(matches.points0, matches.points1, camera, camera, threshold_px)
        if rotation is None or rotation[1].mean() < _ROTATION_FRACTION:
            return None
        pose = pose_from(rotation[0], np.zeros(3)) @ query.reference.camera_from_world
        found = self._refine_on_map(query, matches, pose, _no_landmarks(query.features))
        if found is not None:
            return found
        # An undetected translation moves a point at typical depth by less than the threshold
        angle = threshold_px / camera.fx
        covariance = np.diag([(angle * depth) ** 2] * 3 + [(0.5 * angle) ** 2] * 3)
        return Localization(
            pose,
            covariance,
            _no_landmarks(query.features),
            query.features.keypoints_px,
            np.ones(len(query.features)),
            query.reference,
            matches.select(rotation[1]),
            rotation_only=True,
        )

    def _by_two_views(self, query: LocalizationQuery, matches: Matches) -> Localization | None:
        """Estimate the pose by the essential matrix with the reference, scaled by the few landmarks among the matches.

        For a camera that rotates into unmapped surroundings: many matches, few of them with landmarks, which determine
        only the length of the motion.
        """
        camera, reference, local_map = query.camera, query.reference, query.local_map
        rows = np.flatnonzero(reference.landmark_ids[matches.indices0] != NO_LANDMARK)
        if len(matches) < _TWO_VIEW_MIN_MATCHES or len(rows) < _TWO_VIEW_MIN_LANDMARKS:
            return None
        # Estimate the motion up to scale
        with self._stages("refine"):
            matches = self._matcher.refiner.refine(matches, reference.features, query.features)
        with self._stages("pose"):
            motion = estimate_relative_pose(
                matches.points0, matches.points1, camera, camera, self._config.threshold_px(camera) / 2
            )
        if motion is None or np.count_nonzero(motion.inliers) < _TWO_VIEW_MIN_MATCHES:
            return None
        # Scale it by the landmarks
        rotation, direction = motion.camera1_from_camera0[:3, :3], motion.camera1_from_camera0[:3, 3]
        ids = reference.landmark_ids[matches.indices0[rows]]
        rotated = transform(reference.camera_from_world, local_map.positions_of(ids)) @ rotation.T
        length, length_std = _motion_length(rotated, direction, camera.unproject(matches.points1[rows]))
        if not length > _TWO_VIEW_MIN_MOTION * _distance(query.prediction, reference):
            return None
        current_from_reference = pose_from(rotation, length * direction)
        pose = current_from_reference @ reference.camera_from_world
        error_px = reprojection_errors_px(local_map.positions_of(ids), matches.points1[rows], camera, pose)
        agree = error_px < _TWO_VIEW_TOLERANCE * self._config.threshold_px(camera)
        if np.count_nonzero(agree) < max(_TWO_VIEW_MIN_LANDMARKS, 0.4 * len(rows)):
            return None
        # Refine on the map if it is matched
        landmark_ids, points_px = _no_landmarks(query.features), query.features.keypoints_px.copy()
        landmark_ids[matches.indices1[rows[agree]]] = ids[agree]
        points_px[matches.indices1[rows[agree]]] = matches.points1[rows[agree]]
        found = self._refine_on_map(query, matches, pose, landmark_ids)
        if found is not None:
            return found
        covariance = _two_view_covariance(reference, current_from_reference, motion.covariance, length_std)
        weights = _weights(query.features, matches)
        return Localization(
            pose, covariance, landmark_ids, points_px, weights, reference, matches.select(motion.inliers)
        )


def _is_better(rival: PnpEstimate, estimate: PnpEstimate, query: LocalizationQuery, points: np.ndarray) -> bool:
    """Return True if a rival pose with comparable support is clearly nearer to the prediction, seen at ``points``.

    The camera goes on as before; a body that begins to move does not.
    """
    if np.count_nonzero(rival.inliers) < _COMPARABLE * np.count_nonzero(estimate.inliers):
        return False
    predicted_px = query.camera.project(transform(query.prediction, points))
    poses = rival.camera_from_world, estimate.camera_from_world
    moved_px = [
        np.nanmedian(np.linalg.norm(query.camera.project(transform(pose, points)) - predicted_px, axis=1))
        for pose in poses
    ]
    return bool(moved_px[0] < _CLEARLY_NEARER * moved_px[1])


def _no_landmarks(features: Features) -> np.ndarray:
    return np.full(len(features), NO_LANDMARK)


def _weights(features: Features, matches: Matches) -> np.ndarray:
    """Weights (K,) of all keypoints as observations: those of their matches, else one."""
    weights = np.ones(len(features))
    weights[matches.indices1] = observation_weights(matches)
    return weights


def _distance(camera_from_world: np.ndarray, reference: MapKeyframe) -> float:
    return float(np.linalg.norm(invert(camera_from_world)[:3, 3] - reference.center))


def _motion_length(rotated: np.ndarray, direction: np.ndarray, rays: np.ndarray) -> tuple[float, float]:
    """Return the s for which ``rotated + s * direction`` (N, 3) lie on the rays (N, 3), and its standard deviation.

    The length is the median over the points; the standard deviation of a median is 1.25 times that of a mean.
    """
    across = np.cross(rays, direction)
    lengths = -np.sum(np.cross(rays, rotated) * across, axis=1) / np.sum(across**2, axis=1)
    length = np.median(lengths)
    spread = 1.4826 * np.median(np.abs(lengths - length))
    return float(length), float(1.25 * spread / np.sqrt(len(lengths)))


def _two_view_covariance(
    reference: MapKeyframe, current_from_reference: np.ndarray, of_direction: np.ndarray, length_std: float
) -> np.ndarray:
    """Return the covariance (6, 6) of world_from_camera for a scaled motion from a keyframe without error.

    ``of_direction`` (6, 6) is the covariance of the motion with a translation of length one.
    """
    length = np.linalg.norm(current_from_reference[:3, 3])
    covariance = of_direction.copy()
    covariance[:3] *= length
    covariance[:, :3] *= length
    direction = current_from_reference[:3, 3] / length
    covariance[:3, :3] += length_std**2 * np.outer(direction, direction)
    rotation = np.zeros((6, 6))
    rotation[:3, :3] = rotation[3:, 3:] = reference.camera_from_world[:3, :3].T
    return rotation @ invert_covariance(current_from_reference, covariance) @ rotation.T
