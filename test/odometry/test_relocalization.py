"""Relocalisation in the active map and in inactive maps, and merging of maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from point_world import PointWorld, cloud, walk

from ros_matching.atlas.config import TrackingConfig
from ros_matching.datatypes import Features, ScaleState
from ros_matching.geometry.se3 import exp_so3, invert, pose_from, rotation_angle_deg
from ros_matching.odometry.result import TrackingResult, TrackingStatus
from ros_matching.scale import ScaleConfig
from ros_matching.scale.scale_estimator import ScaleEstimator
from ros_matching.scale.scale_measurement import NoMeasurement, ScaleMeasurement
from ros_matching.visual_odometry import VisualOdometry

TRACKING, LOST = TrackingStatus.TRACKING, TrackingStatus.LOST


def run(world: PointWorld, config: TrackingConfig | None = None) -> list[TrackingResult]:
    odometry = VisualOdometry(world, config)
    return [odometry.track(frame) for frame in world.frames()]


def mapped(results: list[TrackingResult]) -> list[TrackingResult]:
    return [r for r in results if r.status is TRACKING and r.counts.landmarks]


class GroundTruth:
    """True poses in the world and scale of the first map."""

    def __init__(self, path: np.ndarray, first: list[TrackingResult]) -> None:
        first = mapped(first)
        estimated = np.stack([r.world_from_camera for r in first])
        true = path[[r.frame_index for r in first]]
        self._world = estimated[0] @ invert(true[0])
        spread = [np.linalg.norm(p[:, :3, 3] - p[0, :3, 3]) for p in (estimated, true)]
        self._scale, self._pivot, self._path = spread[0] / spread[1], true[0][:3, 3], path

    def errors(self, result: TrackingResult) -> tuple[float, float]:
        """Errors of position, in map units, and of rotation, in degrees."""
        pose = self._path[result.frame_index].copy()
        pose[:3, 3] = self._pivot + self._scale * (pose[:3, 3] - self._pivot)
        pose = self._world @ pose
        distance = np.linalg.norm(result.world_from_camera[:3, 3] - pose[:3, 3])
        return float(distance), float(rotation_angle_deg(result.world_from_camera @ invert(pose)))


def test_a_lost_camera_relocalises_in_the_first_image_on_its_path():
    path = walk(150, speed=0.06)
    world = PointWorld(cloud(), np.concatenate([path, path[[20, 140, 60, 100]]]), covered=(150, 151))
    world.poses = np.concatenate([path, np.repeat(path[-1:], 2, axis=0), path[[25, 140, 60, 100]]])
    results = run(world)
    assert [r.status for r in results[150:]] == [LOST, LOST] + [TRACKING] * 4
    ground_truth = GroundTruth(world.poses, results[:150])
    for result in results[152:]:
        assert ground_truth.errors(result)[0] < 0.02
        assert result.previous_from_current is None
        assert "relocalised" in result.reason
        assert result.map_id == 1


class OverlapOnlyWorld(PointWorld):
    """Descriptors are not similar, so keyframes have no votes; the overlap of images is zero from distance ``far``."""

    far = 0

    def compose(self) -> None:
        super().compose()
        self.metric.similarity = lambda descriptors0, descriptors1: np.zeros((len(descriptors0), len(descriptors1)))
        self.overlap_estimator = SimpleNamespace(estimate=self.overlaps)

    def extract(self, image: np.ndarray) -> Features:
        return replace(super().extract(image), cells=int(image[0, 0, 0]) * 256 + int(image[0, 0, 1]))

    def overlaps(self, features: Features, others: Sequence[Features]) -> np.ndarray | None:
        if not self.far:
            return None
        where = self.poses[[each.cells for each in (features, *others)], :3, 3]
        return np.maximum(1 - np.linalg.norm(where[1:] - where[0], axis=1) / self.far, 0.0)


@pytest.mark.parametrize(("far", "found"), [(0, LOST), (1.0, TRACKING)])
def test_an_image_without_votes_is_relocalised_by_overlap(far, found):
    path = walk(90, speed=0.06)
    world = OverlapOnlyWorld(cloud(), np.concatenate([path, path[[-1, 25, 26]]]), covered=(90,))
    world.far = far
    results = run(world)
    assert [r.status for r in results[90:]] == [LOST, found, found]
    if found is TRACKING:
        assert GroundTruth(world.poses, results[:90]).errors(results[91])[0] < 0.02


def walk_with_detour() -> PointWorld:
    """A walk, 70 frames in another place from the 90th on, and the same walk again."""
    path = walk(230)
    other = cloud(seed=5) + np.array([100.0, 0, 0])
    path[90:160, 0, 3] += 100
    path[160:] = path[20:90]
    return PointWorld(np.concatenate([cloud(), other]), path)


def test_a_returning_camera_continues_in_the_inactive_map():
    world = walk_with_detour()
    path = world.poses
    results = run(world, TrackingConfig(reinitialize_after=5))
    away, home = mapped(results[90:160]), results[165:]
    assert {r.map_id for r in away} == {2}
    assert all(r.status is TRACKING and r.map_id == 1 for r in home)
    ground_truth = GroundTruth(path, results[:90])
    assert max(ground_truth.errors(r)[0] for r in home) < 0.03
    assert max(ground_truth.errors(r)[1] for r in home) < 0.5
    keyframes = [keyframe for r in results for keyframe in r.new_keyframes]
    assert [k.id for k in keyframes] == list(range(len(keyframes)))
    assert all(k.map_id == r.map_id for r in results for k in r.new_keyframes)


def test_a_returning_camera_has_the_scale_of_the_inactive_map():
    class Sensor:
        """Measures a scale of one in the first 90 frames."""

        name, shared_std = "depth", 0.01

        def measure(self, local_map, view):
            return ScaleMeasurement(0.0, 0.01) if view.frame.index < 90 else NoMeasurement("broken")

        def reset(self):
            pass

    world = walk_with_detour()
    estimator = ScaleEstimator(ScaleConfig(source="depth"), Sensor())
    odometry = VisualOdometry(world, TrackingConfig(reinitialize_after=5), estimator)
    results = [odometry.track(frame) for frame in world.frames()]
    before, away = mapped(results[80:90])[-1], mapped(results[90:160])
    home = mapped(results[165:])[0]
    assert before.scale is ScaleState.METRIC
    assert {r.scale for r in away} == {ScaleState.UP_TO_SCALE}
    assert (home.map_id, home.scale, home.scale_source) == (1, ScaleState.METRIC, "depth")
    assert before.scale_sigma <= home.scale_sigma < 0.05


def test_a_map_started_after_a_loss_is_merged_with_the_one_before():
    path = round_trip()
    world = PointWorld(cloud(20000), path, covered=tuple(range(80, 90)))
    results = run(world, TrackingConfig(reinitialize_after=5))
    merged = next(r for r in results if "merged" in r.reason)
    second = [r for r in mapped(results[90:]) if r.frame_index < merged.frame_index]
    assert len(second) > 20
    assert {r.map_id for r in second} == {2}
    ground_truth = GroundTruth(path, results[:80])
    assert ground_truth.errors(second[-1])[1] > 45  # unknown to the new map
    assert merged.previous_from_current is None
    after = [r for r in results if r.frame_index >= merged.frame_index]
    assert {(r.status, r.map_id) for r in after} == {(TRACKING, 1)}
    assert max(ground_truth.errors(r)[0] for r in after) < 0.05
    assert max(ground_truth.errors(r)[1] for r in after) < 1.0
    assert all(np.isfinite(r.covariance).all() for r in after)


def round_trip() -> np.ndarray:
    """A walk (280, 4, 4) that rotates while the lens is covered, and slowly rotates back."""
    frames = np.arange(280)
    heading = np.interp(frames, [0, 80, 90, 150, 250, 280], np.radians([0, 10, 150, 150, 10, 0]))
    s = 0.03 * frames
    centers = np.column_stack([np.sin(s), 0.3 * np.sin(0.7 * s), 0.6 * np.cos(0.8 * s)])
    return pose_from(exp_so3(np.column_stack([0 * s, heading, 0 * s])), centers)
