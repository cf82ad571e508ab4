"""NEES of errors drawn from known covariances."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from ros_matching.errors import EvaluationError
from ros_matching.evaluation.trajectory.consistency import (
    EvaluatedPose,
    consistency,
    correlation_time,
    evaluate_consistency,
    nees,
    run_consistency,
    scale_of,
)
from ros_matching.evaluation.trajectory.run_report import FrameRecord
from ros_matching.geometry.se3 import invert, pose_from, retract
from ros_matching.io.trajectory import Trajectory

SIGMAS = np.array([2e-3, 1e-3, 3e-3, 1e-3, 2e-3, 1e-3])


def covariance() -> np.ndarray:
    mixing = np.eye(6) + 0.3 * np.random.default_rng(1).normal(size=(6, 6))
    return (mixing * SIGMAS**2) @ mixing.T


def draws(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).multivariate_normal(np.zeros(6), covariance(), size=count)


def estimates(truth: Trajectory, scale: float, factor: float = 1.0, chained: bool = False) -> list[EvaluatedPose]:
    """A run in a unit of ``scale`` whose motions have drawn errors, and which claims ``factor`` times their covariance.

    Its poses are true, or ``chained`` from the motions.
    """
    unit = truth.world_from_camera.copy()
    unit[:, :3, 3] /= scale
    motions = [None, *(invert(before) @ after for before, after in pairwise(unit))]
    poses, pose, claimed = [], unit[0], factor * covariance()
    for motion, error, place, true in zip(motions, draws(len(unit)), unit, truth.world_from_camera, strict=True):
        measured = None if motion is None else retract(motion, error)
        pose = place if measured is None or not chained else pose @ measured
        poses.append(EvaluatedPose(pose, claimed, measured, claimed, true))
    return poses


@pytest.mark.parametrize(("factor", "expected"), [(1.0, True), (4.0, False), (0.25, False)])
def test_the_mean_is_within_its_bounds_where_the_covariance_is_right_and_only_there(factor, expected):
    errors = draws(500)
    found = consistency([(errors, np.broadcast_to(factor * covariance(), (500, 6, 6)))])
    assert found.mean_nees == pytest.approx(6 / factor, rel=0.1)
    assert found.bounds[0] < 6 < found.bounds[1]
    assert found.is_consistent is expected
    assert found.axes == pytest.approx(np.full(6, 1 / factor), rel=0.3)


def test_nees_does_not_depend_on_units():
    errors = draws(20)
    units = np.array([1e6, 1e6, 1e6, 1.0, 1.0, 1.0])
    scaled = nees(errors * units, np.broadcast_to(covariance() * np.outer(units, units), (20, 6, 6)))
    np.testing.assert_allclose(scaled, nees(errors, np.broadcast_to(covariance(), (20, 6, 6))))


def test_errors_that_last_count_once():
    values = np.random.default_rng(0).normal(size=400)
    assert correlation_time(values, 0.0) < 2
    assert 6 < correlation_time(np.repeat(values, 10), 0.0) < 20
    once = consistency([(draws(50), np.broadcast_to(covariance(), (50, 6, 6)))])
    lasting = consistency([(np.repeat(draws(50), 10, axis=0), np.broadcast_to(covariance(), (500, 6, 6)))])
    assert lasting.count == 500
    assert lasting.effective < 3 * once.effective


@pytest.mark.parametrize("scale", [1.0, 0.2])
def test_motions_are_evaluated_in_the_unit_of_the_estimate(make_truth, scale):
    truth = make_truth(400)
    assert scale_of(estimates(truth, scale)) == pytest.approx(scale)
    found = evaluate_consistency(estimates(truth, scale))["relative"]
    assert found.count == 399
    assert 5 < found.mean_nees < 7.5
    assert evaluate_consistency(estimates(truth, scale, factor=0.25))["relative"].mean_nees > 18


def test_metres_are_treated_as_metres(make_truth):
    """A metric scale that is 10 % off: the covariance is consistent only with the uncertainty of the scale."""
    poses = [replace(pose, is_metric=True) for pose in estimates(make_truth(400), 1.1)]
    honest = [replace(pose, relative_covariance=widened(pose, 0.1)) for pose in poses]
    blind = evaluate_consistency(poses)["relative"].mean_nees
    assert blind > 2 * evaluate_consistency(honest)["relative"].mean_nees
    assert evaluate_consistency(honest)["relative"].mean_nees < 7.5
    unscaled = [replace(pose, is_metric=False) for pose in poses]
    assert evaluate_consistency(unscaled)["relative"].mean_nees < 7.5


def widened(pose: EvaluatedPose, sigma: float) -> np.ndarray | None:
    if pose.previous_from_current is None:
        return None
    length = pose.previous_from_current[:3, 3]
    covariance = pose.relative_covariance.copy()
    covariance[:3, :3] += sigma**2 * np.outer(length, length)
    return covariance


def test_chained_motions_drift_beyond_a_covariance_that_does_not_grow(make_truth):
    assert evaluate_consistency(estimates(make_truth(400), 1.0, chained=True))["world"].mean_nees > 20


def test_an_uncertain_first_pose_does_not_hide_errors_of_the_others(make_truth):
    first, *others = estimates(make_truth(400), 1.0, chained=True)
    vague = replace(first, covariance=1e4 * first.covariance)
    assert evaluate_consistency([vague, *others])["world"].mean_nees > 20


def test_a_run_is_evaluated_where_ground_truth_has_the_stamps_of_frames(make_truth):
    truth = make_truth(60)
    records = [
        FrameRecord(
            index,
            int(stamp),
            "tracking",
            pose.world_from_camera,
            map_id=1,
            covariance=pose.covariance,
            previous_from_current=pose.previous_from_current,
            relative_covariance=pose.relative_covariance,
        )
        for index, (stamp, pose) in enumerate(zip(truth.stamps_ns, estimates(truth, 2.0), strict=True))
    ]
    assert run_consistency(records, truth)["relative"].count == 59
    shifted = Trajectory(truth.stamps_ns + 1, truth.world_from_camera)
    for unusable in (shifted, None):
        with pytest.raises(EvaluationError, match="at least 10 poses, got 0"):
            run_consistency(records, unusable)


def test_a_camera_that_does_not_move_has_no_scale():
    still = pose_from(np.eye(3), np.zeros(3))
    pose = EvaluatedPose(still, covariance(), still, covariance(), still)
    with pytest.raises(EvaluationError, match="does not move"):
        evaluate_consistency([pose] * 20)
