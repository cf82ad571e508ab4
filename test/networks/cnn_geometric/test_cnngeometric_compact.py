"""The compact head's affine fit against warps whose correlation is known."""

from __future__ import annotations

import pytest
import torch

from ros_matching.networks.cnn_geometric.network import CompactHead, correlate, normalize
from ros_matching.networks.cnn_geometric.transforms import identity, transform_points, unit_grid

AFFINE = torch.tensor([[0.9, 0.1, 0.15, -0.12, 1.05, -0.1]])


def place_features(points: torch.Tensor) -> torch.Tensor:
    """Unit vectors (1, C, 15, 15) that encode their position (1, 225, 2) and differ from those of others."""
    generator = torch.Generator().manual_seed(0)
    frequencies = 6 * torch.randn(2, 256, generator=generator)
    phase = points @ frequencies
    features = torch.cat([phase.sin(), phase.cos()], dim=-1)
    return normalize(features.transpose(1, 2).unflatten(2, (15, 15)))


def ideal_correlation(model: str = "affine", theta: torch.Tensor = AFFINE) -> torch.Tensor:
    grid = unit_grid(15, 15, like=AFFINE)[None]
    source, target = place_features(grid), place_features(transform_points(model, theta, grid))
    return normalize(correlate(source, target).relu())


def distance(model: str, theta: torch.Tensor, true_model: str, true_theta: torch.Tensor) -> float:
    """The mean over a grid of points that the source shows."""
    points = unit_grid(9, 9, like=theta)[None]
    expected = transform_points(true_model, true_theta, points)
    seen = (expected.abs() < 0.95).all(dim=-1)
    return float((transform_points(model, theta, points) - expected).norm(dim=-1)[seen].mean())


@pytest.mark.parametrize("model", ["affine", "homography", "homography_matrix", "tps"])
def test_an_untrained_head_finds_an_affine_warp_in_every_model(model: str) -> None:
    head = CompactHead(model).eval()
    with torch.no_grad():
        theta = head(ideal_correlation())
    assert distance(model, theta, "affine", AFFINE) < 0.03


@pytest.mark.parametrize("model", ["homography", "tps"])
def test_an_untrained_head_finds_a_warp_of_its_own_model(model: str) -> None:
    generator = torch.Generator().manual_seed(2)
    start = identity(model)
    true = (start + 0.25 * (2 * torch.rand(len(start), generator=generator) - 1))[None]
    with torch.no_grad():
        theta = CompactHead(model).eval()(ideal_correlation(model, true))
    assert distance(model, theta, model, true) < 0.03


def test_cells_without_a_match_do_not_bend_the_fit() -> None:
    correlation = ideal_correlation()
    generator = torch.Generator().manual_seed(1)
    outliers = torch.rand(15, 15, generator=generator) < 0.3
    wrong = correlation.flatten(2)[..., torch.randperm(225, generator=generator)].view_as(correlation)
    head = CompactHead("affine").eval()
    with torch.no_grad():
        theta = head(torch.where(outliers, wrong, correlation))
    assert distance("affine", theta, "affine", AFFINE) < 0.05


def test_unrelated_maps_give_the_identity_at_worst() -> None:
    head = CompactHead("affine").eval()
    with torch.no_grad():
        theta = head(torch.full((1, 225, 15, 15), 1 / 15))
    assert torch.isfinite(theta).all()


def test_only_learned_parameters_are_in_the_state() -> None:
    assert all(key.startswith(("body.", "linear.")) for key in CompactHead("tps").state_dict())
