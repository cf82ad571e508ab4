"""The network against the authors' own outputs: checkpoints in their format, by part and from images to parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
import torch
from golden import assert_recorded, fill_state_dict, normal
from official_format import head_shapes, trunk_shapes

from ros_matching.networks.cnn_geometric.network import CNNGeometric, RegressionHead, correlate, normalize
from ros_matching.networks.cnn_geometric.official import from_official

TOLERANCE = 5e-6
SHORT = {"affine": "affine", "homography": "hom", "tps": "tps"}
PARAMETERS = {"vgg16": 9_261_446, "resnet101": 29_161_606}
HEAD_PARAMETERS = {"affine": 1_626_182, "homography": 1_629_384, "tps": 1_645_394}
STORED = {"vgg16": "vgg", "resnet101": "resnet101"}


@pytest.fixture(scope="session")
def golden(load_golden: Callable) -> Mapping[str, np.ndarray]:
    return load_golden("cnngeometric")


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    shape = (1, 3, 240, 240)
    source = normal("cnngeo/source", shape)
    rolled = np.roll(source.astype(np.float64), (24, 16), axis=(2, 3))
    noise = normal("cnngeo/noise", shape).astype(np.float64)
    return torch.from_numpy(source), torch.from_numpy((0.7 * rolled + 0.3 * noise).astype(np.float32))


@pytest.fixture(scope="module", params=list(PARAMETERS))
def network(request: pytest.FixtureRequest) -> CNNGeometric:
    trunk = fill_state_dict(trunk_shapes(request.param))
    checkpoints = [trunk | fill_state_dict(head_shapes(model)) for model in SHORT]
    network = CNNGeometric(request.param, tuple(SHORT))
    network.load_state_dict(from_official(*checkpoints), strict=True)
    return network


def assert_equal(actual: torch.Tensor, expected: np.ndarray, tolerance: float = TOLERANCE) -> None:
    torch.testing.assert_close(actual, torch.from_numpy(expected).to(actual.dtype), rtol=0, atol=tolerance)


def steps(head: RegressionHead, x: torch.Tensor) -> Iterator[torch.Tensor]:
    """The outputs of the head's layers, one after the other."""
    for convolution, norm in [(head.conv1, head.norm1), (head.conv2, head.norm2)]:
        yield (x := convolution(x))
        yield (x := norm(x))
        yield (x := x.relu())
    yield head.linear(x.flatten(1))


def statistics_of(x: torch.Tensor) -> torch.Tensor:
    """Mean, deviation, largest size and first values, as they are stored."""
    return torch.stack([x.mean(), x.std(correction=0), x.abs().max(), *x.flatten()[:4]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@torch.no_grad()
def test_images_to_parameters_golden(network: CNNGeometric, golden: Mapping, pair: tuple, dtype: torch.dtype) -> None:
    network, stored = network.to(dtype), STORED[network.trunk_name]
    source, target = (network.trunk(image.to(dtype)) for image in pair)
    norm = source.norm(dim=1)
    expected = torch.from_numpy(golden[f"{stored}/featA_rawnorm"]).to(dtype)
    torch.testing.assert_close(norm, expected, rtol=TOLERANCE, atol=TOLERANCE)

    source, target = normalize(source), normalize(target)
    assert_equal(source[:, :64], golden[f"{stored}/featA_first64ch"])
    assert_equal(target[:, :64], golden[f"{stored}/featB_first64ch"])
    assert_equal(correlate(source, target)[:, :16], golden[f"{stored}/corr_nonorm_first16"])
    correlation = network.match(source, target)
    assert_equal(correlation, golden[f"{stored}/corr"])

    statistics = torch.stack([statistics_of(x) for x in steps(network.heads["affine"], correlation)])
    assert_equal(statistics, golden[f"{stored}/stats"])
    thetas = {model: head(correlation) for model, head in network.heads.items()}
    for model, short in SHORT.items():
        assert_equal(thetas[model], golden[f"{stored}/theta_{short}"])


@torch.no_grad()
def test_forward_is_the_parts_together_golden(network: CNNGeometric, golden: Mapping, pair: tuple) -> None:
    thetas = network.float()(*pair)
    assert_equal(thetas["tps"], golden[f"{STORED[network.trunk_name]}/theta_tps"])


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("model", SHORT)
@torch.no_grad()
def test_heads_golden(network: CNNGeometric, golden: Mapping, model: str, dtype: torch.dtype, training: bool) -> None:
    head = copy.deepcopy(network.heads[model]).to(dtype).train(training)
    correlation = torch.from_numpy(normal("cnngeo/headcorr", (2, 225, 15, 15))).abs().to(dtype)
    expected = golden[f"head/theta_{SHORT[model]}{'_bn_batchstats' if training else ''}"]
    # Statistics of 50 values a tenth of their size apart magnify the rounding of the convolutions before them: the
    # stored parameters are off the exact ones by 4.6e-6, what the AVX2 routine of oneDNN gives, which adds 11025
    # products in a row, by 1.8e-5, and what PyTorch's own gives, by blocks, by 3e-6.
    with torch.backends.mkldnn.flags(enabled=not training):
        assert_equal(head(normalize(correlation)), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_order_of_the_correlation_golden(golden: Mapping, dtype: torch.dtype) -> None:
    a, b = (torch.from_numpy(normal(f"cnngeo/c{name}", (2, 6, 4, 4))).to(dtype) for name in "ab")
    assert_equal(normalize(a), golden["corr3d/l2"])
    raw = correlate(a, b)
    assert_equal(raw, golden["corr3d/raw"])
    assert_equal(normalize(raw.relu()), golden["corr3d/norm"])


@pytest.mark.parametrize("trunk", PARAMETERS)
def test_parameter_counts_are_the_published_ones_golden(trunk: str) -> None:
    with torch.device("meta"):
        network = CNNGeometric(trunk, tuple(SHORT))
    counts = {model: sum(p.numel() for p in head.parameters()) for model, head in network.heads.items()}
    assert counts == HEAD_PARAMETERS
    assert sum(p.numel() for p in network.trunk.parameters()) + counts["affine"] == PARAMETERS[trunk]


def test_outputs_are_those_on_record(network: CNNGeometric, pair: tuple) -> None:
    with torch.no_grad():
        thetas = copy.deepcopy(network).double().eval()(*(image.double() for image in pair))
    assert_recorded(f"cnn_geometric/{network.trunk_name}", **thetas)
