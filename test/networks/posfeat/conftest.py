"""The published checkpoint's form, filled by the rule of the reference outputs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from golden import fill_state_dict
from torch import Tensor

from ros_matching.networks.posfeat.network import PoSFeat
from ros_matching.networks.posfeat.official import from_official

Shapes = dict[str, tuple[int, ...]]


def _norm(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def _backbone() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "firstconv.weight", (64, 3, 7, 7)
    yield from _norm("firstbn", 64)
    channels = 64
    for stage, (width, blocks) in enumerate([(64, 3), (128, 4), (256, 6)], start=1):
        for block in range(blocks):
            name, out = f"layer{stage}.{block}", 4 * width
            convs = [(width, channels, 1, 1), (width, width, 3, 3), (out, width, 1, 1)]
            for number, shape in enumerate(convs, start=1):
                yield f"{name}.conv{number}.weight", shape
                yield from _norm(f"{name}.bn{number}", shape[0])
            if block == 0:
                yield f"{name}.downsample.0.weight", (out, channels, 1, 1)
                yield from _norm(f"{name}.downsample.1", out)
            channels = out
    decoder = [("conv_coarse", 1024, 128, 1), ("upconv3.conv", 1024, 512, 3), ("iconv3", 1024, 512, 3)]
    decoder += [("upconv2.conv", 512, 256, 3), ("iconv2", 512, 256, 3), ("conv_fine", 256, 128, 1)]
    for name, channels, out, kernel in decoder:
        yield f"{name}.conv.weight", (out, channels, kernel, kernel)
        yield f"{name}.conv.bias", (out,)
        yield from _norm(f"{name}.bn", out)


def _detector() -> Iterator[tuple[str, tuple[int, ...]]]:
    for name, out, channels, kernel in [("conv1", 192, 192, 3), ("conv2", 128, 256, 3), ("conv3", 1, 128, 1)]:
        yield f"{name}.weight", (out, channels, kernel, kernel)
        yield f"{name}.bias", (out,)
    yield "relu.weight", (1,)
    yield "convimg.weight", (64, 3, 3, 3)
    yield "convimg.bias", (64,)


def _filled(shapes: Shapes, prefix: str) -> dict[str, Tensor]:
    filled = fill_state_dict({prefix + key: shape for key, shape in shapes.items()})
    return {key.removeprefix(prefix): value for key, value in filled.items()}


@pytest.fixture(scope="session")
def published() -> dict[str, Tensor]:
    """The entries of both published files, under the authors' keys."""
    return _filled(dict(_backbone()), "backbone.") | _filled(dict(_detector()), "localheader.")


@pytest.fixture(scope="session", params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture(scope="session")
def network(published: dict[str, Tensor], dtype: torch.dtype) -> PoSFeat:
    network = PoSFeat()
    network.load_state_dict(from_official(published))
    return network.to(dtype).eval()
