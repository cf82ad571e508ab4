"""Where the camera is with respect to the local map.

Two steps: matches with a keyframe, whose keypoints know their landmarks, give a first pose by PnP; with it all
landmarks of the map are looked for near where they must appear, and the pose is refined on all that are found. The
second step is what ties a frame to the whole map, not only to the last keyframe, and so holds drift down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ros_matching.datatypes import Features, Matches
from ros_matching.geometry.essential import estimate_relative_pose
from ros_matching.geometry.homography import estimate_rotation
from ros_matching.geometry.pnp import estimate_pnp, refine_pose
from ros_matching.geometry.se3 import invert, invert_covariance, pose_from, transform
from ros_matching.geometry.triangulation import reprojection_errors_px
from ros_matching.matching.two_view import TwoViewMatcher
from ros_matching.stages import StageTimer
from ros_matching.tracking.config import TrackingConfig
from ros_matching.tracking.local_map import NO_LANDMARK, LocalMap, MapKeyframe, observation_weights

# A turn on the spot is believed if the rotation explains this share of at least so many matches with the reference
# keyframe, and the camera was last seen this near to it, in typical scene depths.
_TURN_SHARE = 0.7
_TURN_MIN_MATCHES = 30
_TURN_MAX_DISTANCE = 0.05
# Fewer landmarks that an old keyframe knows are not worth being looked up in its image.
_MIN_REFINED = 12
# The essential matrix stands in for PnP with so many matches, of which so many have landmarks to give its scale.
_TWO_VIEW_MIN_MATCHES = 40
_TWO_VIEW_MIN_LANDMARKS = 6
# They are few because the images are bad or the points new, so they are not held to the usual threshold.
_TWO_VIEW_TOLERANCE = 2.5


@dataclass(frozen=True)
class Localization:
    """A camera pose in the map with what supports it.

    ``landmark_ids`` (K,) says for each keypoint of the image which landmark it sees, ``points_px`` (K, 2) where, which
    is more exact than the keypoint itself, and ``weights`` (K,) how well, as relative inverse variances. ``matches``
    are those with ``reference``. ``rotation_only`` marks a pose at the reference's position: its matches show no
    parallax. ``covariance`` (6, 6), of world_from_camera, comes with a pose that does not rest on its landmarks alone.
    """

    camera_from_world: np.ndarray
    covariance: np.ndarray | None
    landmark_ids: np.ndarray
    points_px: np.ndarray
    weights: np.ndarray
    reference: MapKeyframe
    matches: Matches
    rotation_only: bool = False

    @property
    def seen(self) -> np.ndarray:
        """The landmarks that support the pose, by id."""
        return self.landmark_ids[self.landmark_ids != NO_LANDMARK]

    @property
    def inliers(self) -> int:
        """How many landmarks support the pose."""
        return len(self.seen)


class Localizer:
    """Finds the pose of an image in a local map."""

    def __init__(self, matcher: TwoViewMatcher, config: TrackingConfig, stages: StageTimer) -> None:
        self._matcher = matcher
        self._config = config
        self._stages = stages

    def localize(
        self,
        local_map: LocalMap,
        features: Features,
        reference: MapKeyframe,
        prediction: np.ndarray | None,
        min_inliers: int,
    ) -> Localization | None:
        """The pose of an image by way of one keyframe; ``None`` where the matches do not support one.

        ``prediction`` is a guess of camera_from_world (4, 4) to start from. Without one (a lost camera) a turn on the
        spot is not considered, as nothing says that the camera still is where the keyframe was.
        """
        nearby = None
        if prediction is not None:
            with self._stages("match"):
                nearby = self._matcher.match_nearby(reference.features, features)
            found = self._localize(local_map, features, reference, nearby, prediction, min_inliers)
            if found is not None or self._matcher.nearby_is_all:
                return found
        # Where no prediction holds, wrong matches decide: all stages of the matcher.
        camera = local_map.camera
        with self._stages(self._matcher.match_stage):
            matches = self._matcher.match_keypoints(reference.features, features, camera, camera, nearby)
        with self._stages(self._matcher.prune_stage):
            matches = self._matcher.pruned(matches, camera, camera)
        return self._localize(local_map, features, reference, matches, prediction, min_inliers)

    def _localize(
        self,
        local_map: LocalMap,
        features: Features,
        reference: MapKeyframe,
        matches: Matches,
        prediction: np.ndarray | None,
        min_inliers: int,
    ) -> Localization | None:
        landmark_ids = np.full(len(features), NO_LANDMARK)
        start = self._solve_pnp(local_map, reference, matches, prediction, landmark_ids)
        if start is not None:
            found = self._refine(local_map, features, reference, matches, start, landmark_ids)
            if found is not None and found.inliers >= min_inliers:
                return found
        if prediction is None:
            return None
        return self._turn(local_map, features, reference, matches, prediction, min_inliers) or self._two_view(
            local_map, features, reference, matches, min_inliers
        )

    def _solve_pnp(
        self,
        local_map: LocalMap,
        reference: MapKeyframe,
        matches: Matches,
        prediction: np.ndarray | None,
        landmark_ids: np.ndarray,
    ) -> np.ndarray | None:
        """camera_from_world from the landmarks of the matched keypoints; ``landmark_ids`` (K,) receives the inliers."""
        landmarks = reference.landmark_ids[matches.indices0]
        rows = np.flatnonzero(landmarks != NO_LANDMARK)
        camera = local_map.camera
        with self._stages("pose"):
            estimate = estimate_pnp(
                local_map.positions[landmarks[rows]],
                matches.points1[rows],
                camera,
                self._config.threshold_px(camera),
                initial=prediction,
                weights=observation_weights(matches)[rows],
            )
        if estimate is None or np.count_nonzero(estimate.inliers) < self._config.min_inliers:
            return None
        rows = rows[estimate.inliers]
        landmark_ids[matches.indices1[rows]] = landmarks[rows]
        return estimate.camera_from_world

    def _refine(
        self,
        local_map: LocalMap,
        features: Features,
        reference: MapKeyframe,
        matches: Matches,
        start: np.ndarray,
        landmark_ids: np.ndarray,
    ) -> Localization | None:
        """Search the whole map from a first pose, and settle the pose on everything found.

        ``landmark_ids`` (K,) are the landmarks known to be seen; those stay, the search fills the rest.
        """
        camera = local_map.camera
        visible, predicted_px = local_map.visible(start)
        if len(visible) < self._config.min_inliers:
            return None
        with self._stages("match"):
            rows, keypoints = self._matcher.match_guided(
                local_map.descriptors[visible], predicted_px, features, self._config.radius_px(camera)
            )
        free = ~np.isin(visible[rows], landmark_ids) & (landmark_ids[keypoints] == NO_LANDMARK)
        landmark_ids[keypoints[free]] = visible[rows[free]]
        seen = np.flatnonzero(landmark_ids != NO_LANDMARK)
        points_px, weights = features.keypoints_px.copy(), np.ones(len(features))
        weights[matches.indices1] = observation_weights(matches)
        with self._stages("refine"):
            points_px[seen] = self._exact_points(local_map, features, reference, landmark_ids[seen], points_px[seen])
        with self._stages("pose"):
            refined = refine_pose(
                start,
                local_map.positions[landmark_ids[seen]],
                points_px[seen],
                camera,
                self._config.threshold_px(camera),
                weights[seen],
            )
        if refined is None:
            return None
        landmark_ids[seen[~refined.inliers]] = NO_LANDMARK
        return Localization(refined.camera_from_world, None, landmark_ids, points_px, weights, reference, matches)

    def _exact_points(
        self,
        local_map: LocalMap,
        features: Features,
        reference: MapKeyframe,
        landmark_ids: np.ndarray,
        points_px: np.ndarray,
    ) -> np.ndarray:
        """Pixels (N, 2) of landmarks (N,) where the image looks as it does around them in a keyframe."""
        exact = points_px.copy()
        for keyframe, rows, keypoints in local_map.sightings(landmark_ids, reference):
            if len(rows) < _MIN_REFINED:
                continue
            known_px = keyframe.features.keypoints_px[keypoints]
            exact[rows], _ = self._matcher.refine_points(keyframe.features, features, known_px, points_px[rows])
        return exact

    def _turn(
        self,
        local_map: LocalMap,
        features: Features,
        reference: MapKeyframe,
        matches: Matches,
        prediction: np.ndarray,
        min_inliers: int,
    ) -> Localization | None:
        """The pose of a camera that only turned since the reference keyframe: its position is the reference's.

        Where that pose finds the map again, the map decides.
        """
        camera, threshold_px = local_map.camera, self._config.threshold_px(local_map.camera)
        depth = local_map.typical_depth
        if len(matches) < _TURN_MIN_MATCHES or _distance(prediction, reference) > _TURN_MAX_DISTANCE * depth:
            return None
        with self._stages("pose"):
            rotation = estimate_rotation(matches.points0, matches.points1, camera, camera, threshold_px)
        if rotation is None or rotation[1].mean() < _TURN_SHARE:
            return None
        pose = pose_from(rotation[0], np.zeros(3)) @ reference.camera_from_world
        nothing_seen = np.full(len(features), NO_LANDMARK)
        found = self._refine(local_map, features, reference, matches, pose, nothing_seen.copy())
        if found is not None and found.inliers >= min_inliers:
            return found
        # A displacement that still looks like a turn moves a point at typical depth by less than the pixel threshold.
        angle = threshold_px / camera.fx
        covariance = np.diag([(angle * depth) ** 2] * 3 + [(0.5 * angle) ** 2] * 3)
        return Localization(
            pose,
            covariance,
            nothing_seen,
            features.keypoints_px,
            np.ones(len(features)),
            reference,
            matches.select(rotation[1]),
            rotation_only=True,
        )

    def _two_view(
        self, local_map: LocalMap, features: Features, reference: MapKeyframe, matches: Matches, min_inliers: int
    ) -> Localization | None:
        """The pose by the essential matrix with the reference, scaled by the few landmarks among the matches.

        For a camera that turns into unknown surroundings: many matches, few of them with landmarks. Those have only the
        length of the motion to tell, not all six degrees of freedom.
        """
        camera = local_map.camera
        rows = np.flatnonzero(reference.landmark_ids[matches.indices0] != NO_LANDMARK)
        if len(matches) < _TWO_VIEW_MIN_MATCHES or len(rows) < _TWO_VIEW_MIN_LANDMARKS:
            return None
        with self._stages("refine"):
            matches = self._matcher.refined(matches, reference.features, features)
        with self._stages("pose"):
            motion = estimate_relative_pose(
                matches.points0, matches.points1, camera, camera, self._config.threshold_px(camera) / 2
            )
        if motion is None or np.count_nonzero(motion.inliers) < _TWO_VIEW_MIN_MATCHES:
            return None
        ids = reference.landmark_ids[matches.indices0[rows]]
        turned = (
            transform(reference.camera_from_world, local_map.positions[ids]) @ motion.camera1_from_camera0[:3, :3].T
        )
        length, length_sigma = _motion_length(
            turned, motion.camera1_from_camera0[:3, 3], camera.unproject(matches.points1[rows])
        )
        current_from_reference = pose_from(
            motion.camera1_from_camera0[:3, :3], length * motion.camera1_from_camera0[:3, 3]
        )
        pose = current_from_reference @ reference.camera_from_world
        error_px = reprojection_errors_px(local_map.positions[ids], matches.points1[rows], camera, pose)
        agree = error_px < _TWO_VIEW_TOLERANCE * self._config.threshold_px(camera)
        if not length > 0 or np.count_nonzero(agree) < max(_TWO_VIEW_MIN_LANDMARKS, 0.4 * len(rows)):
            return None
        landmark_ids, points_px = np.full(len(features), NO_LANDMARK), features.keypoints_px.copy()
        weights = np.ones(len(features))
        weights[matches.indices1] = observation_weights(matches)
        landmark_ids[matches.indices1[rows[agree]]] = ids[agree]
        points_px[matches.indices1[rows[agree]]] = matches.points1[rows[agree]]
        found = self._refine(local_map, features, reference, matches, pose, landmark_ids.copy())
        if found is not None and found.inliers >= min_inliers:
            return found
        covariance = _two_view_covariance(reference, current_from_reference, motion.covariance, length_sigma)
        return Localization(
            pose, covariance, landmark_ids, points_px, weights, reference, matches.select(motion.inliers)
        )


def _distance(camera_from_world: np.ndarray, reference: MapKeyframe) -> float:
    return float(np.linalg.norm(invert(camera_from_world)[:3, 3] - reference.center))


def _motion_length(turned: np.ndarray, direction: np.ndarray, rays: np.ndarray) -> tuple[float, float]:
    """The length s for which points ``turned + s * direction`` (N, 3) lie on their viewing rays (N, 3), and its sigma.

    It is the median over the points; their spread tells its standard deviation, which for medians is 1.25 times a
    mean's.
    """
    across = np.cross(rays, direction)
    lengths = -np.sum(np.cross(rays, turned) * across, axis=1) / np.sum(across**2, axis=1)
    length = np.median(lengths)
    spread = 1.4826 * np.median(np.abs(lengths - length))
    return float(length), float(1.25 * spread / np.sqrt(len(lengths)))


def _two_view_covariance(
    reference: MapKeyframe, current_from_reference: np.ndarray, of_direction: np.ndarray, length_sigma: float
) -> np.ndarray:
    """The covariance (6, 6) of world_from_camera of a motion from a keyframe, taken as exact, whose length is scaled.

    ``of_direction`` (6, 6) is that of the motion with a translation of length one.
    """
    length = np.linalg.norm(current_from_reference[:3, 3])
    covariance = of_direction.copy()
    covariance[:3] *= length
    covariance[:, :3] *= length
    direction = current_from_reference[:3, 3] / length
    covariance[:3, :3] += length_sigma**2 * np.outer(direction, direction)
    turn = np.zeros((6, 6))
    turn[:3, :3] = turn[3:, 3:] = reference.camera_from_world[:3, :3].T
    return turn @ invert_covariance(current_from_reference, covariance) @ turn.T
