"""How measurements of the scale make the unit of the map, and what is said of it."""

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


class KnownAnchor:
    """Measures a true unit with noise; ``says`` may be replaced."""

    name = "depth"
    shared_sigma = 0.01

    def __init__(self, sigma: float = 0.02, seed: int = 0) -> None:
        self.unit = 1.0  # metres in a unit of the map; follows the corrections
        self.sigma = sigma
        self.error = 0.0  # of all measurements alike, in the logarithm
        self.silent = ""
        self.calls = 0
        self._rng = np.random.default_rng(seed)

    def reset(self) -> None:
        pass

    def measure(self, local_map, view) -> ScaleMeasurement | NoMeasurement:
        self.calls += 1
        if self.silent:
            return NoMeasurement(self.silent)
        return ScaleMeasurement(math.log(self.unit) + self.error + self._rng.normal(0, self.sigma), self.sigma)


class Run:
    """An estimator fed with one keyframe after the other."""

    def __init__(self, anchor: KnownAnchor, config: ScaleConfig | None = None) -> None:
        self.anchor, self.estimator = anchor, ScaleEstimator(config, anchor)
        self._map, _ = walked_map(2)
        self._view = view_of(self._map)

    def keyframes(self, count: int = 1, drift: float = 0.0) -> list[float]:
        factors = []
        for _ in range(count):
            self.anchor.unit *= math.exp(drift)
            factors.append(self.estimator.observe(self._map, self._view, is_keyframe=True))
            self.anchor.unit /= factors[-1]
        return factors

    @property
    def report(self):
        return self.estimator.report


def test_without_an_anchor_nothing_looks_metric():
    local_map, _ = walked_map()
    estimator = make_scale_estimator(ScaleConfig(), None)
    assert estimator.observe(local_map, view_of(local_map), is_keyframe=True) == 1.0
    assert estimator.report.state is UP_TO_SCALE
    assert (estimator.report.source, estimator.report.sigma, estimator.report.reason) == ("", math.inf, "")


def test_two_measurements_that_agree_make_it_metric():
    run = Run(KnownAnchor())
    run.anchor.unit = 3.7
    assert run.keyframes() == [1.0]
    assert run.report.state is UP_TO_SCALE
    assert run.report.source == ""
    assert "second measurement" in run.report.reason
    (factor,) = run.keyframes()
    assert factor == pytest.approx(3.7, rel=0.05)
    assert (run.report.state, run.report.source, run.report.reason) == (METRIC, "depth", "")
    assert 0.01 <= run.report.sigma < 0.03


def test_measurements_that_do_not_agree_make_nothing():
    run = Run(KnownAnchor(sigma=0.01))
    for unit in (1.0, 2.0, 4.0, 0.5, 7.0, 13.0):
        run.anchor.unit = unit
        assert run.keyframes() == [1.0]
    assert run.report.state is UP_TO_SCALE


def test_measurements_too_uncertain_for_metres_anchor():
    run = Run(KnownAnchor(sigma=0.12, seed=1))
    run.keyframes(2)
    assert run.report.state is ANCHORED
    assert run.report.source == "depth"
    run.keyframes(20)
    assert run.report.state is METRIC


def test_one_wrong_measurement_changes_nothing_but_the_uncertainty():
    run = Run(KnownAnchor())
    run.keyframes(5)
    run.anchor.error = 0.4
    assert run.keyframes() == [1.0]
    assert run.report.state is ANCHORED
    assert run.report.sigma == pytest.approx(0.2)
    assert "contradicts the scale by" in run.report.reason
    run.anchor.error = 0.0
    run.keyframes()
    assert run.report.state is METRIC


def test_a_unit_that_slipped_is_set_right_by_two_measurements():
    run = Run(KnownAnchor())
    run.keyframes(5)
    assert run.keyframes(drift=0.3) == [1.0]
    assert run.report.state is not METRIC
    (factor,) = run.keyframes()
    assert factor == pytest.approx(math.exp(0.3), rel=0.05)
    assert run.report.state is METRIC


def test_drift_is_followed_within_its_uncertainty():
    run, errors = Run(KnownAnchor(seed=4)), []
    run.keyframes(5)
    for _ in range(300):
        run.keyframes(drift=0.004)
        errors.append(math.log(run.anchor.unit))
    assert np.abs(errors).max() < 0.05
    assert abs(np.mean(errors)) < 0.02


def test_a_silent_anchor_is_believed_for_a_while_and_then_not():
    run, states = Run(KnownAnchor()), []
    run.keyframes(5)
    run.anchor.silent = "it is dark"
    for _ in range(600):
        run.keyframes()
        states.append(run.report.state)
    assert states == sorted(states, key=[METRIC, ANCHORED, UP_TO_SCALE].index)
    assert 5 < states.count(METRIC) < 40
    assert states.count(ANCHORED) > 100
    assert run.report.reason == "depth: it is dark"
    run.anchor.silent = ""
    run.keyframes(2)
    assert run.report.state is METRIC


def test_only_one_measurement_for_a_keyframe():
    run = Run(KnownAnchor())
    run.keyframes(2)
    for _ in range(5):
        run.estimator.observe(run._map, run._view, is_keyframe=False)
    assert run.anchor.calls == 2


def test_a_new_map_has_no_unit_until_it_is_measured():
    run = Run(KnownAnchor())
    run.keyframes(5)
    run.anchor.silent = "it is dark"
    run.estimator.begin(run._map)
    assert run.report.state is UP_TO_SCALE


def test_the_covariance_in_metres():
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


def test_wheels_make_a_walk_metric_and_the_poses_do_not_jump():
    world = PointWorld(cloud(), walk(90, 0.05))
    turn = exp_so3(np.array([0.1, -0.4, 0.2]))  # the wheels' odometry has axes of its own
    odometry = WheelOdometry()
    for index, pose in enumerate(world.poses):
        odometry.add(1_000_000_000 + index * 33_333_333, turn @ pose[:3, 3])
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


def test_the_relative_poses_chain_to_the_poses_while_the_unit_changes():
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
