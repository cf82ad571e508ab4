"""The compact head's affine fit against warps whose correlation is known."""

from __future__ import annotations

import pytest
import torch

from ros_matching.networks.cnn_geometric.compact import CompactHead
from ros_matching.networks.cnn_geometric.network import correlate, normalize
from ros_matching.networks.cnn_geometric.transforms import transform_points, unit_grid

AFFINE = torch.tensor([[0.9, 0.1, 0.15, -0.12, 1.05, -0.1]])


def place_features(points: torch.Tensor) -> torch.Tensor:
    """Unit vectors (1, C, 15, 15) that tell the place (1, 225, 2) they stand for and are unlike those of others."""
    generator = torch.Generator().manual_seed(0)
    frequencies = 6 * torch.randn(2, 256, generator=generator)
    phase = points @ frequencies
    features = torch.cat([phase.sin(), phase.cos()], dim=-1)
    return normalize(features.transpose(1, 2).unflatten(2, (15, 15)))


def ideal_correlation() -> torch.Tensor:
    grid = unit_grid(15, 15, like=AFFINE)[None]
    source, target = place_features(grid), place_features(transform_points("affine", AFFINE, grid))
    return normalize(correlate(source, target).relu())


@pytest.mark.parametrize("model", ["affine", "homography", "homography_matrix", "tps"])
def test_an_untrained_head_finds_an_affine_warp_in_every_model(model: str) -> None:
    head = CompactHead(model).eval()
    with torch.no_grad():
        head.linear.weight.zero_()
        theta = head(ideal_correlation())
    points = unit_grid(7, 7, like=theta)[None]
    expected = transform_points("affine", AFFINE, points)
    assert (transform_points(model, theta, points) - expected).norm(dim=-1).max() < 0.06


def test_cells_without_a_match_do_not_bend_the_fit() -> None:
    correlation = ideal_correlation()
    generator = torch.Generator().manual_seed(1)
    outliers = torch.rand(15, 15, generator=generator) < 0.3
    wrong = correlation.flatten(2)[..., torch.randperm(225, generator=generator)].view_as(correlation)
    head = CompactHead("affine").eval()
    with torch.no_grad():
        head.linear.weight.zero_()
        theta = head(torch.where(outliers, wrong, correlation))
    points = unit_grid(7, 7, like=theta)[None]
    error = (transform_points("affine", theta, points) - transform_points("affine", AFFINE, points)).norm(dim=-1)
    assert error.max() < 0.08


def test_nothing_that_matches_gives_the_identity_at_worst() -> None:
    head = CompactHead("affine").eval()
    with torch.no_grad():
        head.linear.weight.zero_()
        theta = head(torch.full((1, 225, 15, 15), 1 / 15))
    assert torch.isfinite(theta).all()


def test_only_what_is_learned_is_kept() -> None:
    assert all(key.startswith(("body.", "linear.")) for key in CompactHead("tps").state_dict())
