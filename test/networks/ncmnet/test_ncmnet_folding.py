"""NCMNet with folded batch normalisations has the same output."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ros_matching.networks.ncmnet.blocks import ContextNorm, RowNorm
from ros_matching.networks.ncmnet.folding import folded
from ros_matching.networks.ncmnet.network import LITE, NCMNet, NCMNetConfig

SMALL = NCMNetConfig(channels=16, attention_channels=4, clusters=12, cluster_filters=2, blocks=3)


def trained(config: NCMNetConfig) -> NCMNet:
    """Norms and their statistics as different from the identity as trained ones are, some scales negative."""
    torch.manual_seed(0)
    network = NCMNet(config).double()
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(("norm.weight", "1.weight", "gamma")):
            tensor.uniform_(-0.5, 1.5)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.2)
    return network


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("config", [SMALL, LITE])
@torch.no_grad()
def test_folded_network_has_the_same_output(config: NCMNetConfig, batch: int) -> None:
    network = trained(config)
    matches = torch.rand(batch, 90, 4, dtype=torch.float64) - 0.5
    quick = folded(network)
    expected, found = network.eval()(matches), quick(matches)
    np.testing.assert_array_equal(found.kept2, expected.kept2)
    for a, b in zip((*found.logits, found.final), (*expected.logits, expected.final), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)


def test_folding_leaves_the_network_alone() -> None:
    network = trained(SMALL).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    quick = folded(network)
    assert network.training
    assert not quick.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    kinds = [type(module) for module in quick.modules()]
    assert ContextNorm not in kinds
    assert kinds.count(RowNorm) == sum(name.endswith("cluster_norm") for name, _ in network.named_modules())
