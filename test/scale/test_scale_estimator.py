"""The scale estimator: states, rejection of wrong measurements, drift, and covariances in metres."""

from __future__ import annotations

import math

import numpy as np
import pytest
from point_world import PointWorld, cloud, walk
from scale_world import view_of, walked_map

from ros_matching.datatypes import ScaleState
from ros_matching.geometry.se3 import exp_so3
from ros_matching.odometry.result import TrackingStatus, covariance_in_metres
from ros_matching.scale import ScaleConfig, WheelOdometry, make_scale_estimator
from ros_matching.scale.scale_estimator import ScaleEstimator
from ros_matching.scale.scale_measurement import NoMeasurement, ScaleMeasurement
from ros_matching.visual_odometry import VisualOdometry

UP_TO_SCALE, ANCHORED, METRIC = ScaleState.UP_TO_SCALE, ScaleState.ANCHORED, ScaleState.METRIC


class KnownScaleSource:
    """Measures a known scale with noise."""

    name = "depth"
    shared_std = 0.01

    def __init__(self, log_std: float = 0.02, seed: int = 0) -> None:
        self.scale = 1.0  # metres in one map unit; follows the corrections
        self.log_std = log_std
        self.error = 0.0  # common to all measurements, in the logarithm
        self.problem = ""
        self.calls = 0
        self._rng = np.random.default_rng(seed)

    def reset(self) -> None:
        pass

    def measure(self, local_map, view) -> ScaleMeasurement | NoMeasurement:
        self.calls += 1
        if self.problem:
            return NoMeasurement(self.problem)
        return ScaleMeasurement(math.log(self.scale) + self.error + self._rng.normal(0, self.log_std), self.log_std)


class Run:
    """Runs an estimator on consecutive keyframes."""

    def __init__(self, source: KnownScaleSource, config: ScaleConfig | None = None) -> None:
        self.source, self.estimator = source, ScaleEstimator(config, source)
        self._map, _ = walked_map(2)
        self._view = view_of(self._map)

    def keyframes(self, count: int = 1, drift: float = 0.0) -> list[float]:
        factors = []
        for _ in range(count):
            self.source.scale *= math.exp(drift)
            factors.append(self.estimator.observe(self._map, self._view, is_keyframe=True))
            self.source.scale /= factors[-1]
        return factors

    @property
    def report(self):
        return self.estimator.report


def test_the_scale_is_unknown_without_a_source():
    local_map, _ = walked_map()
    estimator = make_scale_estimator(ScaleConfig(), None)
    assert estimator.observe(local_map, view_of(local_map), is_keyframe=True) == 1.0
    assert estimator.report.state is UP_TO_SCALE
    assert (estimator.report.source, estimator.report.std, estimator.report.reason) == ("", math.inf, "")


def test_two_consistent_measurements_make_the_scale_metric():
    run = Run(KnownScaleSource())
    run.source.scale = 3.7
    assert run.keyframes() == [1.0]
    assert run.report.state is UP_TO_SCALE
    assert run.report.source == ""
    assert "second measurement" in run.report.reason
    (factor,) = run.keyframes()
    assert factor == pytest.approx(3.7, rel=0.05)
    assert (run.report.state, run.report.source, run.report.reason) == (METRIC, "depth", "")
    assert 0.01 <= run.report.std < 0.03


def test_inconsistent_measurements_do_not_set_the_scale():
    run = Run(KnownScaleSource(log_std=0.01))
    for scale in (1.0, 2.0, 4.0, 0.5, 7.0, 13.0):
        run.source.scale = scale
        assert run.keyframes() == [1.0]
    assert run.report.state is UP_TO_SCALE


def test_uncertain_measurements_make_the_scale_anchored():
    run = Run(KnownScaleSource(log_std=0.12, seed=1))
    run.keyframes(2)
    assert run.report.state is ANCHORED
    assert run.report.source == "depth"
    run.keyframes(20)
    assert run.report.state is METRIC


def test_a_single_outlier_changes_only_the_uncertainty():
    run = Run(KnownScaleSource())
    run.keyframes(5)
    run.source.error = 0.4
    assert run.keyframes() == [1.0]
    assert run.report.state is ANCHORED
    assert run.report.std == pytest.approx(0.2)
    assert "contradicts" in run.report.reason
    run.source.error = 0.0
    run.keyframes()
    assert run.report.state is METRIC


def test_two_measurements_correct_a_jump_of_the_scale():
    run = Run(KnownScaleSource())
    run.keyframes(5)
    assert run.keyframes(drift=0.3) == [1.0]
    assert run.report.state is not METRIC
    (factor,) = run.keyframes()
    assert factor == pytest.approx(math.exp(0.3), rel=0.05)
    assert run.report.state is METRIC


def test_scale_drift_is_corrected():
    run, errors = Run(KnownScaleSource(seed=4)), []
    run.keyframes(5)
    for _ in range(300):
        run.keyframes(drift=0.004)
        errors.append(math.log(run.source.scale))
    assert np.abs(errors).max() < 0.05
    assert abs(np.mean(errors)) < 0.02


def test_the_state_degrades_without_measurements():
    run, states = Run(KnownScaleSource()), []
    run.keyframes(5)
    run.source.problem = "it is dark"
    for _ in range(600):
        run.keyframes()
        states.append(run.report.state)
    assert states == sorted(states, key=[METRIC, ANCHORED, UP_TO_SCALE].index)
    assert 5 < states.count(METRIC) < 40
    assert states.count(ANCHORED) > 100
    assert run.report.reason == "depth: it is dark"
    run.source.problem = ""
    run.keyframes(2)
    assert run.report.state is METRIC


def test_there_is_one_measurement_per_keyframe():
    run = Run(KnownScaleSource())
    run.keyframes(2)
    for _ in range(5):
        run.estimator.observe(run._map, run._view, is_keyframe=False)
    assert run.source.calls == 2


def test_the_scale_of_a_new_map_is_unknown_until_measured():
    run = Run(KnownScaleSource())
    run.keyframes(5)
    run.source.problem = "it is dark"
    run.estimator.start_map(run._map)
    assert run.report.state is UP_TO_SCALE


def test_covariance_in_metres():
    covariance, forward = np.eye(6) * 1e-4, np.array([0.0, 0.0, 2.0])
    known = covariance_in_metres(covariance, forward, 0.05, 1e6)
    np.testing.assert_allclose(known.diagonal(), [1e-4, 1e-4, 1e-4 + 0.01, 1e-4, 1e-4, 1e-4])
    unknown = covariance_in_metres(covariance, np.zeros(3), math.inf, 1e6)
    assert (unknown.diagonal()[:3] >= 1e6).all()
    np.testing.assert_array_equal(unknown[3:], covariance[3:])
    np.testing.assert_array_equal(covariance, np.eye(6) * 1e-4)


def tracked(world: PointWorld, config: ScaleConfig, **parts) -> list:
    odometry = VisualOdometry(world, scale=make_scale_estimator(config, world, **parts))
    return [odometry.track(frame) for frame in world.frames()]


def test_wheel_odometry_makes_the_scale_metric_without_jumps_of_the_pose():
    world = PointWorld(cloud(), walk(90, 0.05))
    rotation = exp_so3(np.array([0.1, -0.4, 0.2]))  # of the odometry frame
    odometry = WheelOdometry()
    for index, pose in enumerate(world.poses):
        odometry.add(1_000_000_000 + index * 33_333_333, rotation @ pose[:3, 3])
    results = tracked(world, ScaleConfig(source="wheel"), wheel_odometry=odometry)
    posed = [r for r in results if r.status is TrackingStatus.TRACKING]
    metric = [r for r in posed if r.scale is METRIC]
    assert len(metric) > 40
    true = world.poses[[r.frame_index for r in metric], :3, 3]
    found = np.stack([r.world_from_camera[:3, 3] for r in metric])
    lengths = [np.linalg.norm(np.diff(points[::8], axis=0), axis=1).sum() for points in (found, true)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.02)
    steps = np.linalg.norm(np.diff([r.world_from_camera[:3, 3] for r in posed], axis=0), axis=1)
    assert steps.max() < 0.1
    change = next(r for r in posed if r.scale_change != 1.0)
    assert change.scale is UP_TO_SCALE
    assert {r.scale_source for r in metric} == {"wheel"}
    assert all(keyframe.scale is r.scale for r in posed for keyframe in r.new_keyframes)


def test_relative_poses_chain_to_the_poses_while_the_scale_changes():
    world = PointWorld(cloud(), walk(70, 0.05))
    odometry = WheelOdometry()
    for index, pose in enumerate(world.poses):
        odometry.add(1_000_000_000 + index * 33_333_333, pose[:3, 3])
    results = tracked(world, ScaleConfig(source="wheel"), wheel_odometry=odometry)
    posed = [r for r in results if r.counts.landmarks]
    assert any(r.scale_change != 1.0 for r in posed)
    pose = posed[0].world_from_camera
    for result in posed[1:]:
        pose = pose @ result.previous_from_current
        np.testing.assert_allclose(pose, result.world_from_camera, atol=1e-9)
        assert (np.linalg.eigvalsh(result.covariance) > 0).all()
