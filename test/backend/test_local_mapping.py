"""Landmarks of new keyframes are unbiased: noise of the matches does not shrink the map."""

from __future__ import annotations

import numpy as np
import pytest
from point_world import CAMERA, PointWorld, cloud

from ros_matching.atlas.config import TrackingConfig
from ros_matching.atlas.keyframes import NO_LANDMARK
from ros_matching.atlas.local_map import LocalMap
from ros_matching.backend.local_mapping import LocalMapper
from ros_matching.geometry.se3 import exp_so3, invert, pose_from
from ros_matching.odometry.result import TrackingStatus
from ros_matching.stages import StageTimer
from ros_matching.visual_odometry import VisualOdometry

BEFORE, ROTATING, AFTER = 17, 8, 16  # frames


class BlurredWorld(PointWorld):
    """A point world with its own pixel noise (F,) for each frame."""

    def __init__(self, points: np.ndarray, world_from_camera: np.ndarray, noises_px: np.ndarray, seed: int) -> None:
        super().__init__(points, world_from_camera, seed=seed)
        self._noises_px = noises_px

    def extract(self, image: np.ndarray):
        self._noise_px = self._noises_px[int(image[0, 0, 0]) * 256 + int(image[0, 0, 1])]
        return super().extract(image)


def depth_ratios(baseline: float, noise_px: float, seed: int) -> np.ndarray:
    """Ratios (L,) of estimated to true depths of landmarks that two keyframes with a sideways baseline triangulate."""
    poses = pose_from(np.stack([np.eye(3)] * 2), np.array([[0, 0, 0], [baseline, 0, 0]]))
    world = PointWorld(cloud(seed=seed), poses, noise_px=noise_px, outliers=0.0, seed=seed)
    local_map = LocalMap(CAMERA, 40)
    for frame, pose in zip(world.frames(), poses, strict=True):
        features = world.extract(frame.image)
        keyframe = local_map.add_keyframe(frame, features, invert(pose), np.full(len(features), NO_LANDMARK))
    LocalMapper(world, TrackingConfig(), StageTimer()).extend(local_map, keyframe)
    points = world.points[np.argmax(local_map.descriptors @ world._descriptors.T, axis=1)]
    return local_map.positions[:, 2] / points[:, 2]


@pytest.mark.parametrize(("baseline", "noise_px"), [(0.08, 0.3), (0.08, 1.0), (0.1, 1.5), (0.15, 1.5)])
def test_depths_of_a_short_baseline_are_unbiased(baseline, noise_px):
    ratios = np.concatenate([depth_ratios(baseline, noise_px, seed) for seed in range(3)])
    assert len(ratios) > 100
    assert 0.93 < np.median(ratios) < 1.03


@pytest.mark.parametrize("inliers", [0, 10_000])
def test_matches_with_further_neighbours_are_filtered_only_if_the_pose_is_uncertain(monkeypatch, inliers):
    """The epipolar lines of known poses reject outliers among the matches with them."""
    poses = pose_from(np.stack([np.eye(3)] * 4), np.linspace([0, 0, 0], [0.9, 0, 0], 4))
    world = PointWorld(cloud(), poses, noise_px=0.3, outliers=0.3)
    calls = []
    for part, name in ((world.consensus, "filter"), (world.pruner, "prune")):
        run = getattr(part, name)
        monkeypatch.setattr(part, name, lambda *given, run=run, name=name: calls.append(name) or run(*given))
    config = TrackingConfig(keyframe_inliers=inliers)
    local_map, mapper = LocalMap(CAMERA, 40), LocalMapper(world, config, StageTimer())
    neighbours = 0
    for frame, pose in zip(world.frames(), poses, strict=True):
        features = world.extract(frame.image)
        landmark_ids = np.full(len(features), NO_LANDMARK)
        if len(local_map):  # localised in the map
            similarity = features.descriptors @ local_map.descriptors.T
            landmark_ids = np.where(similarity.max(axis=1) > 0.9, local_map.ids[similarity.argmax(axis=1)], NO_LANDMARK)
        keyframe = local_map.add_keyframe(frame, features, invert(pose), landmark_ids)
        connected = mapper.neighbours(local_map, keyframe)
        neighbours += len(connected)
        mapper.extend(local_map, keyframe)
    assert calls.count("prune") == len(poses) - 1
    assert calls.count("filter") == (len(poses) - 1 if inliers == 0 else neighbours)
    assert neighbours > len(poses) - 1
    points = world.points[np.argmax(local_map.descriptors @ world._descriptors.T, axis=1)]
    assert len(points) > 100
    right = np.linalg.norm(local_map.positions - points, axis=1) < 0.1 * points[:, 2]
    assert right.mean() > 0.9


def fast_rotation(seed: int, degrees: float) -> np.ndarray:
    """Poses (F, 4, 4) of a walk with a fast rotation by ``degrees`` per frame in its middle."""
    random = np.random.default_rng(seed)
    rotating = np.repeat([0.0, degrees, 0.0], [BEFORE, ROTATING, AFTER])
    angles = np.radians(np.cumsum(rotating + random.normal(0, 0.5, len(rotating))))
    speed = np.where(rotating > 0, 0.03, 0.06)
    heading = 0.0375 * np.arange(len(rotating)) + seed
    steps = speed[:, None] * np.column_stack([np.cos(heading), 0.2 * np.sin(8 * heading), np.sin(heading)])
    return pose_from(exp_so3(np.column_stack([0 * angles, angles, 0 * angles])), np.cumsum(steps, axis=0))


@pytest.mark.parametrize("degrees", [10, 15])
def test_a_fast_blurred_rotation_does_not_change_the_scale_unreported(degrees):
    off, tracked = [], 0
    for seed in range(4):
        poses = fast_rotation(seed, degrees)
        noises_px = np.repeat([0.4, 1.5, 0.4], [BEFORE, ROTATING, AFTER])
        world = BlurredWorld(cloud(seed=seed), poses, noises_px, seed)
        odometry = VisualOdometry(world)
        results = [odometry.track(frame) for frame in world.frames()]
        known = [r for r in results if r.previous_from_current is not None and r.map_id == 1]
        lengths = np.array([np.linalg.norm(r.previous_from_current[:3, 3]) for r in known])
        frames = np.array([r.frame_index for r in known])
        ratios = lengths / np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)[frames - 1]
        ratios /= np.median(ratios[frames < BEFORE])
        off.extend(np.abs(np.log2(ratios)) > 1)
        tracked += sum(r.status is TrackingStatus.TRACKING for r in results)
    assert tracked > 4 * BEFORE // 2
    assert np.mean(off) <= 0.05
