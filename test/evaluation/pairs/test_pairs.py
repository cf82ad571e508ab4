"""Relative-pose accuracy against cameras and points whose geometry is known exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from ros_matching.datatypes import Camera, Features, Frame, Matches
from ros_matching.errors import EvaluationError
from ros_matching.evaluation.data_split import PairSet
from ros_matching.evaluation.pairs.matched_pairs import evaluate_pairs, reduced
from ros_matching.evaluation.pairs.pairs_report import pairs_measurement
from ros_matching.evaluation.pairs.pose_auc import auc_deviation, pair_figures, pose_auc, recall_curve
from ros_matching.evaluation.pairs.pose_errors import pose_error
from ros_matching.geometry.se3 import exp_so3, invert, pose_from, transform

CAMERA = Camera(640, 480, 500.0, 510.0, 318.0, 242.0)
POINTS = np.random.default_rng(0).uniform([-3, -2, 4], [3, 2, 9], (200, 3))


def pose_at(row: int) -> np.ndarray:
    """A camera that goes round the points."""
    return pose_from(exp_so3(np.array([0.01, -0.05, 0.02]) * row), np.array([0.2, 0.05, 0.03]) * row)


class Walk:
    """A source whose images carry nothing but their row, in every pixel."""

    name = "walk"
    camera = CAMERA

    def __init__(self, count: int = 10, unknown: frozenset[int] = frozenset(), step: float = 1.0) -> None:
        self.count, self.unknown, self.step = count, unknown, step

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Frame]:
        for row in range(self.count):
            image = np.full((CAMERA.height, CAMERA.width, 3), row, np.uint8)
            yield Frame(row, row, image, CAMERA, None if row in self.unknown else pose_at(row * self.step))


class Oracle:
    """Matches true projections; odd frames are assumed to be rotated by ``turned_deg``."""

    def __init__(self, turned_deg: float = 0.0, outliers: float = 0.0) -> None:
        self.turned_deg, self.outliers = turned_deg, outliers
        self.extracted: list[int] = []

    def extract(self, image: np.ndarray) -> Features:
        row = int(image[0, 0, 0])
        self.extracted.append(row)
        camera = CAMERA.scaled(image.shape[1], image.shape[0])
        seen = transform(invert(pose_at(row)), POINTS)
        if row % 2:
            seen = seen @ exp_so3(np.radians([0, 0, self.turned_deg])).T
        rng, points = np.random.default_rng(row), camera.project(seen)
        wrong = rng.random(len(points)) < self.outliers
        points[wrong] = rng.uniform(0, [camera.width, camera.height], (int(wrong.sum()), 2))
        return Features(points, np.ones(len(POINTS)), np.arange(len(POINTS))[:, None], "oracle")

    def match(
        self, features0: Features, features1: Features, camera0: Camera | None = None, camera1: Camera | None = None
    ) -> Matches:
        rows = np.arange(len(features0))
        return Matches(features0.keypoints, features1.keypoints, np.ones(len(rows)), rows, rows)


class Blind(Oracle):
    def match(self, features0, features1, camera0=None, camera1=None) -> Matches:
        return super().match(features0, features1).select(np.arange(0))


@pytest.mark.parametrize(
    ("errors", "auc"),
    [
        ([180, 180], 0.0),
        ([0, 0, 0], 1.0),
        ([2.5], 0.75),  # recall rises to 1 at half of the way
        ([3, 180, 8, 1], 0.375),  # (0.25 / 2 * 1 + 0.375 * 2 + 0.5 * 2) / 5
        ([5.0], 0.0),  # an error of the threshold itself is not below it
    ],
)
def test_area_under_the_recall_curve_by_hand(errors, auc):
    assert pose_auc(errors, 5) == pytest.approx(auc)


def test_the_curve_holds_what_the_area_is_made_of():
    x, y = recall_curve([1, 3, 8, 180], 5)
    np.testing.assert_allclose(x, [0, 1, 3, 5])
    np.testing.assert_allclose(y, [0, 0.25, 0.5, 0.5])
    with pytest.raises(EvaluationError, match="no pair"):
        recall_curve([], 5)


def test_the_deviation_is_that_of_the_mean():
    """Of errors of either 0 or 180 degrees the area is a share, whose deviation is known."""
    errors = np.where(np.arange(100) < 36, 0.0, 180.0)
    assert auc_deviation(errors, 5) == pytest.approx(np.sqrt(0.36 * 0.64 / 100), rel=0.15)
    assert auc_deviation([1.0] * 10, 5) == pytest.approx(0)


def test_an_error_is_the_angle_that_a_pose_is_off():
    truth = pose_at(3)
    turned = pose_from(truth[:3, :3] @ exp_so3(np.radians([0, 7, 0])), 5 * truth[:3, 3])
    error = pose_error(turned, truth)
    assert (error.rotation_deg, error.translation_deg) == pytest.approx((7, 0), abs=1e-6)
    opposite = pose_from(truth[:3, :3], -truth[:3, 3])
    assert pose_error(opposite, truth).worst_deg == pytest.approx(180)
    assert pose_error(opposite, truth, rotation_only=True).worst_deg == pytest.approx(0, abs=1e-6)
    assert pose_error(None, truth).worst_deg == 180
    assert pose_error(None, truth, rotation_only=True).worst_deg == 180


@pytest.mark.parametrize("size_px", [640, 333])
def test_perfect_matches_have_no_error_at_any_size(size_px):
    pair_set = PairSet("walk", (1, 3), part="all")
    results = list(evaluate_pairs({"oracle": Oracle()}, Walk(), pair_set, size_px=size_px))
    assert [(result.gap, *result.frames) for result in results[:4]] == [(1, 0, 1), (1, 1, 2), (1, 2, 3), (3, 0, 3)]
    whole, gap1, gap3 = pair_figures(results)
    assert (whole.gaps, whole.pairs, gap1.pairs, gap3.pairs) == ((1, 3), 16, 9, 7)
    assert (whole.precision, whole.matches) == (1, 200)
    for pose in whole.poses.values():
        assert pose.auc[5] > 0.999
        assert pose.inliers == 200


def test_wrong_matches_are_counted():
    outliers = Oracle(outliers=0.3)
    [figures] = pair_figures(evaluate_pairs({"oracle": outliers}, Walk(), PairSet("walk", (3,), part="all")))
    assert figures.precision == pytest.approx(0.7**2, abs=0.05)  # both points must be right
    assert figures.poses["own"].inliers == pytest.approx(200 * 0.7**2, abs=15)
    assert figures.poses["own"].auc[5] > 0.85


def test_frames_are_extracted_once_and_only_those_held_out():
    oracle = Oracle()
    results = list(evaluate_pairs({"oracle": oracle}, Walk(20), PairSet("walk", (1, 2))))
    assert oracle.extracted == [16, 17, 18, 19]
    assert sorted(result.frames for result in results) == [(16, 17), (16, 18), (17, 18), (17, 19), (18, 19)]


def test_a_wrong_rotation_is_detected():
    results = list(evaluate_pairs({"turned": Oracle(6.0)}, Walk(), PairSet("walk", (1, 2), part="all")))
    figures = {one.gaps: one.poses["own"] for one in pair_figures(results)}
    assert figures[1,].rotation_deg == pytest.approx(6, abs=0.5)
    assert figures[1,].auc[5] == 0
    assert figures[1,].auc[20] == pytest.approx(1 - 6 / 20, abs=0.05)  # all pairs alike: a step at 6 degrees
    assert figures[2,].rotation_deg < 0.5
    assert figures[2,].auc[5] == pytest.approx(0.5)  # where both frames are turned, so is the direction


def test_without_matches_every_pose_fails_and_without_pairs_there_is_an_error():
    [figures] = pair_figures(evaluate_pairs({"blind": Blind()}, Walk(), PairSet("walk", (1,), part="all")))
    assert figures.matches == 0
    assert np.isnan(figures.precision)
    assert figures.poses["own"].auc == figures.poses["magsac"].auc == {5: 0, 10: 0, 20: 0}
    assert figures.poses["own"].rotation_deg == 180
    with pytest.raises(EvaluationError, match="too few frames"):
        list(evaluate_pairs({"oracle": Oracle()}, Walk(5), PairSet("walk", (1,))))
    with pytest.raises(EvaluationError, match="no pair of frames with true poses"):
        list(evaluate_pairs({"oracle": Oracle()}, Walk(5, frozenset(range(1, 5))), PairSet("walk", (1,), part="all")))


def test_pairs_without_ground_truth_or_motion_do_not_count():
    still = PairSet("walk", (1,), part="all")
    results = list(evaluate_pairs({"oracle": Oracle()}, Walk(unknown=frozenset({4})), still))
    assert len(results) == 7
    results.append(replace(results[0], distance=1e-4 * results[0].distance))
    assert pair_figures(results)[0].pairs == 7


def test_where_the_ground_truth_is_noisy_only_rotation_counts():
    pair_set = PairSet("walk", (1,), rotation_only=True, part="all")
    [figures] = pair_figures(evaluate_pairs({"oracle": Oracle()}, Walk(), pair_set))
    assert np.isnan(figures.poses["own"].translation_deg)
    assert np.isnan(figures.precision)
    assert figures.poses["own"].auc[5] > 0.99


def test_the_report_has_a_table_by_gap_only_where_there_are_several():
    def measure(*gaps: int):
        matchers = {"oracle": Oracle(), "blind": Blind()}
        return pairs_measurement(
            list(evaluate_pairs(matchers, Walk(), PairSet("walk", gaps, part="all"))), {"size_px": 640}
        )

    whole, by_gap = measure(1, 2).tables
    assert [(row["matcher"], row["gaps"]) for row in whole.rows] == [("oracle", "1 2"), ("blind", "1 2")]
    assert [row["gaps"] for row in by_gap.rows] == ["1", "1", "2", "2"]
    assert "AUC@5" in whole.markdown()
    [single] = measure(2).tables
    assert len(single.rows) == 2
    [panel] = measure(2).panels
    assert list(panel.lines) == ["oracle", "blind"]


def test_images_are_reduced_but_never_enlarged():
    image = np.zeros((360, 540, 3), np.uint8)
    assert reduced(image, 640) is image
    assert reduced(image, 270).shape == (180, 270, 3)
