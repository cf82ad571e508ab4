"""Engines compute what PyTorch does, or are refused."""

from __future__ import annotations

import copy
import importlib.util
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ros_matching.errors import ConfigError, MissingDependencyError
from ros_matching.networks import engines
from ros_matching.networks.engines import OpenVinoEngine, TorchEngine, make_engine
from ros_matching.networks.posfeat.extractor import LITE, PoSFeatExtractor
from ros_matching.networks.posfeat.lite import PoSFeatLite

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs OpenVINO (pip install openvino, extra cpu)"
)
EXAMPLE = [torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(1))]


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.second = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.first(x).relu()
        return nn.functional.interpolate(x, scale_factor=2, mode="bilinear"), self.second(x)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROS_MATCHING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def network() -> Network:
    return Network().eval()


@torch.inference_mode()
def test_the_torch_engine_is_the_network_itself(network: Network) -> None:
    engine = make_engine(network, EXAMPLE, "torch")
    assert (engine.name, engine.precision) == ("torch", "float32")
    for ours, theirs in zip(engine(*EXAMPLE), network(*EXAMPLE), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("engine", "precision"), [("tensorrt", "auto"), ("auto", "int8")])
def test_unknown_engines_and_precisions_are_refused(network: Network, engine: str, precision: str) -> None:
    with pytest.raises(ConfigError, match=r"engine must be one of auto, torch, openvino"):
        make_engine(network, EXAMPLE, engine, precision)


def test_without_openvino_auto_is_torch(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    assert isinstance(make_engine(network, EXAMPLE), TorchEngine)
    with pytest.raises(MissingDependencyError, match="pip install openvino"):
        make_engine(network, EXAMPLE, "openvino")


@needs_openvino
@torch.inference_mode()
def test_openvino_agrees_at_sizes_that_it_was_not_traced_with(network: Network) -> None:
    engine = make_engine(network, EXAMPLE, "openvino", "float32")
    assert (engine.name, engine.precision) == ("openvino", "float32")
    kept = []
    for height, width in ((32, 48), (64, 32), (16, 16), (48, 48), (80, 64), (32, 48)):
        image = torch.rand(1, 3, height, width).contiguous(memory_format=torch.channels_last)
        kept.append((engine(image), network(image)))
    for ours, theirs in kept:  # outputs do not change when the engine runs again
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@needs_openvino
def test_auto_takes_openvino_in_a_precision_of_the_cpu(network: Network) -> None:
    engine = make_engine(network, EXAMPLE)
    assert engine.name == "openvino"
    assert engine.precision in ("float32", "bfloat16")
    assert make_engine(network, EXAMPLE, precision="float16").name == "torch"


@needs_openvino
def test_a_model_is_traced_once_for_its_weights(network: Network, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traced = []
    trace = engines._traced
    monkeypatch.setattr(engines, "_traced", lambda *arguments: traced.append(1) or trace(*arguments))
    make_engine(network, EXAMPLE, "openvino", "float32")
    make_engine(network, EXAMPLE, "openvino", "float32")
    assert len(traced) == 1
    with torch.no_grad():
        network.second.bias += 1
    make_engine(network, EXAMPLE, "openvino", "float32")
    assert len(traced) == 2
    for file in cache.rglob("*.xml"):
        file.write_text("<damaged")
    make_engine(network, EXAMPLE, "openvino", "float32")
    assert len(traced) == 3
    assert not [path for path in cache.iterdir() if not path.name.startswith("openvino-")]


@needs_openvino
def test_a_cache_that_cannot_be_written_is_done_without(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ROS_MATCHING_CACHE", str(tmp_path / "file" / "cache"))
    assert make_engine(network, EXAMPLE, "openvino", "float32").name == "openvino"


@needs_openvino
@torch.inference_mode()
def test_a_cached_model_of_other_code_is_made_again(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_digest", lambda *_: "the same for all")
    make_engine(network, EXAMPLE, "openvino", "float32")
    network.second.bias.data += 1
    engine = make_engine(network, EXAMPLE, "openvino", "float32")
    torch.testing.assert_close(engine(*EXAMPLE)[1], network(*EXAMPLE)[1], rtol=1e-4, atol=1e-5)


@needs_openvino
def test_an_engine_that_disagrees_is_refused(
    network: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = copy.deepcopy(network)
    other.second.bias.data += 1
    traced_model = engines._traced_model
    monkeypatch.setattr(engines, "_traced_model", lambda core, module, *rest: traced_model(core, other, *rest))
    with pytest.raises(ConfigError, match="differ from PyTorch"):
        make_engine(network, EXAMPLE, "openvino", "float32")
    with caplog.at_level(logging.WARNING):
        assert isinstance(make_engine(network, EXAMPLE, "auto", "float32"), TorchEngine)
    assert "PyTorch runs Network" in caplog.text


@needs_openvino
def test_openvino_refuses_unsupported_precisions(network: Network) -> None:
    with pytest.raises(ConfigError, match="float16"):
        OpenVinoEngine(network, EXAMPLE, "float16")


@needs_openvino
def test_parts_of_the_extractor_fall_back_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    agreeing = engines._agreeing

    def refuse_texture(module: nn.Module, *rest: object) -> OpenVinoEngine:
        if type(module).__name__ == "_Texture":
            raise ConfigError("its outputs differ")
        return agreeing(module, *rest)

    monkeypatch.setattr(engines, "_agreeing", refuse_texture)
    extractor = PoSFeatExtractor(PoSFeatLite().eval(), replace(LITE, engine="auto"))
    assert extractor.engine.startswith("openvino")
    assert isinstance(extractor._texture, TorchEngine)
