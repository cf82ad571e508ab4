"""Number formats: where a network may save digits, and where it must not."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

_HALVES = (torch.float16, torch.bfloat16)


def full_precision(x: Tensor) -> Tensor:
    """float16 and bfloat16 as float32; the rest as it is."""
    return x.float() if x.dtype in _HALVES else x


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Convolutions and products in one of ``networks.PRECISIONS``; ``float32`` leaves everything as it is."""
    return nullcontext() if precision == "float32" else torch.autocast(device.type, dtype=getattr(torch, precision))
