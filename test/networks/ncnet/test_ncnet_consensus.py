"""What NCNet's layers must do, whatever their weights."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from ros_matching.errors import MatchingError
from ros_matching.networks.ncnet import sparse
from ros_matching.networks.ncnet.network import (
    SETTINGS,
    ConsensusNetwork,
    Conv4d,
    NeighbourhoodConsensus,
    Setting,
    consensus_network,
    max_pool,
    mutual_matching,
    swap,
)

SHAPE = (2, 1, 4, 5, 6, 3)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(7)


def direct_conv4d(x: Tensor, layer: Conv4d) -> Tensor:
    """The definition: a sum over the taps of the kernel, each on a shifted copy of the padded input."""
    pad = layer.kernel // 2
    padded = torch.nn.functional.pad(x, [pad] * 8)
    out = layer.bias[:, None, None, None, None].expand(len(x), -1, *x.shape[2:]).clone()
    for tap in itertools.product(range(layer.kernel), repeat=4):
        window = padded[(..., *(slice(t, t + side) for t, side in zip(tap, x.shape[2:], strict=True)))]
        out += torch.einsum("oi,bi...->bo...", layer.weight[(..., *tap)], window)
    return out


@pytest.mark.parametrize(("into", "out", "kernel"), [(1, 3, 3), (2, 1, 3), (2, 3, 5), (1, 2, 1)])
def test_conv4d_equals_the_definition(into: int, out: int, kernel: int) -> None:
    layer = Conv4d(into, out, kernel).double()
    x = torch.randn(2, into, *SHAPE[2:], dtype=torch.float64, requires_grad=True)
    ours, direct = layer(x), direct_conv4d(x, layer)
    torch.testing.assert_close(ours, direct)
    factors = torch.randn_like(ours)
    inputs = (x, layer.weight, layer.bias)
    torch.testing.assert_close(
        torch.autograd.grad((ours * factors).sum(), inputs), torch.autograd.grad((direct * factors).sum(), inputs)
    )


def test_consensus_does_not_depend_on_which_image_comes_first() -> None:
    network = consensus_network("ncnet_ivd").double()
    c = torch.rand(SHAPE, dtype=torch.float64)
    torch.testing.assert_close(network.filter(swap(c)).scores, swap(network.filter(c).scores))


def test_mutual_matching_keeps_the_mutual_best_and_weakens_the_rest() -> None:
    c = torch.rand(SHAPE, dtype=torch.float64) * 0.9
    c[..., 1, 2, 3, 1] = 1
    out = mutual_matching(c)
    assert (out <= c).all()
    torch.testing.assert_close(out[..., 1, 2, 3, 1], c[..., 1, 2, 3, 1], rtol=0, atol=3e-5)
    assert (out[..., 1, 2, :, :] <= c[..., 1, 2, :, :].square()).all()


def test_pooling_finds_the_fine_pair_of_the_maximum() -> None:
    c = torch.rand(2, 1, 4, 6, 8, 2)
    pooled, offsets = max_pool(c, 2)
    index = torch.meshgrid(*(torch.arange(side) for side in pooled.shape), indexing="ij")
    fine = [coarse * 2 + offset for coarse, offset in zip(index[2:], offsets, strict=True)]
    torch.testing.assert_close(c[(index[0], index[1], *fine)], pooled)
    with pytest.raises(MatchingError, match=r"multiples of it, got \(4, 6, 8, 2\)"):
        max_pool(c, 4)


def masked_filter(network: ConsensusNetwork, c: Tensor, mask: Tensor) -> Tensor:
    """The dense network, pairs outside of the mask set to zero after every layer."""

    def one_pass(c: Tensor, mask: Tensor) -> Tensor:
        for layer in network.consensus.layers:
            c = layer(c).relu() * mask
        return c

    c = mutual_matching(c * mask)
    return mutual_matching(one_pass(c, mask) + swap(one_pass(swap(c), swap(mask))))


@pytest.mark.parametrize("setting", [*SETTINGS.values(), Setting(channels=(3, 4, 2, 1), kernels=(3, 5, 1, 3))])
@pytest.mark.parametrize("k", [2, 5])
def test_sparse_equals_dense_on_the_stored_pairs(setting: Setting, k: int) -> None:
    network = ConsensusNetwork(setting).double()
    c = torch.rand(SHAPE, dtype=torch.float64)
    pairs = sparse.strongest_pairs(c, k)
    values = sparse.filter_pairs(network, pairs.gather(c), pairs)
    expected = masked_filter(network, c, pairs.scatter(torch.ones_like(values)))
    torch.testing.assert_close(pairs.scatter(values), expected)


@pytest.mark.parametrize("name", SETTINGS)
def test_sparse_equals_dense_when_all_pairs_are_stored(name: str) -> None:
    network = consensus_network(name).double()
    c = torch.rand(SHAPE, dtype=torch.float64)
    pairs = sparse.strongest_pairs(c, k=20)
    assert len(pairs.cells_a) == c.numel()
    torch.testing.assert_close(pairs.scatter(pairs.gather(c)), c)
    torch.testing.assert_close(
        pairs.scatter(sparse.filter_pairs(network, pairs.gather(c), pairs)), network.filter(c).scores
    )


def test_sparse_has_the_gradient_of_dense() -> None:
    network = consensus_network("ncnet_ivd").double()
    c = torch.rand(SHAPE, dtype=torch.float64)
    pairs = sparse.strongest_pairs(c, k=4)
    mask = pairs.scatter(torch.ones(len(pairs.cells_a), dtype=torch.float64))
    weights = list(network.parameters())
    sparse_loss = sparse.filter_pairs(network, pairs.gather(c), pairs).square().sum()
    dense_loss = masked_filter(network, c, mask).square().sum()
    torch.testing.assert_close(
        torch.autograd.grad(sparse_loss, weights), torch.autograd.grad(dense_loss, weights), rtol=1e-6, atol=1e-12
    )


def test_the_strongest_pairs_are_those_of_both_sides_without_repetition() -> None:
    c = torch.rand(SHAPE)
    pairs = sparse.strongest_pairs(c, k=3)
    table = c.reshape(2, 20, 18)
    third_of_a = table.sort(dim=2, descending=True).values[:, :, 2:3]
    third_of_b = table.sort(dim=1, descending=True).values[:, 2:3]
    expected = (table >= third_of_a) | (table >= third_of_b)
    torch.testing.assert_close(pairs.scatter(torch.ones(len(pairs.cells_a))).reshape(2, 20, 18), expected.float())
    assert len(pairs.cells_a) == expected.sum()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_little_and_keeps_mutual_matching_in_full_precision(dtype: torch.dtype) -> None:
    network = consensus_network("ncnet_ivd")
    a, b = torch.rand(1, 32, 6, 5), torch.rand(1, 32, 5, 7)
    with torch.no_grad():
        expected = network(a, b).scores
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        scores = network(a, b).scores
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected, rtol=0.1, atol=0.02 * float(expected.max()))


def test_the_network_compiles_without_a_break() -> None:
    network = consensus_network("ncnet_lite", pool=2, clamp=True)
    a, b = torch.randn(1, 8, 4, 6), torch.randn(1, 8, 6, 4)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(a, b).scores, network(a, b).scores)


def test_negative_similarities_are_clipped_only_by_option() -> None:
    a, b = torch.randn(1, 8, 4, 6), torch.randn(1, 8, 6, 4)
    for clamp in (False, True):
        network = consensus_network("ncnet_lite", clamp=clamp)
        seen: list[Tensor] = []
        network.consensus.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        network(a, b)
        assert (seen[0].min() >= 0) == clamp


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(MatchingError, match="there are: ncnet_pfpascal, ncnet_ivd, ncnet_lite"):
        consensus_network("ncnet")
    assert isinstance(consensus_network("ncnet_lite").consensus, NeighbourhoodConsensus)
