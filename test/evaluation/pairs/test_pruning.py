"""Measures of pruning on matches that are known to be right or wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from ros_matching.datatypes import Camera, Matches
from ros_matching.errors import EvaluationError
from ros_matching.evaluation.pairs.matched_pairs import MatchedPair
from ros_matching.evaluation.pairs.pruning import (
    BASELINES,
    evaluate_pruning,
    mean_average_precision,
    pruning_measurement,
    true_matches,
)
from ros_matching.geometry.epipolar import essential_from_pose
from ros_matching.geometry.se3 import exp_so3, pose_from, transform

CAMERA = Camera(640, 480, 500.0, 510.0, 318.0, 242.0)
RIGHT, WRONG = 120, 80
MOTION = pose_from(exp_so3(np.array([0.02, -0.1, 0.03])), np.array([0.4, 0.1, 0.05]))


def pair(seed: int = 0) -> MatchedPair:
    """120 exact matches, then 80 that are 30 px or more off their epipolar lines."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-2, -1.5, 4], [2, 1.5, 9], (RIGHT + WRONG, 3))
    points0, points1 = CAMERA.project(points), CAMERA.project(transform(MOTION, points))
    points1[RIGHT:, 1] += rng.choice([-1, 1], WRONG) * rng.uniform(40, 120, WRONG)
    rows = np.arange(len(points))
    matches = Matches(points0, points1, np.ones(len(rows)), rows, rows)
    return MatchedPair("exact", "made up", 1, (0, 1), matches, CAMERA, CAMERA, MOTION, False, 1.0, 2.0)


@dataclass(frozen=True)
class Kept:
    rows: np.ndarray
    essential: np.ndarray


class Chooses:
    """Keeps the given rows, and returns the true motion or that of ``pose``."""

    def __init__(self, rows: np.ndarray, pose: np.ndarray = MOTION) -> None:
        self.kept = Kept(rows, essential_from_pose(pose))

    def prune(self, matches: Matches, camera0: Camera, camera1: Camera) -> Kept:
        return self.kept


def measure(**pruners) -> dict[str, dict]:
    """The rows of the table by pruner."""
    [table] = pruning_measurement(list(evaluate_pruning(pruners, [pair()])), {}).tables
    return {row["pruner"]: row for row in table.rows}


def test_correct_matches_follow_the_true_motion():
    np.testing.assert_array_equal(true_matches(pair()), np.arange(RIGHT + WRONG) < RIGHT)


def test_precision_recall_and_f_by_hand():
    half = measure(half=Chooses(np.r_[:60, RIGHT : RIGHT + 20]))["half"]  # 60 right and 20 wrong ones
    assert (half["precision"], half["recall"]) == (0.75, 0.5)
    assert half["f_score"] == pytest.approx(0.6)
    assert (half["kept"], half["right"], half["matches"]) == (80, RIGHT, RIGHT + WRONG)
    none = measure(none=Chooses(np.arange(0)))["none"]
    assert (none["precision"], none["recall"], none["f_score"]) == (0, 0, 0)
    assert none["own_auc20"] == none["direct_auc20"] == 0


def test_an_ideal_pruner_leads_to_the_true_pose():
    ideal = measure(ideal=Chooses(np.arange(RIGHT)))["ideal"]
    assert (ideal["precision"], ideal["recall"], ideal["f_score"]) == (1, 1, 1)
    for key in ("direct", "own", "magsac"):
        assert ideal[f"{key}_map5"] == ideal[f"{key}_map20"] == 1
        assert ideal[f"{key}_auc5"] > 0.999


def test_a_wrong_essential_matrix_shows_in_its_own_pose_alone():
    turned = pose_from(exp_so3(np.radians([0, 0, 7.0])) @ MOTION[:3, :3], MOTION[:3, 3])
    row = measure(turned=Chooses(np.arange(RIGHT), turned))["turned"]
    assert row["direct_map5"] == 0
    assert row["direct_map20"] == 0.75  # below 10, 15 and 20 degrees
    assert row["own_map5"] == 1


def test_the_baselines_keep_all_or_what_ransac_finds():
    rows = measure(**BASELINES)
    assert (rows["none"]["recall"], rows["none"]["precision"]) == (1, RIGHT / (RIGHT + WRONG))
    assert rows["none"]["direct_auc20"] == 0  # it knows no pose
    for name in ("own RANSAC", "MAGSAC"):
        assert rows[name]["precision"] > 0.95
        assert rows[name]["recall"] > 0.7
        assert rows[name]["direct_auc20"] > 0.8


def test_mean_average_precision_by_hand():
    errors = [1, 4.9, 5, 12, 180]
    assert mean_average_precision(errors, 5) == 0.4
    assert mean_average_precision(errors, 20) == pytest.approx((0.4 + 0.6 + 0.8 + 0.8) / 4)
    with pytest.raises(EvaluationError, match="no pair"):
        mean_average_precision([], 5)


def test_pairs_without_a_known_direction_are_left_out():
    still = np.eye(4)
    left_out = [replace(pair(), rotation_only=True), replace(pair(), camera1_from_camera0=still)]
    results = list(evaluate_pruning(BASELINES, left_out))
    assert not results
    with pytest.raises(EvaluationError, match="directions are known"):
        pruning_measurement(results, {})
