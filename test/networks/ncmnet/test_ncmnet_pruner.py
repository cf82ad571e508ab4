"""The pruner on scenes of known motion."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ros_matching.datatypes import Camera, DistortionModel, Matches
from ros_matching.errors import ConfigError, DataTypeError, MatchingError
from ros_matching.networks.ncmnet.network import LITE, NCMNet, NCMNetConfig, Pruning, best_rows, ncmnet_lite
from ros_matching.networks.ncmnet.pruner import NCMNetPruner, NCMNetPrunerConfig

CAMERA0 = Camera(640, 480, 500.0, 510.0, 318.0, 242.0)
CAMERA1 = Camera(320, 240, 260.0, 250.0, 161.0, 118.0)
TRANSLATION = np.array([0.4, -0.1, 0.1])


def true_essential() -> np.ndarray:
    x, y, z = TRANSLATION / np.linalg.norm(TRANSLATION)
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])  # no rotation between the cameras


def scene(count: int, wrong: int, seed: int = 0) -> tuple[Matches, np.ndarray]:
    """Exact matches, the last ``wrong`` ones moved off their epipolar lines; and the mask of right ones."""
    random = np.random.default_rng(seed)
    points = random.uniform([-1.0, -0.8, 3.0], [1.0, 0.8, 8.0], (count, 3))
    points0, points1 = CAMERA0.project(points), CAMERA1.project(points + TRANSLATION)
    right = np.arange(count) < count - wrong
    points1[~right, 1] += random.choice([-1, 1], wrong) * random.uniform(20, 60, wrong)
    return Matches(points0, points1, random.random(count), np.arange(count), np.arange(count)[::-1].copy()), right


class Oracle(NCMNet):
    """Gives logits that know which matches are right, in place of trained weights."""

    def __init__(self, right: np.ndarray) -> None:
        super().__init__(LITE)
        self.right = torch.from_numpy(right)

    def forward(self, matches: torch.Tensor) -> Pruning:
        logits = torch.where(self.right, 5.0, -5.0)[None]
        kept1 = best_rows(logits, 0.5)
        kept2 = kept1[:, : kept1.shape[1] // 2]
        final = torch.stack([logits, torch.zeros_like(logits)], dim=2)
        final = final.gather(1, kept2[..., None].expand(-1, -1, 2))
        once, twice = logits.gather(1, kept1), logits.gather(1, kept2)
        return Pruning((logits, logits, once, once, twice), final, kept1, kept2, (), ())


def test_keeps_matches_that_fit_the_estimated_motion() -> None:
    matches, right = scene(200, wrong=120)
    pruned = NCMNetPruner(Oracle(right), NCMNetPrunerConfig(min_kept=0)).prune(matches, CAMERA0, CAMERA1)
    np.testing.assert_array_equal(pruned.rows, np.flatnonzero(right))
    np.testing.assert_array_equal(pruned.matches.indices1, matches.indices1[right])
    np.testing.assert_array_equal(pruned.matches.points1, matches.points1[right])
    np.testing.assert_allclose(pruned.matches.scores, 1 / (1 + np.exp(-5)), rtol=1e-6)
    essential = pruned.essential * np.sign(np.sum(pruned.essential * true_essential()))
    np.testing.assert_allclose(essential, true_essential(), atol=1e-6)


def test_verification_recovers_right_matches_that_the_network_dropped() -> None:
    matches, right = scene(200, wrong=60)
    rated = right.copy()
    rated[:20] = False
    pruned = NCMNetPruner(Oracle(rated), NCMNetPrunerConfig(min_kept=0)).prune(matches, CAMERA0, CAMERA1)
    np.testing.assert_array_equal(pruned.rows, np.flatnonzero(right))
    assert (pruned.matches.scores[:20] < 0.5).all()


def test_confident_matches_are_kept_by_option() -> None:
    matches, right = scene(200, wrong=40)
    rated = right | (np.arange(200) >= 190)  # ten wrong ones get the network's confidence
    both = NCMNetPruner(Oracle(rated)).prune(matches, CAMERA0, CAMERA1)
    np.testing.assert_array_equal(np.isin(np.arange(190, 200), both.rows), True)
    config = NCMNetPrunerConfig(min_confidence=1.0, min_kept=0)
    published = NCMNetPruner(Oracle(right), config).prune(matches, CAMERA0, CAMERA1)
    np.testing.assert_array_equal(published.rows, np.flatnonzero(right))


def test_few_matches_are_pruned_less() -> None:
    """All right ones and the most confident of the others are kept, up to the limit."""
    matches, right = scene(200, wrong=120)
    for least in (0, 60, 100, 300):
        config = NCMNetPrunerConfig(min_kept=least)
        pruned = NCMNetPruner(Oracle(right), config).prune(matches, CAMERA0, CAMERA1)
        assert len(pruned.rows) == np.clip(least, 80, 200)
        assert np.isin(np.flatnonzero(right), pruned.rows).all()


def test_the_residual_limit_is_that_of_the_configuration() -> None:
    matches, right = scene(200, wrong=40)
    points1 = matches.points1 + np.random.default_rng(1).normal(0, 0.3, (200, 2))
    noisy = replace(matches, points1=points1)
    counts = [
        len(
            NCMNetPruner(Oracle(right), NCMNetPrunerConfig(limit, min_confidence=1.0, min_kept=0))
            .prune(noisy, CAMERA0, CAMERA1)
            .matches
        )
        for limit in (1e-7, 1e-6, 1e-4)
    ]
    assert 0 < counts[0] < counts[1] < counts[2] <= 200


def test_runs_with_either_network_and_is_repeatable() -> None:
    torch.manual_seed(0)
    matches, _ = scene(120, wrong=30)
    for network in (NCMNet(), ncmnet_lite()):
        pruner = NCMNetPruner(network)
        first, second = (pruner.prune(matches, CAMERA0, CAMERA1) for _ in range(2))
        np.testing.assert_array_equal(first.rows, second.rows)
        np.testing.assert_array_equal(first.essential, second.essential)
        np.testing.assert_allclose(np.linalg.svd(first.essential)[1], [1, 1, 0], atol=1e-12)


def test_too_few_matches_are_no_result() -> None:
    pruner = NCMNetPruner(ncmnet_lite())
    assert pruner.min_matches == 36
    matches, _ = scene(36, wrong=0)
    assert pruner.prune(matches, CAMERA0, CAMERA1) is not None
    assert pruner.prune(matches.select(np.arange(35)), CAMERA0, CAMERA1) is None


def test_refuses_invalid_matches() -> None:
    pruner = NCMNetPruner(ncmnet_lite())
    matches, _ = scene(50, wrong=0)
    matches.points1[7, 0] = np.nan
    with pytest.raises(MatchingError, match="1 of 50 are not"):
        pruner.prune(matches, CAMERA0, CAMERA1)
    with pytest.raises(ConfigError, match="multiple of 3"):
        NCMNetConfig(fine_neighbours=5)
    with pytest.raises(ConfigError, match="max_residual"):
        NCMNetPrunerConfig(max_residual=0.0)


def test_refuses_cameras_that_still_distort() -> None:
    matches, _ = scene(50, wrong=0)
    bent = replace(CAMERA0, distortion_model=DistortionModel.PLUMB_BOB, distortion=(0.1, 0.0, 0.0, 0.0, 0.0))
    with pytest.raises(DataTypeError, match="undistort"):
        NCMNetPruner(ncmnet_lite()).prune(matches, bent, CAMERA1)
