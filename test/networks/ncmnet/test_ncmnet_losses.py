"""The losses of NCMNet against the authors' values, and what the added supervision reaches."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from ncmnet_official import reference_network

from ros_matching.networks.ncmnet.network import NCMNet, NCMNetConfig, ncmnet_lite
from ros_matching.training.ncmnet_losses import (
    SupervisionConfig,
    carried_residuals,
    classification_loss,
    geometry_loss,
    graph_loss,
    pruning_loss,
)

Golden = Mapping[str, np.ndarray]


@pytest.fixture
def golden(load_golden: Callable[[str], Golden]) -> Golden:
    return load_golden("ncmnet")


def test_golden_losses(golden: Golden) -> None:
    parts = [
        classification_loss(torch.from_numpy(golden[f"n40b/logits{i}"]), torch.from_numpy(golden[f"loss/carried{i}"]))
        for i in range(5)
    ]
    virtual = torch.from_numpy(golden["n40b/xs"][:, :20])
    essential = torch.from_numpy(golden["loss/e_hat_used"]).reshape(2, 3, 3)
    geometry = 0.5 * geometry_loss(essential, virtual)
    for step in ("step0", "step20000"):
        expected_total, expected_geometry, expected_classification = golden[f"loss/{step}"][:3]
        assert sum(parts).item() == pytest.approx(expected_classification, rel=1e-5)
        assert geometry.item() == pytest.approx(expected_geometry, rel=1e-4)
    assert (sum(parts) + geometry).item() == pytest.approx(expected_total, rel=1e-5)


def test_golden_residuals_are_carried_with_their_matches(golden: Golden) -> None:
    with torch.inference_mode():
        pruning = reference_network()(torch.from_numpy(golden["n40b/xs"]))
    carried = carried_residuals(pruning, torch.from_numpy(golden["loss/y_in"]))
    for i in range(5):
        np.testing.assert_array_equal(carried[i], golden[f"loss/carried{i}"])


def gradients(config: SupervisionConfig, network: NCMNet) -> tuple[set[str], set[str]]:
    """Names of the parameters with and without gradient after one training step."""
    torch.manual_seed(0)
    matches = torch.rand(2, 64, 4) - 0.5
    residuals = torch.where(torch.rand(2, 64) < 0.5, 1e-6, 1.0)
    pruning = network.train()(matches)
    essential = torch.eye(3).expand(2, 3, 3)
    pruning_loss(pruning, residuals, essential, matches[:, :20], config).backward()
    names = {name: parameter.grad is not None for name, parameter in network.named_parameters()}
    return {name for name, has in names.items() if has}, {name for name, has in names.items() if not has}


def test_golden_parameters_that_the_published_losses_do_not_reach(golden: Golden) -> None:
    small = NCMNet(NCMNetConfig(channels=16, attention_channels=4, clusters=8))
    _, without = gradients(SupervisionConfig(), small)
    theirs = [str(name) for name in golden["loss/params_without_grad"]]
    assert len(without) == len([name for name in theirs if ".right." not in name])
    assert all(".preliminary." in name or ".graph." in name for name in without)


def test_supervision_reaches_every_parameter() -> None:
    config = SupervisionConfig(preliminary_weight=0.5, graph_weight=0.1)
    _, without = gradients(config, ncmnet_lite())
    assert not without


def test_graph_loss_falls_as_inliers_gather() -> None:
    torch.manual_seed(0)
    residuals = torch.where(torch.arange(40) < 20, 0.0, 1.0)[None]
    mixed = torch.randn(1, 40, 8, dtype=torch.float64)
    apart = mixed + 3 * (residuals[..., None] > 0)
    assert graph_loss(mixed, residuals).item() == pytest.approx(np.log(2), abs=0.2)
    assert graph_loss(apart, residuals) < 0.5 * graph_loss(mixed, residuals)
    assert graph_loss(mixed, torch.ones_like(residuals)) == 0
    assert torch.isfinite(graph_loss(torch.zeros(1, 40, 8), residuals))


def test_classification_loss_balances_the_classes() -> None:
    residuals = torch.where(torch.arange(100) < 10, 1e-4 * (1 - 1e-6), 1.0)[None].double()
    logits = torch.full((1, 100), 0.3, dtype=torch.float64)
    inlier, outlier = np.log1p(np.exp(-0.3)), np.log1p(np.exp(0.3))
    # Ten inliers of weight nine against ninety outliers.
    expected = (10 * 9 * inlier + 90 * outlier) / 100
    assert classification_loss(logits, residuals).item() == pytest.approx(expected, rel=1e-4)
