"""Engines that run the forward pass of a network: PyTorch, or OpenVINO, which is faster on a CPU.

OpenVINO (extra ``cpu``) gets a network by tracing it once. The traced model is cached in a folder of the user by
the hash of its weights, and compiled for each image size when that first comes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import shutil
import tempfile
import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ros_matching.errors import ConfigError, MissingDependencyError
from ros_matching.networks import ENGINE_PRECISIONS, ENGINES

# Relative error of an output against PyTorch in float32 up to which an engine is taken to compute the same.
_AGREEMENT = {"float32": 1e-3, "bfloat16": 0.06}
_KEPT_SIZES = 4  # compiled models, of the image sizes that came last
_LOGGER = logging.getLogger(__name__)


class Engine(Protocol):
    """Runs a network; ``name`` and ``precision`` identify the engine."""

    name: str
    precision: str

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for inputs on the network's device."""


def make_engine(
    module: nn.Module, example: Sequence[Tensor], engine: str = "auto", precision: str = "auto"
) -> TorchEngine | OpenVinoEngine:
    """Return the engine for a network in evaluation mode, whose forward returns a tuple of tensors.

    ``example`` are inputs to trace it with; other sizes may come later. ``auto`` is OpenVINO on a CPU where it is
    installed and agrees with PyTorch on the example, else PyTorch. The precision ``auto`` is float32 with PyTorch, and
    with OpenVINO bfloat16 where the CPU computes in it. Raises ``ConfigError`` for an unknown engine or precision and
    for OpenVINO where it cannot be used or does not agree, and ``MissingDependencyError`` if it is not installed.
    """
    if engine not in ENGINES or precision not in ENGINE_PRECISIONS:
        raise ConfigError(
            f"engine must be one of {', '.join(ENGINES)} and precision one of {', '.join(ENGINE_PRECISIONS)}, "
            f"got {engine!r} and {precision!r}"
        )
    in_torch = TorchEngine(module, example[0].device, precision)
    if engine == "torch" or (engine == "auto" and not _suits_openvino(example, precision)):
        return in_torch
    try:
        return _agreeing(module, example, precision)
    except (ConfigError, RuntimeError) as error:  # OpenVINO raises RuntimeError if it cannot convert
        reason = str(error).partition("\n")[0]  # OpenVINO lists the whole graph
        if engine != "auto":
            raise ConfigError(f"OpenVINO cannot run {type(module).__name__}: {reason}; use engine 'torch'") from error
        _LOGGER.warning("PyTorch runs %s, because OpenVINO cannot: %s", type(module).__name__, reason)
        return in_torch


class TorchEngine:
    """PyTorch, on whatever device the network is."""

    name = "torch"

    def __init__(self, module: nn.Module, device: torch.device, precision: str) -> None:
        self.precision = "float32" if precision == "auto" else precision
        self._module = module
        self._device = device

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the network."""
        with autocast(self._device, self.precision):
            return self._module(*inputs)


class OpenVinoEngine:
    """OpenVINO on the CPU, with as many threads as PyTorch has when a size first comes."""

    name = "openvino"

    def __init__(
        self, module: nn.Module, example: Sequence[Tensor], precision: str, *, from_cache: bool = True
    ) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingDependencyError(
                "engine 'openvino' needs OpenVINO; install it with: pip install openvino (extra cpu of ros_matching)"
            ) from error
        if example[0].device.type != "cpu":
            raise ConfigError(f"the network is on {example[0].device}, and OpenVINO runs it on a CPU")
        self._openvino, self._core = openvino, openvino.Core()
        self.precision = self._chosen(precision)
        self._model, self._weights_owner = _traced_model(self._core, module, example, from_cache)
        self._requests: OrderedDict[tuple, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs of the network, in memory of their own."""
        arrays = [x.contiguous().numpy() for x in inputs]
        with self._lock:  # a request runs one inference at a time
            request = self._request(tuple(tuple(x.shape) for x in inputs))
            outputs = tuple(torch.empty(tuple(output.shape)) for output in request.model_outputs)
            for index, output in enumerate(outputs):
                request.set_output_tensor(index, self._openvino.Tensor(output.numpy(), shared_memory=True))
            request.infer(arrays, share_inputs=True, share_outputs=True)
        return outputs

    def _request(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        if shapes not in self._requests:
            self._model.reshape(dict(enumerate(map(list, shapes))))
            settings = {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[self.precision],
            }
            self._requests[shapes] = self._core.compile_model(self._model, "CPU", settings).create_infer_request()
            while len(self._requests) > _KEPT_SIZES:
                self._requests.popitem(last=False)
        self._requests.move_to_end(shapes)
        return self._requests[shapes]

    def _chosen(self, precision: str) -> str:
        has_bfloat16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "auto":
            return "bfloat16" if has_bfloat16 else "float32"
        if precision == "float16" or (precision == "bfloat16" and not has_bfloat16):
            raise ConfigError(f"this CPU does not compute in {precision}; use precision 'auto' or 'float32'")
        return precision


def _suits_openvino(example: Sequence[Tensor], precision: str) -> bool:
    is_on_cpu = all(x.device.type == "cpu" for x in example)
    return is_on_cpu and precision != "float16" and importlib.util.find_spec("openvino") is not None


def _agreeing(module: nn.Module, example: Sequence[Tensor], precision: str) -> OpenVinoEngine:
    """The engine, checked against PyTorch; a cached model that fails, as of other code, is traced again."""
    with torch.inference_mode():
        expected = module(*example)
    for from_cache in (True, False):
        candidate = OpenVinoEngine(module, example, precision, from_cache=from_cache)
        errors = [
            float((a - b).norm() / b.norm().clamp(min=1e-9)) for a, b in zip(candidate(*example), expected, strict=True)
        ]
        limit = _AGREEMENT[candidate.precision]
        if all(error <= limit for error in errors):
            return candidate
    raise ConfigError(
        f"in {candidate.precision} its outputs differ from PyTorch's by {max(errors):.2g} of their size, up to "
        f"{limit:g} is expected"
    )


def _traced_model(core: Any, module: nn.Module, example: Sequence[Tensor], from_cache: bool) -> tuple[Any, Any]:
    """The traced model: from the cache, or traced and put there; a cache that cannot be written is done without.

    Also returns the object that holds the weights, which must live as long as the model.
    """
    import openvino

    folder = cache_folder() / f"openvino-{_digest(module, openvino.__version__)}"
    file = folder / "model.xml"
    if file.is_file() and from_cache:
        try:
            return core.read_model(file), None
        except RuntimeError as error:
            _LOGGER.warning("%s cannot be read and is made again: %s", file, error)
    model, weights_owner = _traced(module, example)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
            openvino.save_model(model, Path(unfinished) / "new" / "model.xml", compress_to_fp16=False)
            shutil.rmtree(folder, ignore_errors=True)
            (Path(unfinished) / "new").rename(folder)
    except (OSError, RuntimeError) as error:
        _LOGGER.info("the model is not cached in %s: %s", folder, error)
    return model, weights_owner


def _traced(module: nn.Module, example: Sequence[Tensor]) -> tuple[Any, Any]:
    """The model of a network, by OpenVINO's reader of PyTorch itself: ``convert_model`` would report usage to Intel."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: sizes are constants to it, and the way itself is getting old
        front_end = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(module, example_input=tuple(example))
        return front_end.convert(front_end.load(decoder)), decoder


def cache_folder() -> Path:
    """Return the folder of cached models: ROS_MATCHING_CACHE, or ros_matching in the user's cache folder."""
    given = os.environ.get("ROS_MATCHING_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ros_matching"


def _digest(module: nn.Module, version: str) -> str:
    """The hash of a network's weights, its kind, and the versions that make a model of it."""
    digest = hashlib.sha256(f"{module}|{torch.__version__}|{version}".encode())
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


def torch_device(device: str) -> torch.device:
    """The device of that name; ``auto`` is the GPU if there is one. ``ConfigError`` if it cannot be had."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"no device is called {device!r}; use 'auto', 'cpu' or 'cuda'") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {device!r} needs a CUDA GPU and a PyTorch that supports it; use 'auto' or 'cpu'")
    return found


_HALVES = (torch.float16, torch.bfloat16)


def full_precision(x: Tensor) -> Tensor:
    """float16 and bfloat16 as float32; the rest as it is."""
    return x.float() if x.dtype in _HALVES else x


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Convolutions and products in one of ``networks.PRECISIONS``; ``float32`` leaves everything as it is."""
    return nullcontext() if precision == "float32" else torch.autocast(device.type, dtype=getattr(torch, precision))


def folded(network: nn.Module) -> nn.Module:
    """A copy of ``network`` for evaluation, with the ``bn`` of every submodule folded into its ``conv``."""
    network = deepcopy(network).eval()
    for module in network.modules():
        if isinstance(getattr(module, "bn", None), nn.BatchNorm2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = nn.Identity()
    return network
