"""Observations in the tracker: refined points, and weights from scores."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from point_world import CAMERA, PointWorld, cloud, walk

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.local_map import LocalMap
from ros_matching.datatypes import Camera, Features, Frame, Matches
from ros_matching.geometry.se3 import invert
from ros_matching.matching.parts import MatchRefiner
from ros_matching.odometry.result import TrackingStatus
from ros_matching.visual_odometry import VisualOdometry

FRAMES = 60
GOOD_PX = 0.1


class RefiningWorld(PointWorld):
    """Keypoints have an error of a pixel, and refinement in the images reduces it to a tenth.

    The refined second point has the error of the first point, as for the alignment of two patches.
    """

    def compose(self) -> None:
        super().compose()
        self.refiner = MatchRefiner()
        self.refiner.refine_points = self.refine_points

    def refine_points(self, features0, features1, points0, points1):
        exact0, exact1 = (
            self._nearest_exact(features, at) for features, at in ((features0, points0), (features1, points1))
        )
        exact = np.where(np.isnan(exact0 + exact1), points1, exact1 + points0 - exact0)
        return exact, np.full(len(exact), np.nan)

    def extract(self, image: np.ndarray) -> Features:
        # The grey image contains only its number, by which the exact pixels are looked up
        return replace(super().extract(image), grey=image)

    def _nearest_exact(self, features: Features, points_px: np.ndarray) -> np.ndarray:
        number = int(features.grey[0, 0, 0]) * 256 + int(features.grey[0, 0, 1])
        rows = np.array([np.argmin(np.linalg.norm(features.keypoints_px - point, axis=1)) for point in points_px], int)
        world = np.argmax(features.descriptors[rows] @ self._descriptors.T, axis=1)
        pose = invert(self.poses[number])
        return CAMERA.project(self.points[world] @ pose[:3, :3].T + pose[:3, 3])


class ScoringWorld(PointWorld):
    """Every second landmark has five times the noise ``GOOD_PX``; ``honest`` scores contain it.

    Not ten times: the robust losses would reject those as outliers, with no effect of the scores.
    """

    def __init__(self, seed: int, honest: bool) -> None:
        super().__init__(cloud(), walk(FRAMES), GOOD_PX, outliers=0.0, seed=seed)
        self._honest = honest

    def _is_poor(self, features: Features) -> np.ndarray:
        return np.argmax(features.descriptors @ self._descriptors.T, axis=1) % 2 == 1

    def extract(self, image: np.ndarray) -> Features:
        features = super().extract(image)
        random = np.random.default_rng((self._seed, int(image[0, 0, 1]), 1))
        noise = random.normal(0, 5 * GOOD_PX, (len(features), 2)) * self._is_poor(features)[:, None]
        return replace(features, keypoints=features.keypoints + noise)

    def match_points(self, features0, features1):
        matches = super().match_points(features0, features1)
        poor = self._is_poor(features0)[matches.indices0]
        return replace(matches, scores=np.where(poor & self._honest, 1 / 26, 1.0))


class PruningWorld(PointWorld):
    """From frame 20 on, all matches are pruned."""

    now = 0

    def extract(self, image: np.ndarray) -> Features:
        self.now = int(image[0, 0, 1])
        return super().extract(image)

    def compose(self) -> None:
        super().compose()
        self.pruner = SimpleNamespace(stage="match", prune=self.prune)

    def prune(self, matches: Matches, camera0: Camera, camera1: Camera) -> Matches:
        return matches if self.now < 20 else matches.select(np.zeros(0, np.intp))


def aligned_errors(world: PointWorld) -> np.ndarray:
    """Errors (FRAMES / 2, 3) of the positions in the second half, as fractions of the path, after alignment."""
    odometry = VisualOdometry(world, TrackingConfig(init_parallax_deg=1.0))
    results = [odometry.track(frame) for frame in world.frames()][FRAMES // 2 :]
    assert all(result.status is TrackingStatus.TRACKING for result in results)
    estimate = np.stack([result.world_from_camera[:3, 3] for result in results])
    ground_truth = world.poses[FRAMES // 2 :, :3, 3]
    path = np.linalg.norm(np.diff(ground_truth, axis=0), axis=1).sum()
    estimate = estimate - estimate.mean(axis=0)
    ground_truth = ground_truth - ground_truth.mean(axis=0)
    u, s, vt = np.linalg.svd(ground_truth.T @ estimate)
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    aligned = estimate @ (u @ flip @ vt).T * (np.trace(np.diag(s) @ flip) / np.sum(estimate**2))
    return (aligned - ground_truth) / path


def rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.sum(errors**2, axis=-1))))


def test_refined_points_improve_poses_and_map():
    plain, refined = (make(cloud(), walk(FRAMES), noise_px=1.0, outliers=0.05) for make in (PointWorld, RefiningWorld))
    assert rms(aligned_errors(refined)) < 0.5 * rms(aligned_errors(plain))


def test_scores_improve_poses_and_map():
    blind, weighing = (
        np.stack([aligned_errors(ScoringWorld(seed, honest)) for seed in range(3)])  # the drift of one world is random
        for honest in (False, True)
    )
    assert rms(weighing) < 0.7 * rms(blind)
    assert rms(np.diff(weighing, axis=1)) < 0.7 * rms(np.diff(blind, axis=1))


def test_matches_of_new_landmarks_are_pruned_and_those_of_poses_are_not():
    world = PruningWorld(cloud(), walk(FRAMES))
    odometry = VisualOdometry(world, TrackingConfig(init_parallax_deg=1.0, neighbour_keyframes=1))
    before, after = (list(map(odometry.track, frames)) for frames in np.split(list(world.frames()), [20]))
    assert all(result.status is TrackingStatus.TRACKING for result in before[-5:] + after)
    assert sum(bool(result.new_keyframes) for result in after) > 0
    landmarks = [result.counts.landmarks for result in (before[-1], *after)]
    assert max(np.diff([result.counts.landmarks for result in before[-10:]])) > 0
    assert max(np.diff(landmarks)) <= 0


def test_an_observation_moves_only_its_keypoint():
    random = np.random.default_rng(0)
    features = Features(random.uniform(0, 200, (6, 2)), np.ones(6), np.eye(6), "points")
    frame = Frame(0, 1, np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8), CAMERA)
    keyframe = LocalMap(CAMERA, 4).add_keyframe(frame, features, np.eye(4), np.full(6, -1))
    observed_px = np.array([[1.5, 2.5], [3.5, 4.5]])
    keyframe.observe(np.array([1, 4]), np.array([7, 8]), observed_px, np.array([2.0, 0.5]))
    np.testing.assert_array_equal(keyframe.landmark_ids, [-1, 7, -1, -1, 8, -1])
    np.testing.assert_array_equal(keyframe.features.keypoints_px[[1, 4]], observed_px)
    np.testing.assert_array_equal(keyframe.features.keypoints_px[[0, 2, 3, 5]], features.keypoints_px[[0, 2, 3, 5]])
    assert keyframe.weights == pytest.approx([1, 2, 1, 1, 0.5, 1])
