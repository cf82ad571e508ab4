"""Arrays in host memory or on a device: NumPy's and PyTorch's, which is imported only where it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

    Array = np.ndarray | torch.Tensor


def concatenated(first: Array, second: Array) -> Array:
    """The rows of both, NumPy arrays or torch tensors alike, on the device they are on."""
    if isinstance(first, np.ndarray):
        return np.concatenate([first, second])
    import torch

    return torch.cat([first, second])
