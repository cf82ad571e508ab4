"""Differences between the outputs of one network on two devices or in two precisions, for ``ros-matching doctor``."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ros_matching.datatypes import Features, Matches
from ros_matching.networks.speed import workloads

TOLERANCE = {"float32": 1e-2, "float16": 0.1, "bfloat16": 0.1}
"""Relative difference, by precision, up to which two devices agree; of matches, the fraction that differs."""


class Comparison(NamedTuple):
    """The ``difference`` of two runs of a network, 0 where they are equal, and the time of the one on the CPU.

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
