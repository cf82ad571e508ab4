"""Weights and inputs filled by a rule from their names, on which reference outputs of the published networks exist.

The seed of a tensor is the CRC-32 of its name; NumPy's Philox generator gives standard normal numbers, scaled by what
kind of tensor the name and shape say it is. All in float64, rounded once to float32.

``recorded_outputs.json`` holds digests of what our networks gave with these weights when they gave the reference
outputs, so that a checkout without the reference outputs is tested against them, too. ``ROS_MATCHING_RECORD=1`` writes
it anew: only where the reference outputs are there and the tests against them pass.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

RECORDED = Path(__file__).with_name("recorded_outputs.json")
_SAMPLES = 24


def assert_recorded(name: str, **outputs: torch.Tensor) -> None:
    """Compare outputs of float64, by their shapes, sizes and some of their values, with those on record."""
    digests = {f"{name}/{key}": _digest(value) for key, value in outputs.items()}
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    if os.environ.get("ROS_MATCHING_RECORD"):
        RECORDED.write_text(json.dumps(recorded | digests, indent=0, sort_keys=True) + "\n")
        return
    for key, digest in digests.items():
        assert digest["shape"] == recorded[key]["shape"], key
        # Far above rounding of float64 on any machine, far below any change of the computation.
        tolerance = 1e-6 * max(1e-3, digest["largest"])
        for part in ("largest", "mean_size", "values"):
            np.testing.assert_allclose(digest[part], recorded[key][part], rtol=0, atol=tolerance, err_msg=key)


def _digest(output: torch.Tensor) -> dict[str, list[int] | list[float] | float]:
    assert output.dtype == torch.float64
    flat = output.detach().flatten()
    picked = flat[torch.linspace(0, len(flat) - 1, _SAMPLES).long()]
    return {
        "shape": list(output.shape),
        "largest": flat.abs().max().item(),
        "mean_size": flat.abs().mean().item(),
        "values": [float(f"{value:.10g}") for value in picked.tolist()],
    }


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
