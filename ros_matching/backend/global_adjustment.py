"""Bundle adjustment of the whole map after its loops were closed, in slices that can be interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.landmark_table import LandmarkTable
from ros_matching.atlas.slam_map import SlamMap
from ros_matching.atlas.stored_keyframes import EdgeKind, StoredKeyframe
from ros_matching.geometry.bundle_adjustment import BundleConfig, BundleProblem, BundleResult, bundle_adjust
from ros_matching.geometry.gravity_prior import GravityPrior
from ros_matching.geometry.se3 import invert
from ros_matching.geometry.sim3 import invert_similarity

_PER_KEYFRAME = 400  # landmarks of a keyframe that are adjusted, those of most observers first
_MIN_OBSERVED = 15  # landmarks of a keyframe, below which it is not adjusted
_MIN_EDGES = 2  # around a keyframe, for its scale
_LOSS_PX = 0.7  # scale of the robust loss, of a 640 wide image
_OUTLIER_PX = 4.0
_NOISE_PX = 0.7  # of an observation, against the prior of gravity
_REFERENCE_WIDTH_PX = 640
_FIRST_ITERATIONS = 4
_LANDMARK_ITERATIONS = 5
_CONVERGENCE = 1e-5


@dataclass(frozen=True, eq=False)
class GlobalAdjustment:
    """A bundle adjustment of keyframes and landmarks of a map, by id, that can be continued."""

    keyframes: tuple[int, ...]
    landmarks: np.ndarray
    problem: BundleProblem
    converged: bool = False

    @staticmethod
    def of(slam_map: SlamMap, ids: list[int]) -> GlobalAdjustment | None:
        """Build the adjustment of connected keyframes; ``None`` if they share too few landmarks.

        The oldest keyframe stays. Of landmarks only those of most observers take part: the others follow.
        """
        chosen = _chosen_landmarks(slam_map, ids)
        keyframes = [slam_map.keyframe(id) for id in sorted(ids)]
        rows = [np.flatnonzero(np.isin(k.landmark_ids, chosen)) for k in keyframes]
        usable = [(k, r) for k, r in zip(keyframes, rows, strict=True) if len(r) >= _MIN_OBSERVED]
        if len(usable) < 3:
            return None
        observed = np.concatenate([k.landmark_ids[r] for k, r in usable])
        landmarks, point_index, counts = np.unique(observed, return_inverse=True, return_counts=True)
        camera_index = np.repeat(np.arange(len(usable)), [len(r) for _, r in usable])
        kept = counts[point_index] >= 2
        fixed = np.zeros(len(usable), dtype=bool)
        fixed[0] = True
        problem = BundleProblem(
            camera_from_world=np.stack([k.camera_from_map for k, _ in usable]),
            points=slam_map.landmarks.positions_of(landmarks),
            camera_index=camera_index[kept],
            point_index=point_index[kept],
            points_px=np.concatenate([k.keypoints_px[r] for k, r in usable]).astype(np.float64)[kept],
            weights=np.concatenate([k.weights[r] for k, r in usable]).astype(np.float64)[kept],
            fixed_cameras=fixed,
            camera=slam_map.camera,
            gravity=_gravity_prior(slam_map, [k for k, _ in usable]),
        )
        return GlobalAdjustment(tuple(k.id for k, _ in usable), landmarks, problem)

    def continued(self, iterations: int = _FIRST_ITERATIONS) -> GlobalAdjustment:
        """Return the adjustment after some more iterations."""
        scale = self.problem.camera.width / _REFERENCE_WIDTH_PX
        config = BundleConfig(
            iterations=iterations, loss="cauchy", loss_scale_px=_LOSS_PX * scale, convergence=_CONVERGENCE
        )
        result = bundle_adjust(self.problem, config)
        return replace(self, problem=self._without_outliers(result, _OUTLIER_PX * scale), converged=result.converged)

    def _without_outliers(self, result: BundleResult, threshold_px: float) -> BundleProblem:
        """Return the adjusted problem without observations whose error is large."""
        good = result.errors_px < threshold_px
        problem = self.problem
        return replace(
            problem,
            camera_from_world=result.camera_from_world,
            points=result.points,
            camera_index=problem.camera_index[good],
            point_index=problem.point_index[good],
            points_px=problem.points_px[good],
            weights=problem.weights[good],
        )

    def apply(self, slam_map: SlamMap) -> None:
        """Move keyframes and landmarks of the map to the result, and measure the loops between them again.

        They are far more accurate so than by two images. The constraints of the odometry stay as they were measured.
        """
        adjusted = {
            id: invert(pose)
            for id, pose in zip(self.keyframes, self.problem.camera_from_world, strict=True)
            if id in slam_map
        }
        scales = adjusted_scales(slam_map, adjusted)
        poses = {id: (pose, scales[id]) for id, pose in adjusted.items()}
        slam_map.correct(poses)
        seen = np.bincount(self.problem.point_index, minlength=len(self.landmarks)) >= 2
        known = slam_map.landmarks.known(self.landmarks) & seen
        slam_map.landmarks.move(self.landmarks[known], self.problem.points[known])
        for edge in slam_map.edges:
            if edge.kind is EdgeKind.LOOP and edge.first in poses and edge.second in poses:
                first, second = slam_map.keyframe(edge.first), slam_map.keyframe(edge.second)
                measured = invert_similarity(first.map_from_local) @ second.map_from_local
                slam_map.put_edge(replace(edge, first_from_second=measured))

    def fit_landmarks(self, slam_map: SlamMap) -> None:
        """Move the adjusted landmarks of a map to where they fit its keyframes best, which stay as they are."""
        problem = self.problem
        is_kept = np.array([id in slam_map for id in self.keyframes])
        known = slam_map.landmarks.known(self.landmarks)
        used = is_kept[problem.camera_index] & known[problem.point_index]
        poses, points = problem.camera_from_world.copy(), problem.points.copy()
        poses[is_kept] = [slam_map.keyframe(id).camera_from_map for id in self.keyframes if id in slam_map]
        points[known] = slam_map.landmarks.positions_of(self.landmarks[known])
        placed = replace(
            self.problem,
            camera_from_world=poses,
            points=points,
            camera_index=problem.camera_index[used],
            point_index=problem.point_index[used],
            points_px=problem.points_px[used],
            weights=problem.weights[used],
            fixed_cameras=np.ones(len(poses), dtype=bool),
        )
        fitted = replace(self, problem=placed).continued(_LANDMARK_ITERATIONS).problem
        seen = known & (np.bincount(fitted.point_index, minlength=len(self.landmarks)) >= 2)
        slam_map.landmarks.move(self.landmarks[seen], fitted.points[seen])


def adjusted_scales(slam_map: SlamMap, adjusted: Mapping[int, np.ndarray]) -> dict[int, float]:
    """Scales of keyframes by id, for their adjusted poses map_from_camera (4, 4).

    The adjustment does not know the unit of an odometry map. The edges in it do: a scale is the median ratio of the
    distances of keyframes in the map and as measured by the odometry, over the edges around, the longer ones with more
    weight.
    """
    ratios: dict[int, list[tuple[float, float]]] = {id: [] for id in adjusted}
    for edge in slam_map.edges:
        if edge.kind is EdgeKind.LOOP or edge.first not in adjusted or edge.second not in adjusted:
            continue
        if slam_map.map_number_of(edge.first) != slam_map.map_number_of(edge.second):
            continue
        distance = float(np.linalg.norm(adjusted[edge.second][:3, 3] - adjusted[edge.first][:3, 3]))
        measured = float(np.linalg.norm(edge.first_from_second[:3, 3]))
        if min(distance, measured) > 0:
            for id in (edge.first, edge.second):
                ratios[id].append((distance / measured, distance))
    scales = {}
    for id in adjusted:
        number = slam_map.map_number_of(id)
        near = {id} | {other for edge in slam_map.edges_of(id) for other in (edge.first, edge.second)}
        around = [r for other in near if slam_map.map_number_of(other) == number for r in ratios.get(other, [])]
        scales[id] = _weighted_median(np.array(around)) if len(around) >= _MIN_EDGES else slam_map.keyframe(id).scale
    return scales


def _weighted_median(values: np.ndarray) -> float:
    """Weighted median of rows (N, 2): value, weight."""
    values = values[np.argsort(values[:, 0])]
    weights = values[:, 1].cumsum()
    return float(values[np.searchsorted(weights, 0.5 * weights[-1]), 0])


def _gravity_prior(slam_map: SlamMap, keyframes: list[StoredKeyframe]) -> GravityPrior | None:
    """Directions of gravity in keyframes that an IMU measured; ``None`` without any."""
    if slam_map.down is None:
        return None
    std_px = _NOISE_PX * slam_map.camera.width / _REFERENCE_WIDTH_PX
    weights = np.array([(std_px / k.down_std) ** 2 for k in keyframes])  # zero where it is unknown
    return GravityPrior(slam_map.down, np.stack([k.down for k in keyframes]), weights)


def _chosen_landmarks(slam_map: SlamMap, ids: list[int]) -> np.ndarray:
    """Landmarks that take part: of each keyframe those of most observers."""
    landmarks = slam_map.landmarks
    chosen = [_best_of(keyframe, landmarks) for keyframe in map(slam_map.keyframe, ids)]
    return np.unique(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)


def _best_of(keyframe: StoredKeyframe, landmarks: LandmarkTable) -> np.ndarray:
    observed = keyframe.landmark_ids[keyframe.landmark_ids != NO_LANDMARK]
    observers = landmarks.observers[landmarks.rows(observed)]
    order = np.argsort(-observers, kind="stable")
    return observed[order][:_PER_KEYFRAME]
