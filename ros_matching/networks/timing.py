"""Time and memory of the networks on this machine, with random weights and inputs.

The workloads are those of a robot: from image to features for PoSFeat, from features to matches for the matchers. A
workload is built, warmed up and timed; the result is the shortest run, because other processes only add time.
"""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ros_matching.datatypes import Camera, Features, Matches
from ros_matching.errors import ConfigError
from ros_matching.networks.cnn_geometric.aligner import AlignerConfig, FeatureAligner, ImageAligner
from ros_matching.networks.cnn_geometric.network import CNNGeometric, cnn_geometric_lite
from ros_matching.networks.engines import autocast
from ros_matching.networks.ncmnet.network import NCMNet, ncmnet_lite
from ros_matching.networks.ncmnet.pruner import NCMNetPruner
from ros_matching.networks.ncnet.matcher import ConsensusConfig, ConsensusMatcher
from ros_matching.networks.ncnet.network import consensus_network
from ros_matching.networks.pbs_mvsnet.network import BSMVSNet, BSMVSNetConfig
from ros_matching.networks.pbs_mvsnet.regression import depth_hypotheses
from ros_matching.networks.posfeat.extractor import LITE, PoSFeatConfig, PoSFeatExtractor
from ros_matching.networks.posfeat.lite import PoSFeatLite
from ros_matching.networks.posfeat.network import DESCRIPTOR_DIM, PoSFeat
from ros_matching.networks.posfeat.sampling import MAP_STRIDE

Run = Callable[[], object]
Make = Callable[[torch.device, str], Run]


@dataclass(frozen=True)
class Speed:
    """One measurement: the shortest and the median run in milliseconds, and memory in MB.

    ``memory_mb`` is the peak of the whole process on a CPU, that of the tensors on a GPU.
    """

    best_ms: float
    median_ms: float
    memory_mb: float


def workloads() -> dict[str, Make]:
    """Return the workloads by name; each is built for a device and a precision (``float32``, ``float16``...)."""
    made: dict[str, Make] = {}
    for network in ("posfeat", "posfeat_lite"):
        for size in ((640, 480), (320, 240)):
            made[f"{network} {size[0]}x{size[1]}"] = partial(_extraction, network, size)
    for network in ("ncnet_lite", "ncnet_ivd", "ncnet_pfpascal"):
        for form in ("sparse", "dense"):
            made[f"{network} {form} 640x480"] = partial(_consensus, network, form)
    for network in ("ncmnet", "ncmnet_lite"):
        for count in (500, 1000, 2000):
            made[f"{network} {count} matches"] = partial(_pruning, network, count)
    for network in ("pbs_mvsnet", "pbs_mvsnet_lite"):
        for size, planes in (((320, 256), 64), ((640, 512), 48), ((640, 512), 192)):
            made[f"{network} 5 views {size[0]}x{size[1]} D={planes}"] = partial(_depth, network, size, planes)
    for stages in ("affine", "affine+tps"):
        made[f"cnn_geometric_lite {stages}"] = partial(_map_alignment, stages)
        for trunk in ("vgg16", "resnet101"):
            made[f"cnn_geometric {trunk} {stages}"] = partial(_image_alignment, trunk, stages)
    return made


def measure(name: str, device: str = "cpu", precision: str = "float32", repeats: int = 8) -> Speed:
    """Build, warm up and time one of the ``workloads``; for the memory on a CPU to be its own, in a new process."""
    known = workloads()
    if name not in known:
        raise ConfigError(f"there is no workload {name!r}; there are: {', '.join(known)}")
    torch.manual_seed(0)
    target = torch.device(device)
    run = known[name](target, precision)
    run()
    run()
    times = []
    for _ in range(repeats):
        _wait_for(target)
        start = time.perf_counter()
        run()
        _wait_for(target)
        times.append(1e3 * (time.perf_counter() - start))
    return Speed(min(times), float(np.median(times)), _peak_mb(target))


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _image(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def _extraction(network: str, size: tuple[int, int], device: torch.device, precision: str) -> Run:
    module, config = (PoSFeat(), PoSFeatConfig()) if network == "posfeat" else (PoSFeatLite(), LITE)
    extractor = PoSFeatExtractor(module.to(device).eval(), replace(config, precision=precision))
    return partial(extractor.extract, _image(size))


def _features(device: torch.device, seed: int) -> Features:
    """1000 keypoints with a descriptor map, as of an image of 640 x 480."""
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randn(DESCRIPTOR_DIM, 480 // MAP_STRIDE, 640 // MAP_STRIDE, generator=generator)
    keypoints = torch.rand(1000, 2, generator=generator) * torch.tensor([639.0, 479.0])
    columns, rows = (keypoints / MAP_STRIDE).long().unbind(1)
    descriptors = torch.nn.functional.normalize(dense[:, rows, columns].T, dim=1)
    tensors = (keypoints, torch.rand(1000, generator=generator), descriptors, dense)
    keypoints, scores, descriptors, dense = (tensor.to(device) for tensor in tensors)
    return Features(keypoints, scores, descriptors, "posfeat_lite", dense)


def _consensus(network: str, form: str, device: torch.device, precision: str) -> Run:
    config = ConsensusConfig(form=form, map_sampling="aligned")
    matcher = ConsensusMatcher(consensus_network(network).to(device).eval(), config)
    features = _features(device, 0), _features(device, 1)
    return _autocast(partial(matcher.match, *features), device, precision)


def _pruning(network: str, count: int, device: torch.device, precision: str) -> Run:
    pruner = NCMNetPruner((NCMNet() if network == "ncmnet" else ncmnet_lite()).to(device))
    points = np.random.default_rng(0).uniform(0, 479, (2, count, 2))
    matches = Matches(*points, np.ones(count), np.arange(count), np.arange(count))
    camera = Camera(width=640, height=480, fx=500.0, fy=500.0, cx=319.5, cy=239.5)
    return _autocast(partial(pruner.prune, matches, camera, camera), device, precision)


def _depth(network: str, size: tuple[int, int], planes: int, device: torch.device, precision: str) -> Run:
    module = BSMVSNet(BSMVSNetConfig.named(network)).to(device).eval()
    images = torch.rand(1, 5, 3, size[1], size[0], device=device)
    projections = torch.eye(4, device=device).repeat(1, 5, 1, 1)
    projections[:, :, 0, 2], projections[:, :, 1, 2] = size[0] / 8, size[1] / 8
    projections[:, :, (0, 1), (0, 1)] = size[0] / 4
    projections[:, 1:, 0, 3] = torch.linspace(-5, 5, 4, device=device)
    limits = (torch.tensor([value], device=device) for value in (1.0, 10.0))
    depths = depth_hypotheses(*limits, planes, module.config.sampling)
    return _autocast(torch.inference_mode()(partial(module, images, projections, depths)), device, precision)


def _map_alignment(stages: str, device: torch.device, precision: str) -> Run:
    network = cnn_geometric_lite().to(device).eval()
    config = AlignerConfig(stages=stages, precision=precision)
    aligner = FeatureAligner(network, "posfeat_lite", MAP_STRIDE, config)
    return partial(aligner.align, _features(device, 0), _features(device, 1))


def _image_alignment(trunk: str, stages: str, device: torch.device, precision: str) -> Run:
    network = CNNGeometric(trunk, ("affine", "tps")).to(device).eval()
    aligner = ImageAligner(network, AlignerConfig(stages=stages, precision=precision))
    return partial(aligner.align, _image((640, 480)), _image((640, 480)))


def _autocast(run: Run, device: torch.device, precision: str) -> Run:
    def in_precision() -> object:
        with autocast(device, precision):
            return run()

    return in_precision


TOLERANCE = {"float32": 1e-2, "float16": 0.1, "bfloat16": 0.1}
"""Relative difference, by precision, up to which two devices agree; of matches, the fraction that differs."""


class Comparison(NamedTuple):
    """The ``difference`` of two runs of a network, 0 if they are equal, and the time of the one on the CPU.

    Of numbers it is the norm of the difference relative to the norm, of matches the fraction of pairs that only one of
    the two found; of several outputs the largest.
    """

    difference: float
    cpu_ms: float


def compare(name: str, device: str, precision: str) -> Comparison:
    """Run a workload of ``speed.workloads`` on the CPU in float32 and on a device in a precision."""
    results, times_ms = [], []
    for where, how in (("cpu", "float32"), (device, precision)):
        torch.manual_seed(0)  # the weights
        run = workloads()[name](torch.device(where), how)
        start = time.perf_counter()
        results.append(run())
        times_ms.append(1e3 * (time.perf_counter() - start))
    return Comparison(max(_differences(*results), default=0.0), times_ms[0])


def _differences(a: object, b: object) -> Iterator[float]:
    if isinstance(a, Features):
        yield _relative(a.dense_map, b.dense_map)  # keypoints follow from maps, and their order from rounding
    elif isinstance(a, Matches):
        yield _different_pairs(a, b)
    elif isinstance(a, Tensor | np.ndarray):
        if np.issubdtype(_array(a).dtype, np.floating):
            yield _relative(a, b)
    elif isinstance(a, tuple | list):
        for ours, theirs in zip(a, b, strict=True):
            yield from _differences(ours, theirs)
    elif isinstance(a, dict):
        for key in a:
            yield from _differences(a[key], b[key])
    elif dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            yield from _differences(getattr(a, field.name), getattr(b, field.name))


def _different_pairs(a: Matches, b: Matches) -> float:
    pairs = [set(zip(m.indices0.tolist(), m.indices1.tolist(), strict=True)) for m in (a, b)]
    return len(pairs[0] ^ pairs[1]) / max(1, len(pairs[0] | pairs[1]))


def _relative(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> float:
    ours, theirs = _array(a).astype(np.float64), _array(b).astype(np.float64)
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.linalg.norm(ours - theirs) / max(np.linalg.norm(ours), 1e-12))


def _array(x: Tensor | np.ndarray) -> np.ndarray:
    return x.detach().float().cpu().numpy() if isinstance(x, Tensor) and x.is_floating_point() else np.asarray(x)
