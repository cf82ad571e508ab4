"""Measures of alignment against transformations that are known exactly."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from ros_matching import load_matcher
from ros_matching.datatypes import ImageTransform
from ros_matching.errors import EvaluationError
from ros_matching.evaluation.pairs.image_alignment import (
    MODELS,
    alignment_measurement,
    alignment_pair,
    alignment_pairs,
    evaluate_alignment,
    grid_error,
    homography_of,
    identity,
    leave,
    random_transform,
)

SIZE = (160, 120)


def photo(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (330, 420, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 4), None, 0, 255, cv2.NORM_MINMAX)


def pair(model: str, seed: int = 0):
    return alignment_pair(photo(seed), model, SIZE, np.random.default_rng(seed))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_the_ground_truth_aligns_the_images(model, seed):
    made = pair(model, seed)
    assert made.image0.shape == made.image1.shape == (SIZE[1], SIZE[0], 3)
    v, u = np.mgrid[: SIZE[1], : SIZE[0]].reshape(2, -1)
    mapped = made.truth.map_points(np.column_stack([u, v]).astype(float))
    inside = ((mapped >= 1) & (mapped <= np.array(SIZE) - 2)).all(axis=1)
    assert inside.mean() > 0.3
    expected = map_coordinates(made.image1[:, :, 0].astype(float), mapped[inside].T[::-1], order=1)
    difference = expected - made.image0[v[inside], u[inside], 0]
    assert np.abs(difference).mean() < 4  # of 256 grey levels: interpolated twice
    assert grid_error(made.truth, made) == 0


def test_an_error_is_a_fraction_of_the_side():
    made = pair("affine")
    shift = np.array([[1, 0, 0.1 * (SIZE[0] - 1)], [0, 1, 0], [0, 0, 1]])
    moved = replace(made.truth, image1_from_image0=shift @ made.truth.image1_from_image0)
    assert grid_error(moved, made) == pytest.approx(0.1)


def test_doing_nothing_costs_what_the_transformations_move():
    rng = np.random.default_rng(0)
    region = identity(np.zeros((120, 160, 3))).region0
    plain = replace(pair("affine"), truth=ImageTransform(np.eye(3), region))
    assert grid_error(identity(plain.image0), plain) == 0
    for model in MODELS:
        errors = [
            grid_error(identity(plain.image0), replace(plain, truth=random_transform(model, SIZE, rng)))
            for _ in range(50)
        ]
        assert 0.05 < np.mean(errors) < 0.3


def test_a_failure_counts_as_doing_nothing():
    made = pair("homography")
    nothing, failed = evaluate_alignment({"none": leave, "fails": lambda image0, image1: None}, [made])
    assert failed.failed
    assert not nothing.failed
    assert failed.error == nothing.error > 0.02


def test_sift_finds_a_homography(tmp_path):
    paths = []
    for seed in range(2):
        paths.append(tmp_path / f"{seed}.png")
        cv2.imwrite(str(paths[-1]), photo(seed))
    pairs = list(alignment_pairs(paths, ("affine", "homography"), (320, 240)))
    aligners = {"none": leave, "sift": homography_of(load_matcher("sift"))}
    measurement = alignment_measurement(list(evaluate_alignment(aligners, pairs)), {})
    [table] = measurement.tables
    by_name = {(row["model"], row["aligner"]): row for row in table.rows}
    assert by_name["all", "sift"]["pairs"] == 4
    assert by_name["affine", "sift"]["median"] < 0.01 < by_name["affine", "none"]["median"]
    assert [panel.title for panel in measurement.panels] == ["affine", "homography"]
    with pytest.raises(EvaluationError, match="no pair"):
        alignment_measurement([], {})


def test_pairs_are_the_same_for_the_same_seed(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), photo())
    first, again, other = (
        next(iter(alignment_pairs([tmp_path / "a.png"], models, SIZE, seed)))
        for models, seed in ((("tps",), 3), (("tps", "affine"), 3), (("tps",), 4))
    )
    np.testing.assert_array_equal(first.image0, again.image0)
    assert not np.array_equal(first.image0, other.image0)
