"""Training data of NCMNet: exact motions, reproducible by seed, and effective supervision."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from descent import assert_descends
from torch.utils.data import default_collate

from ros_matching.errors import TrainingError
from ros_matching.geometry.se3 import exp_so3, pose_from
from ros_matching.training.ncmnet import LitePruning, PruningConfig, average_precision, precision_recall
from ros_matching.training.ncmnet_losses import INLIER_RESIDUAL
from ros_matching.training.ncmnet_matches import (
    PutativeMatches,
    compact,
    synthetic_matches,
    varied,
    virtual_matches,
    with_moving_body,
)
from ros_matching.training.ncmnet_pairs import (
    MatchSet,
    known_pose_views,
    load_matches,
    putative_matcher,
    putative_matches,
    save_matches,
)
from ros_matching.training.recipe import DataFolder
from ros_matching.training.rendered_views import WorldViews, WorldViewsConfig

POSE = pose_from(exp_so3(np.array([0.1, -0.2, 0.05])), np.array([0.4, 0.1, -0.2]))
GRID = np.stack(np.meshgrid(np.arange(-1, 1, 0.1), np.arange(-1, 1, 0.1)), axis=-1).reshape(1, -1, 2)


def exact_matches(count: int = 200, seed: int = 0) -> PutativeMatches:
    points = np.random.default_rng(seed).uniform([-1, -1, 2], [1, 1, 6], (count, 3))
    moved = points @ POSE[:3, :3].T + POSE[:3, 3]
    return PutativeMatches(np.concatenate([points[:, :2] / points[:, 2:], moved[:, :2] / moved[:, 2:]], axis=1), POSE)


def recipe(tmp_path, **settings) -> LitePruning:
    settings = {"batch_size": 2, "matches": 96, "min_matches": 96, "synthetic": 1.0, **settings}
    return LitePruning(PruningConfig(**settings), DataFolder(tmp_path))


def test_variations_keep_right_matches_right_and_wrong_ones_as_wrong():
    pair = exact_matches()
    pair.matches[:50, 3] += 0.1
    assert (pair.residuals[50:] < 1e-20).all()
    assert (pair.residuals[:50] > INLIER_RESIDUAL).mean() > 0.9
    for other in (pair.mirrored(), pair.swapped(), pair.rolled(0.4, -0.3)):
        np.testing.assert_allclose(other.residuals, pair.residuals, atol=1e-12)
        assert np.linalg.det(other.camera1_from_camera0[:3, :3]) == pytest.approx(1)


@pytest.mark.parametrize("there", [40, 500])
def test_varied_pairs_have_the_given_number_of_matches(there):
    for seed in range(6):
        pair = varied(exact_matches(there), 120, np.random.default_rng(seed))
        right = np.count_nonzero(pair.residuals < INLIER_RESIDUAL)
        assert pair.matches.shape == (120, 4)
        assert 0.3 * min(there, 120) < right


def test_virtual_matches_are_exact_and_the_nearest_to_the_grid():
    essential = exact_matches().essential
    found = virtual_matches(essential)
    assert PutativeMatches(found, POSE).residuals.max() < 1e-20
    best = np.concatenate([p[0] for p in cv2.correctMatches(essential, GRID, GRID)], axis=1)
    moved, least = (np.linalg.norm(m - np.tile(GRID[0], 2), axis=1) for m in (found, best))
    assert np.median(moved / np.maximum(least, 1e-9)) < 1.01
    assert np.percentile(moved - least, 95) < 0.01


def test_synthetic_matches_are_partly_right_and_repeatable():
    shares = []
    for seed in range(40):
        pair = synthetic_matches(200, np.random.default_rng(seed))
        assert pair.matches.shape == (200, 4)
        assert np.isfinite(pair.matches).all()
        shares.append(np.mean(pair.residuals < INLIER_RESIDUAL))
    assert np.percentile(shares, 10) < 0.35 < 0.65 < np.percentile(shares, 90)
    again = synthetic_matches(200, np.random.default_rng(39))
    np.testing.assert_array_equal(again.matches, pair.matches)


def test_a_compact_part_of_an_image_has_no_other_points_within():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        points = rng.uniform(-1, 1, (400, 2))
        inside = compact(points, rng)
        assert 0.09 < inside.mean() < 0.61
        hull = cv2.convexHull(points[inside].astype(np.float32))
        others = [cv2.pointPolygonTest(hull, tuple(map(float, point)), False) for point in points[~inside]]
        assert max(others) < 0


def test_a_moving_body_replaces_the_matches_it_covers():
    pair = exact_matches(200, seed=0)
    other = PutativeMatches(exact_matches(150, seed=1).rolled(0.0, 0.3).matches, np.eye(4))
    points = np.concatenate([pair.matches[:, :2], other.matches[:, :2]])
    covered = np.linalg.norm(points, axis=1) < 0.25
    moving = with_moving_body(pair, other, covered)
    assert len(moving.matches) == np.count_nonzero(~covered[:200]) + np.count_nonzero(covered[200:])
    of_body = np.linalg.norm(moving.matches[:, :2], axis=1) < 0.25
    assert (moving.residuals[~of_body] < INLIER_RESIDUAL).all()
    assert (moving.residuals[of_body] > INLIER_RESIDUAL).mean() > 0.8


@pytest.mark.parametrize("name", ["sift", "posfeat_lite", "posfeat_lite+ncnet_lite"])
def test_rendered_views_are_matched_under_their_true_motion(name):
    config = WorldViewsConfig(views=3, width=192, height=144, groups=1, group_views=3, distort=False, seed=4)
    views = known_pose_views(WorldViews(config=config).sample(0))
    for pair in putative_matches(views, [(0, 1), (0, 2)], putative_matcher(name, 500)):
        assert len(pair.matches) > 30
        assert np.mean(pair.residuals < INLIER_RESIDUAL) > 0.4


def test_an_unknown_matcher_is_refused():
    with pytest.raises(TrainingError, match="surf"):
        putative_matcher("surf", 500)


def test_matches_are_read_as_they_were_written_and_only_by_the_same_settings(tmp_path):
    pairs = MatchSet([exact_matches(30), exact_matches(50, seed=1)], [exact_matches(20, seed=2)])
    save_matches(tmp_path / "sub" / "pairs.npz", pairs, {"seed": 0})
    found = load_matches(tmp_path / "sub" / "pairs.npz", {"seed": 0})
    for one, other in zip([*found.training, *found.validation], [*pairs.training, *pairs.validation], strict=True):
        np.testing.assert_allclose(one.matches, other.matches, atol=1e-6)
        np.testing.assert_array_equal(one.camera1_from_camera0, other.camera1_from_camera0)
    with pytest.raises(TrainingError, match="name another file"):
        load_matches(tmp_path / "sub" / "pairs.npz", {"seed": 1})


def test_samples_depend_on_their_number_alone(tmp_path):
    one, other = recipe(tmp_path), recipe(tmp_path)
    other.sample(3)
    for key, value in one.sample(5).items():
        torch.testing.assert_close(value, other.sample(5)[key], rtol=0, atol=0)
    assert not torch.equal(one.sample(5)["matches"], one.sample(6)["matches"])


def test_the_samples_of_a_step_have_as_many_matches_and_those_of_others_another_number(tmp_path):
    it = recipe(tmp_path, matches=300, min_matches=100)
    counts = [[len(it.sample(2 * step + sample)["matches"]) for sample in range(2)] for step in range(8)]
    assert all(one == other for one, other in counts)
    assert len({one for one, _ in counts}) > 4
    assert all(100 <= one <= 300 for one, _ in counts)


def test_precision_and_recall_of_the_kept_and_of_the_most_confident():
    right = np.array([True, False, True, True])
    np.testing.assert_allclose(precision_recall(np.array([True, True, True, False]), right), [2 / 3, 2 / 3, 2 / 3])
    assert average_precision(np.array([0.9, 0.1, 0.8, 0.7]), right) == 1
    assert average_precision(np.array([0.7, 0.9, 0.8, 0.1]), right) == pytest.approx((1 / 2 + 2 / 3 + 3 / 4) / 3)
    assert average_precision(np.ones(4), np.zeros(4, bool)) == 0


def test_supervised_preliminary_weights_learn(tmp_path):
    torch.manual_seed(0)
    for weight, learns in ((0.0, False), (0.3, True)):
        it = recipe(tmp_path, preliminary_weight=weight)
        network = it.make_network().train()
        it.loss(network, default_collate([it.sample(i) for i in range(2)]))[0].backward()
        gradient = network.coarse.round1.preliminary.weight.grad
        assert (gradient is not None and bool(gradient.any())) is learns


def test_the_geometry_begins_to_count_after_the_first_steps(tmp_path):
    it = recipe(tmp_path, geometry_after=10, preliminary_weight=0.0, geometry_weight=2.0)
    torch.manual_seed(0)
    network = it.make_network().eval()
    losses = []
    for number in (19, 20):
        batch = default_collate([it.sample(0) | {"number": torch.tensor(number)}] * 2)
        losses.append(it.loss(network, batch))
    (before, numbers), (after, _) = losses
    torch.testing.assert_close(before.detach().float(), numbers["classification"])
    torch.testing.assert_close((after - before).detach(), 2 * numbers["geometry"])


def test_the_loss_falls_along_its_gradient(tmp_path):
    it = recipe(tmp_path, preliminary_weight=0.0, matches=64, min_matches=64)
    torch.manual_seed(0)
    network = it.make_network().train().double()
    batch = default_collate([it.sample(i) for i in range(2)])
    batch = {name: values.double() if values.is_floating_point() else values for name, values in batch.items()}

    def loss() -> torch.Tensor:
        torch.manual_seed(1)
        return it.loss(network, batch)[0]

    assert_descends(network.parameters(), loss)
