"""NCMNet against the outputs of the authors' code on the same weights and inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
import torch
from golden import normal
from ncmnet_official import OFFICIAL_SHAPES, reference_network

from ros_matching.networks.ncmnet import network as network_module
from ros_matching.networks.ncmnet.blocks import nearest_neighbours
from ros_matching.networks.ncmnet.eight_point import log_weights_of, symmetric_epipolar, weighted_eight_point
from ros_matching.networks.ncmnet.network import NCMNet, best_rows, take_rows

Golden = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def golden(load_golden: Callable[[str], Golden]) -> Golden:
    return load_golden("ncmnet")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def network() -> NCMNet:
    return reference_network()


@pytest.fixture(scope="module")
def network64() -> NCMNet:
    return reference_network(torch.float64)


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def test_golden_keys_and_parameter_totals(network: NCMNet) -> None:
    def total(shapes: Mapping[str, tuple[int, ...]], prefix: str = "") -> int:
        buffers = ("running_mean", "running_var", "num_batches_tracked")
        return sum(int(np.prod(s)) for k, s in shapes.items() if k.startswith(prefix) and not k.endswith(buffers))

    unused = 280_704  # shortcuts that the authors' residual blocks own and never use
    assert total(OFFICIAL_SHAPES, "ds_0.") == 2_406_842
    assert total(OFFICIAL_SHAPES, "ds_1.") == 2_359_100
    assert sum(p.numel() for p in network.parameters()) == 4_765_942 - unused


def test_golden_neighbour_consistency_parts(golden: Golden, network: NCMNet) -> None:
    def features(name: str) -> torch.Tensor:
        return torch.from_numpy(normal(f"ncmnet/{name}", (2, 128, 40, 1)))[..., 0].mT

    def check(name: str, result: torch.Tensor) -> None:
        np.testing.assert_allclose(array(result.mT), golden[f"unit/{name}"][..., 0], atol=2e-5, err_msg=name)

    first = network.coarse.round1
    x, w = features("blk"), torch.from_numpy(normal("ncmnet/w", (2, 40)))
    with torch.no_grad():
        check("gcn1", first.graph(x, w))
        check("gs", x + network.coarse.consensus(x, w))
        check("cci1", first.cross_spatial(features("n1"), features("n2"), features("n3")))
        clusters = first.order_aware.collect(x)
        check("down1", clusters)
        filtered = first.order_aware.filters(clusters)
        check("l1", filtered)
        check("up1", first.order_aware.spread(x, filtered))
        idx = torch.from_numpy(golden["unit/idx"].astype(np.int64))
        check("sce1_k9", first.embed_spatial(x, idx))
        check("sce1_k6", network.fine.round1.embed_spatial(x, idx[..., :6]))
        check("embed_01", first.fuse(torch.from_numpy(normal("ncmnet/cat4", (2, 512, 40, 1)))[..., 0].mT))


def test_golden_eight_point_and_residual(golden: Golden) -> None:
    matches = torch.from_numpy(golden["unit/w8_xs"])
    logits = torch.from_numpy(normal("ncmnet/lg", (2, 2, 50, 1)))[..., 0].mT
    essential = weighted_eight_point(matches, log_weights_of(logits))
    theirs = torch.from_numpy(golden["unit/w8_e"]).double().reshape(2, 3, 3)
    sign = torch.sign((essential * theirs).sum(dim=(1, 2), keepdim=True))
    # Theirs is of single precision, which for these eigenvalues (1e-7, 9e-6, of 1) leaves an error of 1e-3.
    np.testing.assert_allclose(essential * sign, theirs, atol=2e-3)
    np.testing.assert_allclose(symmetric_epipolar(theirs, matches), golden["unit/episym"], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("case", ["n40", "n40b"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_golden_end_to_end(
    case: str, precision: str, golden: Golden, network: NCMNet, network64: NCMNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[np.ndarray] = []
    orders: list[np.ndarray] = []

    def recording_neighbours(*arguments, **options) -> torch.Tensor:
        found.append(array(nearest_neighbours(*arguments, **options)))
        return torch.from_numpy(found[-1])

    def recording_rows(logits: torch.Tensor, keep: float) -> torch.Tensor:
        orders.append(array(best_rows(logits, 1.0)))
        return best_rows(logits, keep)

    monkeypatch.setattr(network_module, "nearest_neighbours", recording_neighbours)
    monkeypatch.setattr(network_module, "best_rows", recording_rows)
    double = precision == "float64"
    net = network64 if double else network
    with torch.inference_mode():
        pruning = net(torch.from_numpy(golden[f"{case}/xs"]).to(getattr(torch, precision)))
    for call in range(10):
        np.testing.assert_array_equal(found[call], golden[f"{case}/knn{call}"], err_msg=f"knn{call}")
    for call in range(2):
        np.testing.assert_array_equal(orders[call], golden[f"{case}/order{call}"])
    for i, logits in enumerate(pruning.logits):
        expected = golden[f"{case}/{'f64_' if double else ''}logits{i}"]
        tolerance = 1e-7 if double else 1e-3 if i < 2 else 3e-2
        np.testing.assert_allclose(array(logits), expected, rtol=0, atol=tolerance, err_msg=f"logits{i}")


@pytest.fixture
def forced(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    """Injects neighbour lists and orders: with 2000 matches they depend on the last bits of the features."""
    lists = iter([torch.from_numpy(golden[f"n2000/knn{i}"].astype(np.int64)) for i in range(10)])
    orders = iter([torch.from_numpy(golden[f"n2000/order{i}"].astype(np.int64)) for i in range(2)])
    monkeypatch.setattr(network_module, "nearest_neighbours", lambda *_, **__: next(lists))
    monkeypatch.setattr(network_module, "best_rows", lambda x, keep: next(orders)[:, : int(x.shape[1] * keep)])


def verified(network: NCMNet, matches: torch.Tensor) -> tuple[list[np.ndarray], torch.Tensor, torch.Tensor]:
    """Logits, essential matrix and residuals."""
    with torch.inference_mode():
        pruning = network(matches)
        essential = weighted_eight_point(take_rows(matches, pruning.kept2), log_weights_of(pruning.final))
    return [array(x) for x in pruning.logits], essential, symmetric_epipolar(essential, matches)


@pytest.mark.usefixtures("forced")
def test_golden_2000_matches_with_forced_neighbours_float64(golden: Golden, network64: NCMNet) -> None:
    logits, essential, residual = verified(network64, torch.from_numpy(golden["n2000/xs"]).double())
    for i in range(5):
        np.testing.assert_allclose(logits[i], golden[f"n2000_forced/f64_logits{i}"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(essential.flatten(1), golden["n2000_forced/f64_e_hat_signfixed"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(residual, golden["n2000_forced/f64_residual"], rtol=0, atol=1e-6)


@pytest.mark.usefixtures("forced")
def test_golden_2000_matches_with_forced_neighbours_float32(golden: Golden, network: NCMNet) -> None:
    """A few logits are ill-conditioned in single precision, by the unscaled attention.

    The authors' own order of operations misses their outputs by 0.02 with one thread and by 0.05 with two. So the
    tolerance of 0.02 is asked of all but one in 200, and over all logits an error no larger than that of theirs.
    """
    logits, essential, residual = verified(network, torch.from_numpy(golden["n2000/xs"]))
    for i in range(5):
        theirs, exact = golden[f"n2000_forced/f32_logits{i}"], golden[f"n2000_forced/f64_logits{i}"]
        difference = np.abs(logits[i] - theirs)
        assert np.quantile(difference, 0.995) < 2e-2
        assert difference.max() < 0.1
        assert np.std(logits[i] - exact) < 1.25 * np.std(theirs - exact)
    np.testing.assert_allclose(essential.flatten(1), golden["n2000_forced/f32_e_hat_signfixed"], rtol=0, atol=2e-2)
    # Near an epipole the residual magnifies the error of E: their single precision misses their double by 0.26.
    assert np.quantile(np.abs(array(residual) - golden["n2000_forced/f32_residual"]), 0.99) < 2e-2
