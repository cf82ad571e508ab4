"""The network's training mode, inputs and execution."""

from __future__ import annotations

import pytest
import torch

from ros_matching.errors import ConfigError
from ros_matching.networks.cnn_geometric import transforms
from ros_matching.networks.cnn_geometric.network import CNNGeometric, cnn_geometric_lite, correlate, normalize
from ros_matching.training.cnn_geometric import grid_loss


def maps(rows: int = 32, columns: int = 40, batch: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(batch, 16, rows, columns, generator=generator) for _ in range(2))


def test_channels_of_the_correlation_are_the_source_cells_by_column() -> None:
    source, target = torch.rand(1, 5, 3, 4), torch.rand(1, 5, 2, 6)
    correlation = correlate(source, target)
    assert correlation.shape == (1, 12, 2, 6)
    for row, column in [(0, 0), (2, 1), (1, 3)]:
        expected = (source[0, :, row, column, None, None] * target[0]).sum(0)
        torch.testing.assert_close(correlation[0, 3 * column + row], expected)


def test_untrained_heads_begin_near_the_identity() -> None:
    network = CNNGeometric("descriptor_map", tuple(transforms.PARAMETERS))
    with torch.no_grad():
        for model, theta in network(*maps()).items():
            assert (theta - transforms.identity(model)).abs().max() < 0.2


def test_maps_of_any_two_sizes_and_lengths_of_descriptors_are_taken() -> None:
    network = cnn_geometric_lite()
    source, target = maps(33, 47)[0], maps(15, 60)[1]
    with torch.no_grad():
        thetas = network(source, target)
        scaled = network(3 * source, target)
    assert {model: theta.shape for model, theta in thetas.items()} == {"affine": (2, 6), "tps": (2, 18)}
    torch.testing.assert_close(scaled, thetas, rtol=0, atol=1e-4)  # descriptors count by direction


def test_training_reaches_the_heads_alone() -> None:
    network = CNNGeometric("resnet101", ("affine", "tps")).train()
    assert network.heads.training
    assert not any(module.training for module in network.trunk.modules())
    correlation = torch.rand(2, 225, 15, 15)
    losses = []
    for model, head in network.heads.items():
        ground_truth = transforms.identity(model).expand(2, -1) * 0.9
        losses.append(grid_loss(model, head(correlation), ground_truth))
    sum(losses).backward()
    assert all(parameter.grad is None for parameter in network.trunk.parameters())
    assert all(parameter.grad.isfinite().all() for parameter in network.heads.parameters())


def test_reduced_precision_is_close() -> None:
    network = cnn_geometric_lite()
    with torch.no_grad():
        exact = network(*maps())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            reduced = network(*maps())
    for model, theta in exact.items():
        assert reduced[model].dtype == torch.float32
        torch.testing.assert_close(reduced[model], theta, rtol=0, atol=5e-3)


def test_normalisation_does_not_overflow_in_half_precision() -> None:
    x = torch.full((1, 64, 2, 2), 300.0, dtype=torch.float16)
    torch.testing.assert_close(normalize(x), torch.full((1, 64, 2, 2), 1 / 8))


def test_one_graph_without_breaks() -> None:
    network = cnn_geometric_lite()
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(network, backend="eager", fullgraph=True)(*maps()), network(*maps()))


@pytest.mark.parametrize(("trunk", "models"), [("vgg", ["affine"]), ("vgg16", ["projective"]), ("vgg16", [])])
def test_unknown_parts_are_refused(trunk: str, models: list[str]) -> None:
    with pytest.raises(ConfigError, match="homography_matrix"):
        CNNGeometric(trunk, models)
