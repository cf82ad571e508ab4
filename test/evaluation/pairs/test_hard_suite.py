"""The hard suite's figures: bootstrap intervals of known data, matches against ground truth, and the report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ros_matching.datatypes import Camera, Matches
from ros_matching.errors import EvaluationError
from ros_matching.evaluation.pairs.hard_suite import (
    REAL_LINES,
    HardResult,
    correct_fraction,
    hard_measurement,
    rendered_pairs,
)
from ros_matching.evaluation.pairs.matched_pairs import MatchedPair, PairResult
from ros_matching.evaluation.pairs.pose_auc import auc_difference, auc_estimate
from ros_matching.evaluation.pairs.pose_errors import PoseError
from ros_matching.geometry.se3 import exp_so3, pose_from, transform

CAMERA = Camera(640, 480, 500.0, 510.0, 318.0, 242.0)
ONE_FROM_ZERO = pose_from(exp_so3(np.array([0.02, -0.1, 0.03])), np.array([0.4, 0.05, -0.1]))


def test_the_interval_of_a_fraction_is_that_of_the_binomial():
    """Of errors of either 0 or 180 degrees AUC is a fraction, whose interval is known."""
    errors = np.where(np.arange(400) < 144, 0.0, 180.0)
    estimate = auc_estimate(errors, 5)
    half = 1.96 * np.sqrt(0.36 * 0.64 / 400)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.36, 0.36 - half, 0.36 + half), abs=0.01)
    assert auc_estimate(errors, 5) == estimate


def test_a_paired_difference_sees_through_what_is_hard_for_both():
    errors = np.where(np.arange(100) % 2, 0.0, 180.0)
    others = errors.copy()
    others[1:21:2] = 180.0  # ten pairs more are lost
    difference = auc_difference(errors, others, 10)
    half = 1.96 * np.sqrt(0.1 * 0.9 / 100)
    assert difference.value == pytest.approx(0.1)
    assert (difference.low, difference.high) == pytest.approx((0.1 - half, 0.1 + half), abs=0.015)
    assert auc_estimate(errors, 10).low < auc_estimate(others, 10).high  # which the intervals of both alone do not show
    same = auc_difference(errors, errors, 10)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    opposite = auc_difference(others, errors, 10)
    assert (opposite.value, opposite.low, opposite.high) == (-difference.value, -difference.high, -difference.low)


def test_errors_of_other_pairs_have_no_paired_difference():
    with pytest.raises(EvaluationError, match="got 3 and 2"):
        auc_difference([1, 2, 3], [1, 2], 5)
    with pytest.raises(EvaluationError, match="no pair"):
        auc_estimate([], 5)


def matched(points1: np.ndarray, points0: np.ndarray, depth: np.ndarray | None, camera0: Camera) -> MatchedPair:
    rows = np.arange(len(points0))
    matches = Matches(points0, points1, np.ones(len(rows)), rows, rows)
    return MatchedPair("any", "line", 1, (0, 1), matches, camera0, CAMERA, ONE_FROM_ZERO, False, 0.0, 0.0, depth)


@pytest.mark.parametrize("scale", [1, 2])
def test_matches_are_correct_where_depth_and_pose_put_them(scale):
    """The images may be smaller than the depth."""
    rng, camera0 = np.random.default_rng(0), CAMERA.scaled(640 // scale, 480 // scale)
    points0 = rng.uniform(5, [camera0.width - 6, camera0.height - 6], (200, 2))
    depth = np.full((480, 640), 3.0, np.float32)
    points1 = CAMERA.project(transform(ONE_FROM_ZERO, 3.0 * camera0.unproject(points0)))
    assert correct_fraction(matched(points1, points0, depth, camera0)) == 1
    points1[:50] += [0.0, 3.5]
    points1[50:100] += [2.0, 0.0]
    assert correct_fraction(matched(points1, points0, depth, camera0)) == 0.75
    assert np.isnan(correct_fraction(matched(points1, points0, None, camera0)))
    assert np.isnan(correct_fraction(matched(points1[:0], points0[:0], depth, camera0)))
    assert correct_fraction(matched(points1, points0, np.full_like(depth, np.nan), camera0)) == 0


def test_a_keypoint_at_an_edge_may_be_of_either_side():
    depth = np.full((480, 640), 3.0, np.float32)
    depth[:, 320:] = 1.0
    points0 = np.array([[319.3, 100.0], [319.6, 200.0]])
    for metres in (1.0, 3.0):
        points1 = CAMERA.project(transform(ONE_FROM_ZERO, metres * CAMERA.unproject(points0)))
        assert correct_fraction(matched(points1, points0, depth, CAMERA)) == 1


def result(matcher: str, error_deg: float, line: str = "moving") -> HardResult:
    errors = {name: PoseError(error_deg, 0.0) for name in ("own", "magsac")}
    pair = PairResult(matcher, line, 1, (0, 1), 1.0, 100, 0.5, 1.0, 1.0, errors, dict.fromkeys(errors, 50), {})
    return HardResult(line, pair, 0.25)


def test_the_report_marks_differences_beyond_noise():
    results = [result("first", 0.0) for _ in range(20)]
    results += [result("worse", error) for error in np.linspace(1, 9, 20)]
    results += [result("alike", error) for error in [0.0] * 19 + [0.1]]
    own, magsac, difference = hard_measurement(results, {}).tables
    assert [(row["matcher"], row["pairs"]) for row in own.rows] == [("first", 20), ("worse", 20), ("alike", 20)]
    assert own.rows[0]["own_auc5_text"] == "100.0 [100, 100]"
    assert (own.rows[0]["right"], own.rows[0]["correct"]) == (0.5, 0.25)
    assert magsac.rows[1]["magsac_auc20"] == own.rows[1]["own_auc20"]
    worse, alike = difference.rows
    assert worse["own_auc5_text"].endswith("*")
    assert worse["own_auc5_low"] > 0.3
    assert not alike["own_auc20_text"].endswith("*")
    behind = hard_measurement([*results[20:40], *results[:20]], {}).tables[2].rows[0]
    assert behind["own_auc5_high"] < 0
    assert behind["own_auc5_text"].endswith("*")


def test_lines_have_tables_and_panels_of_their_own():
    measurement = hard_measurement([result("one", 1.0), result("one", 2.0, "repeated")], {"seed": 0})
    assert [panel.title for panel in measurement.panels] == ["moving", "repeated"]
    assert len(measurement.tables) == 2  # nothing to compare one matcher with
    assert measurement.details[0]["line"] == "moving"
    assert np.isnan(replace(result("one", 1.0), correct=np.nan).correct)
    with pytest.raises(EvaluationError, match="rendered lines"):
        hard_measurement([], {})


def test_pairs_of_the_lines():
    assert rendered_pairs("moving").pairs(6) == [(1, 0, 1), (1, 2, 3), (1, 4, 5)]
    counts = {"fox": 50, "lund_door": 12, "redkitchen": 700, "redkitchen-far": 700}
    assert {name: len(REAL_LINES[name].pairs(count)) for name, count in counts.items()} == {
        "fox": 12,
        "lund_door": 18,
        "redkitchen": 60,
        "redkitchen-far": 53,
    }
    assert min(first for _, first, _ in REAL_LINES["redkitchen"].pairs(700)) == 560  # held out of training
