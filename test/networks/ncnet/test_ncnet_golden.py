"""NCNet against the outputs of the authors' code."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from golden import assert_recorded, fill, fill_state_dict, normal, uniform
from ncnet_reference import (
    CASES,
    RELEASES,
    TOLERANCE,
    official_state,
    reference_features,
    reference_network,
    trunk_shapes,
)

from ros_matching.networks.ncnet.network import (
    SETTINGS,
    Conv4d,
    FilteredCorrelation,
    NCNet,
    correlate,
    max_pool,
    mutual_matching,
    normalize,
)
from ros_matching.networks.ncnet.official import from_official
from ros_matching.networks.ncnet.readout import read_matches, transfer_points, transfer_points_nearest
from ros_matching.training.ncnet_losses import weak_loss

DTYPES = (torch.float32, torch.float64)
Golden = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def golden(load_golden: Callable[[str], Golden]) -> Golden:
    return load_golden("ncnet")


def assert_close(actual: torch.Tensor, expected: np.ndarray, tolerance: float = TOLERANCE) -> None:
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
def test_golden_correlation_pooling_and_mutual_matching(case: str, dtype: torch.dtype, golden: Golden) -> None:
    pool = CASES[case][3]
    correlation = correlate(*(normalize(f.to(dtype)) for f in reference_features(case)))
    if pool == 1:
        assert_close(correlation, golden[f"{case}/corr"])
    else:
        correlation, offsets = max_pool(correlation, pool)
        assert_close(correlation, golden[f"{case}/pooled"])
        for axis, offset in zip("ijkl", offsets, strict=True):
            np.testing.assert_array_equal(offset, golden[f"{case}/delta_{axis}"])
    assert_close(mutual_matching(correlation), golden[f"{case}/mm1"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("release", RELEASES)
def test_golden_consensus(release: str, case: str, dtype: torch.dtype, golden: Golden) -> None:
    network = reference_network(release).to(dtype)
    mutual = torch.from_numpy(golden[f"{case}/mm1"]).to(dtype)
    assert_close(network.consensus.one_pass(mutual), golden[f"{release}/{case}/conv_once"])
    assert_close(network.consensus(mutual), golden[f"{release}/{case}/nc"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("release", RELEASES)
def test_golden_matches_end_to_end(release: str, case: str, dtype: torch.dtype, golden: Golden) -> None:
    pool = CASES[case][3]
    network = reference_network(release, pool).to(dtype)
    filtered = network(*(f.to(dtype) for f in reference_features(case)))
    assert_close(filtered.scores, golden[f"{release}/{case}/out"])
    compared = 0
    for from_a in (False, True):
        for softmax in (False, True):
            for scale in ("centered", "positive"):
                key = f"{release}/{case}/matches_inv{from_a:d}_sm{softmax:d}_{scale}"
                if key in golden:
                    matches = read_matches(
                        filtered, pool=pool, from_a=from_a, softmax=softmax, centred=scale == "centered"
                    )
                    assert_close(torch.cat(matches), golden[key])
                    compared += 1
    assert compared == sum(key.startswith(f"{release}/{case}/matches") for key in golden)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kernel", "into", "out"), [(3, 2, 3), (5, 1, 2)])
def test_golden_conv4d(kernel: int, into: int, out: int, dtype: torch.dtype, golden: Golden) -> None:
    layer = Conv4d(into, out, kernel)
    stored = torch.from_numpy(fill(f"conv4d_k{kernel}.weight", (kernel, out, into, kernel, kernel, kernel)))
    bias = torch.from_numpy(fill(f"conv4d_k{kernel}.bias", (out,)))
    layer.load_state_dict({"weight": stored.permute(1, 2, 0, 3, 4, 5), "bias": bias})
    x = torch.from_numpy(normal(f"ncnet/conv4d_k{kernel}", (2, into, 4, 6, 5, 3)))
    assert_close(layer.to(dtype)(x.to(dtype)), golden[f"conv4d_k{kernel}/out"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_golden_point_transfer(dtype: torch.dtype, golden: Golden) -> None:
    features = (f[:1].to(dtype) for f in reference_features("sq", planted=False))
    matches = read_matches(reference_network("ivd").to(dtype)(*features))
    points = torch.from_numpy(golden["transfer/points"]).to(dtype)
    assert_close(transfer_points(matches, points, (7, 7)), golden["transfer/bilinear"])
    assert_close(transfer_points_nearest(matches, points), golden["transfer/nearest"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("normalization", ["softmax", "l1", "none"])
def test_golden_weak_loss(normalization: str, dtype: torch.dtype, golden: Golden) -> None:
    table = torch.from_numpy(uniform("ncnet/loss_table", (3, 3, 1, 5, 5, 5, 5))).to(dtype).requires_grad_()
    images = torch.arange(3)
    loss = weak_loss(lambda a, b: table[a, b], images, images, normalization)
    assert_close(loss, golden[f"loss/{'None' if normalization == 'none' else normalization}"], 1e-7)
    if normalization == "softmax":
        loss.backward()
        assert_close(table.grad, golden["loss/softmax_grad"], 1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_golden_trunk_from_an_official_checkpoint(dtype: torch.dtype, load_golden: Callable[[str], Golden]) -> None:
    """CNNGeometric's reference outputs begin with the same trunk under the same keys."""
    golden = load_golden("cnngeometric")
    network = NCNet(SETTINGS["ncnet_ivd"])
    network.load_state_dict(from_official(official_state("ivd", trunk=fill_state_dict(trunk_shapes()))))
    with torch.no_grad():
        features = network.trunk.to(dtype)(torch.from_numpy(normal("cnngeo/source", (1, 3, 240, 240))).to(dtype))
    assert_close(normalize(features)[:, :64], golden["resnet101/featA_first64ch"])


def test_the_filtered_correlation_of_a_batch_is_that_of_its_items() -> None:
    network = reference_network("ivd")
    a, b = reference_features("sq")
    together = network(a, b)
    alone = FilteredCorrelation(torch.cat([network(a[i : i + 1], b[i : i + 1]).scores for i in range(2)]), None)
    torch.testing.assert_close(together.scores, alone.scores, rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("release", RELEASES)
def test_outputs_are_those_on_record(release: str, case: str) -> None:
    pool = CASES[case][3]
    network = reference_network(release, pool).double()
    with torch.inference_mode():
        filtered = network(*(f.double() for f in reference_features(case)))
    matches = torch.cat(read_matches(filtered, pool=pool, from_a=True, softmax=True, centred=True)).double()
    assert_recorded(f"ncnet/{release}/{case}", scores=filtered.scores, matches=matches)


@pytest.mark.parametrize("normalization", ["softmax", "l1", "none"])
def test_the_weak_loss_is_that_on_record(normalization: str) -> None:
    table = torch.from_numpy(uniform("ncnet/loss_table", (3, 3, 1, 5, 5, 5, 5))).double().requires_grad_()
    images = torch.arange(3)
    loss = weak_loss(lambda a, b: table[a, b], images, images, normalization)
    loss.backward()
    assert_recorded(f"ncnet/loss/{normalization}", loss=loss[None], gradient=table.grad)
