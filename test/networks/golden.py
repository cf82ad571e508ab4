"""Weights and inputs filled by a rule from their names, on which reference outputs of the published networks exist.

The seed of a tensor is the CRC-32 of its name; NumPy's Philox generator gives standard normal numbers, scaled by what
kind of tensor the name and shape say it is. All in float64, rounded once to float32.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import numpy as np
import torch


def _generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode())))


def normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal input "input:name", float32."""
    return _generator(f"input:{name}").standard_normal(math.prod(shape)).reshape(shape).astype(np.float32)


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform input "input:name" in [0, 1), float32."""
    return _generator(f"input:{name}").random(math.prod(shape)).reshape(shape).astype(np.float32)


def fill(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of the state-dict entry of that key and shape."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    z = _generator(key).standard_normal(math.prod(shape)).reshape(shape)
    if key.endswith("running_mean"):
        value = 0.1 * z
    elif key.endswith("running_var"):
        value = 1 + 0.1 * np.abs(z)
    elif key.endswith(".bias") or key == "bias":
        value = 0.1 * z
    elif z.ndim >= 2:
        value = z * math.sqrt(2 / math.prod(shape[1:]))
    elif z.size == 1:
        value = (0.25 if key.endswith("weight") else 0.5) + 0.1 * z
    else:
        value = 1 + 0.1 * z
    return value.astype(np.float32)


def fill_state_dict(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """A state dict of the given keys and shapes."""
    return {key: torch.from_numpy(np.array(fill(key, shape))) for key, shape in shapes.items()}
