"""Measures of keypoints and matches against a homography that is known exactly."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from ros_matching import load_matcher
from ros_matching.datatypes import Features, Matches
from ros_matching.errors import EvaluationError
from ros_matching.evaluation.pairs.repeatability import (
    MMA_THRESHOLDS_PX,
    WarpedPair,
    evaluate_features,
    feature_figures,
    features_measurement,
    random_homography,
    repeatability,
    warped_pair,
    warped_pairs,
)
from ros_matching.geometry.homography import map_points

SHIFT = np.array([[1.0, 0, 20], [0, 1, 0], [0, 0, 1]])


def photo(seed: int = 0, height: int = 240, width: int = 320) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


class Oracle:
    """Finds the same points in both images of a pair, in the second one ``off_px`` to the right of where they are."""

    def __init__(self, pair: WarpedPair, off_px: float = 0.0, count: int = 200) -> None:
        height, width = pair.image0.shape[:2]
        points0 = np.random.default_rng(0).uniform(0, [width - 1, height - 1], (count, 2))
        points1 = map_points(pair.homography1_from_0, points0) + np.array([off_px, 0])
        self.points = {id(pair.image0): points0, id(pair.image1): points1}

    def extract(self, image: np.ndarray) -> Features:
        points = self.points[id(image)]
        return Features(points, np.ones(len(points)), np.zeros((len(points), 1)), "oracle")

    def match(self, features0, features1, camera0=None, camera1=None) -> Matches:
        rows = np.arange(len(features0))
        return Matches(features0.keypoints, features1.keypoints, np.ones(len(rows)), rows, rows)


def shifted(pixels: int = 20) -> WarpedPair:
    """A pair of a plain shift to the right, all of image 1 counted as visible."""
    image = photo()
    return WarpedPair(image, np.roll(image, pixels, axis=1), SHIFT, np.ones(image.shape[:2], bool))


def test_ideal_matches_are_all_right():
    pair = warped_pair(photo(), np.random.default_rng(3))
    [figures] = feature_figures(evaluate_features({"oracle": Oracle(pair)}, [pair]))
    assert figures.mma == pytest.approx(np.ones(10))
    assert (figures.mma_score, figures.repeatability) == pytest.approx((1, 1))
    assert 0.3 * 200 < figures.keypoints < 200
    assert figures.matches == figures.keypoints  # only what image 1 shows counts


def test_matches_that_are_off_count_from_their_distance_on():
    pair = shifted()
    oracle = Oracle(pair, off_px=3.5)
    [figures] = feature_figures(evaluate_features({"oracle": oracle}, [pair]))
    np.testing.assert_allclose(figures.mma, MMA_THRESHOLDS_PX > 3)
    weights = 2 - 0.1 * np.arange(1, 11)
    assert figures.mma_score == pytest.approx(weights[3:].sum() / weights.sum())


def test_a_match_of_what_the_other_image_does_not_show_is_wrong():
    pair = shifted()
    oracle = Oracle(pair)
    points1 = oracle.points[id(pair.image1)]
    gone = points1[:, 0] > 319  # out of image 1
    points1[gone] = 100
    [figures] = feature_figures(evaluate_features({"oracle": oracle}, [pair]))
    assert gone.sum() > 0
    np.testing.assert_allclose(figures.mma, 1 - gone.mean())


def test_a_pair_without_matches_counts_zero():
    pair = shifted()
    results = [
        result for count in (0, 100) for result in evaluate_features({"oracle": Oracle(pair, count=count)}, [pair])
    ]
    [figures] = feature_figures(results)
    np.testing.assert_allclose(figures.mma, 0.5)
    assert figures.repeatability == 1  # not defined without keypoints
    with pytest.raises(EvaluationError, match="no pair"):
        feature_figures([])


def test_repeatability_by_hand():
    points0 = np.array([[10.0, 10], [50, 50], [90, 90]])
    points1 = np.array([[30.0, 12], [70, 50], [200, 200], [31, 10]])
    # Two of image 0's points and three of image 1's have a counterpart within 3 px.
    assert repeatability(points0, points1, SHIFT, 3) == pytest.approx(5 / 7)
    assert repeatability(points0, points1[:0], SHIFT, 3) == 0
    assert np.isnan(repeatability(points0[:0], points1[:0], SHIFT, 3))


@pytest.mark.parametrize("seed", range(5))
def test_a_warped_photo_shows_what_its_homography_says(seed):
    image = cv2.cvtColor(cv2.cvtColor(photo(seed), cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    pair = warped_pair(image, np.random.default_rng(seed))
    assert pair.image1.shape == image.shape
    v, u = np.nonzero(pair.visible1)
    assert len(u) > 0.15 * pair.visible1.size
    points0 = map_points(np.linalg.inv(pair.homography1_from_0), np.column_stack([u, v]).astype(float))
    expected = map_coordinates(image[:, :, 0].astype(float), points0.T[::-1], order=1)
    correlation = np.corrcoef(expected, pair.image1[v, u, 0])[0, 1]
    assert correlation > 0.97  # gamma bends it, and there is noise
    assert (points0 >= -0.5).all()
    assert (points0 <= np.array([319.5, 239.5])).all()


def test_homographies_keep_enough_of_the_image_and_are_the_same_for_the_same_seed():
    for seed in range(20):
        homography = random_homography(320, 240, np.random.default_rng(seed))
        np.testing.assert_array_equal(homography, random_homography(320, 240, np.random.default_rng(seed)))
        u, v = np.meshgrid(np.arange(320.0), np.arange(240.0))
        mapped = map_points(homography, np.column_stack([u.ravel(), v.ravel()]))
        inside = ((mapped >= 0) & (mapped <= (319, 239))).all(axis=1)
        assert inside.mean() > 0.35


def test_sift_on_photos_makes_a_table(tmp_path):
    paths = []
    for seed in range(2):
        paths.append(tmp_path / f"{seed}.png")
        cv2.imwrite(str(paths[-1]), photo(seed))
    results = list(evaluate_features({"sift": load_matcher("sift")}, warped_pairs(paths, 200, seed=1)))
    assert len(results) == 2
    [table] = features_measurement(results, {}).tables
    [row] = table.rows
    assert row["mma3"] > 0.7
    assert row["repeatability"] > 0.3
    assert "MMAscore" in table.markdown()
