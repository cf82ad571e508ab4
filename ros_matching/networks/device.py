"""Where a network runs."""

from __future__ import annotations

import torch

from ros_matching.errors import ConfigError


def torch_device(device: str) -> torch.device:
    """The device of that name; ``auto`` is the GPU if there is one. ``ConfigError`` where it cannot be had."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"no device is called {device!r}; use 'auto', 'cpu' or 'cuda'") from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {device!r} needs a CUDA GPU and a PyTorch that supports it; use 'auto' or 'cpu'")
    return found
