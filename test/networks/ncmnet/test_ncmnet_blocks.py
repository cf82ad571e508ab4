"""The parts of NCMNet against their definitions."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from golden import fill_state_dict
from ncmnet_official import OFFICIAL_SHAPES

from ros_matching.errors import CheckpointError
from ros_matching.networks.ncmnet import network as network_module
from ros_matching.networks.ncmnet.blocks import (
    ContextNorm,
    NeighbourEmbedding,
    nearest_neighbours,
    smooth_over_graph,
    weights_of,
)
from ros_matching.networks.ncmnet.network import (
    LITE,
    NCMNet,
    NCMNetConfig,
    best_rows,
    ncmnet_lite,
    symmetric_epipolar,
    weighted_eight_point,
)
from ros_matching.networks.ncmnet.official import from_official


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def randomised(module: torch.nn.Module) -> torch.nn.Module:
    """Norms and their statistics as different from the identity as trained ones are."""
    for name, tensor in module.state_dict().items():
        if name.endswith(("running_var", "norm.weight", "gamma")):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.2)
    return module.eval()


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_closed_form_smoothing_equals_the_dense_laplacian(scale: float) -> None:
    x = torch.randn(3, 57, 16, dtype=torch.float64)
    w = weights_of(scale * torch.randn(3, 57, dtype=torch.float64))
    adjacency = w[:, :, None] * w[:, None] + torch.eye(57, dtype=torch.float64)
    degree = adjacency.sum(dim=2)
    laplacian = adjacency / torch.sqrt(degree[:, :, None] * degree[:, None])
    np.testing.assert_allclose(smooth_over_graph(x, w), laplacian @ x, rtol=1e-12, atol=1e-12)


def test_smoothing_without_any_inlier_changes_nothing() -> None:
    x = torch.randn(1, 12, 4)
    np.testing.assert_array_equal(smooth_over_graph(x, torch.zeros(1, 12)), x)


@pytest.mark.parametrize("neighbours", [3, 6, 9])
def test_neighbour_embedding_equals_convolutions_over_the_edges(neighbours: int) -> None:
    embed = randomised(NeighbourEmbedding(8, neighbours)).double()
    x = torch.randn(2, 20, 8, dtype=torch.float64) + 3
    rows = torch.randint(0, 20, (2, 20, neighbours))
    of_neighbours = torch.stack([x[b][rows[b]] for b in range(2)])
    own = x[:, :, None].expand_as(of_neighbours)
    edges = torch.cat([own, own - of_neighbours], dim=3).flatten(0, 1).mT  # (B N, 2C, k)
    groups = embed.edges(edges).mT  # (B N, G, C)
    expected = torch.relu(embed.edges_norm(groups)).flatten(1)
    expected = torch.relu(embed.groups_norm(embed.groups(expected))).reshape(2, 20, 8)
    np.testing.assert_allclose(embed(x, rows).detach(), expected.detach(), atol=1e-12)


def test_context_norm_is_instance_then_batch_normalisation() -> None:
    norm = randomised(ContextNorm(8, epsilon=1e-3)).double()
    x = torch.randn(2, 30, 8, dtype=torch.float64) * 5 + 2
    instance = torch.nn.functional.instance_norm(x.mT, eps=1e-3)
    bn = norm.norm
    expected = torch.nn.functional.batch_norm(instance, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps)
    np.testing.assert_allclose(norm(x).detach(), expected.mT.detach(), atol=1e-12)


@pytest.mark.parametrize("precise", [False, True])
def test_nearest_neighbours_are_in_order_of_distance_from_the_row_itself(precise: bool) -> None:
    x = torch.randn(2, 50, 6) + 10
    distances = torch.cdist(x.double(), x.double())
    np.testing.assert_array_equal(nearest_neighbours(x, 7, precise=precise), distances.argsort(dim=2)[:, :, :7])


def test_best_rows_are_sorted_and_equals_stay_in_order() -> None:
    logits = torch.tensor([[0.0, 2.0, 2.0, -1.0, 5.0, 2.0, 0.5]])
    assert best_rows(logits, 0.5).tolist() == [[4, 1, 2]]
    assert best_rows(logits, 1.0).tolist() == [[4, 1, 2, 5, 6, 0, 3]]


def test_eight_point_finds_the_exact_motion_whatever_the_weights() -> None:
    points = torch.rand(2, 30, 3, dtype=torch.float64) * 2 - 1 + torch.tensor([0, 0, 4.0])
    t = torch.tensor([0.5, -0.2, 0.1], dtype=torch.float64)
    moved = points + t
    matches = torch.cat([points[..., :2] / points[..., 2:], moved[..., :2] / moved[..., 2:]], dim=2)
    spoilt = matches.clone()
    spoilt[:, :5] += 0.3
    log_weights = torch.randn(2, 30, dtype=torch.float64)
    log_weights[:, :5] = -200
    essential = weighted_eight_point(spoilt, log_weights)
    ground_truth = torch.tensor([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    ground_truth = ground_truth / ground_truth.norm()
    for e in essential:
        assert e.norm() == pytest.approx(1, abs=1e-12)
        assert e[1, 2] > 0  # of the largest entries, as large as e[2, 1], the first
        assert abs((e * ground_truth).sum()) == pytest.approx(1, abs=1e-9)
    assert symmetric_epipolar(essential, matches).max() < 1e-12
    assert symmetric_epipolar(essential, spoilt)[:, :5].min() > 1e-4
    np.testing.assert_allclose(weighted_eight_point(spoilt, log_weights + 700), essential, atol=1e-9)


def test_gradients_pass_through_the_eight_point_method() -> None:
    matches = (torch.rand(1, 14, 4, dtype=torch.float64) - 0.5).requires_grad_()
    log_weights = torch.randn(1, 14, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(weighted_eight_point, (matches, log_weights), atol=1e-4)


def test_the_order_of_the_matches_does_not_matter() -> None:
    network = randomised(ncmnet_lite()).double()
    x = torch.rand(1, 64, 4, dtype=torch.float64) - 0.5
    order = torch.randperm(64)
    with torch.inference_mode():
        first, second = network(x), network(x[:, order])
    np.testing.assert_allclose(second.logits[1], first.logits[1][:, order], atol=1e-7)
    np.testing.assert_array_equal(order[second.kept2[0]], first.kept2[0])


@pytest.mark.parametrize(("keep", "left"), [(0.5, (25, 12)), (1.0, (51, 51)), (0.75, (38, 28))])
def test_keeps_the_configured_fraction(keep: float, left: tuple[int, int]) -> None:
    network = randomised(NCMNet(replace(LITE, keep=keep)))
    with torch.inference_mode():
        pruning = network(torch.rand(2, 51, 4) - 0.5)
    assert [x.shape[1] for x in pruning.logits] == [51, 51, left[0], left[0], left[1]]
    assert pruning.kept1.shape == (2, left[0])
    for rows in pruning.kept2:
        assert len(rows.unique()) == left[1]


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    network = randomised(ncmnet_lite()).double()
    x = torch.rand(3, 48, 4, dtype=torch.float64) - 0.5
    with torch.inference_mode():
        together, alone = network(x), network(x[1:2])
    for a, b in zip(together.logits, alone.logits, strict=True):
        np.testing.assert_allclose(a[1:2], b, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_runs_under_autocast_close_to_single_precision(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same neighbours: which ones they are is decided by the last bits, for weights that are not trained."""
    network = randomised(ncmnet_lite())
    x = torch.rand(1, 100, 4) - 0.5
    found: list[torch.Tensor] = []

    def record(*arguments, **options) -> torch.Tensor:
        found.append(nearest_neighbours(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(network_module, "nearest_neighbours", record)
    with torch.inference_mode():
        full = network.coarse(x)[1]
    monkeypatch.setattr(network_module, "nearest_neighbours", lambda *_, **__: found.pop(0))
    with torch.inference_mode(), torch.autocast("cpu", dtype=dtype):
        half = network.coarse(x)[1]
    assert half.dtype == dtype
    difference = (half.float() - full).std() / full.std()
    # Random weights and unscaled attention magnify rounding, which is 5e-4 and 4e-3 of the two types, some 50 times.
    assert difference < (0.05 if dtype == torch.float16 else 0.4)


@pytest.mark.slow
def test_compiles_as_one_graph() -> None:
    config = NCMNetConfig(channels=8, attention_channels=4, clusters=8, cluster_filters=1, blocks=1)
    network = NCMNet(config).eval()
    x = torch.rand(1, 64, 4) - 0.5
    with torch.no_grad():
        compiled = torch.compile(network, backend="eager", fullgraph=True)(x)
        np.testing.assert_allclose(compiled.logits[0], network(x).logits[0], atol=1e-5)


def test_official_checkpoint_is_taken_with_or_without_prefix() -> None:
    state = fill_state_dict(OFFICIAL_SHAPES)
    plain = from_official(state)
    wrapped = from_official({f"module.{key}": value for key, value in state.items()})
    assert plain.keys() == wrapped.keys() == NCMNet().state_dict().keys()
    assert all(torch.equal(plain[key], wrapped[key]) for key in plain)


def test_official_checkpoint_must_be_whole_and_of_this_network() -> None:
    state = fill_state_dict(OFFICIAL_SHAPES)
    key = "ds_1.sce22.conv.3.weight"
    with pytest.raises(CheckpointError, match=r"missing keys.*round2\.embed_feature\.groups\.weight$"):
        from_official({k: v for k, v in state.items() if k != key})
    with pytest.raises(CheckpointError, match=r"unknown keys: ds_0\.gcn3\.conv\.0\.weight$"):
        from_official(state | {"ds_0.gcn3.conv.0.weight": torch.zeros(1)})
    for wrong in ((128, 128, 1, 3), (128, 128, 2, 1)):
        with pytest.raises(CheckpointError, match=r"wrong shapes: ds_1\.sce22\.conv\.3\.weight"):
            from_official(state | {key: torch.zeros(wrong)})
    with pytest.raises(CheckpointError, match=r"wrong shapes: ds_0\.mlp1\.weight"):
        from_official(state | {"ds_0.mlp1.weight": torch.zeros(1, 128, 3, 3)})


def test_every_dead_weight_of_the_official_checkpoint_is_named() -> None:
    """A shortcut is dropped where the width stays, and nowhere else."""
    state = fill_state_dict(OFFICIAL_SHAPES)
    dead = {key for key in state if ".right." in key and not re.search(r"embed_0[12]\.0\.right", key)}
    assert sum(state[key].numel() for key in dead) == 280_704
    assert len(from_official({k: v for k, v in state.items() if k not in dead})) == len(state) - len(dead)
