"""Deformable convolution (Dai et al. 2017) in plain torch: torchvision's needs a build for the installed torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def deformable_conv2d(x: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """Convolve (B, C, H, W) with kernels (D, C, k, k), k odd, whose taps move by ``offset`` (B, 2 k k, H, W).

    The offsets are (dy, dx) in pixels for each tap in reading order, at stride 1. Outside the map are zeros, so that
    without offsets this is ``conv2d`` with padding of k // 2.
    """
    height, width = x.shape[-2:]
    size = weight.shape[-1]
    rows = torch.arange(height, device=x.device, dtype=x.dtype)[:, None]
    columns = torch.arange(width, device=x.device, dtype=x.dtype)
    result: Tensor | None = None
    for tap in range(size * size):
        row, column = divmod(tap, size)
        v = rows + (row - size // 2) + offset[:, 2 * tap]
        u = columns + (column - size // 2) + offset[:, 2 * tap + 1]
        moved = functional.grid_sample(
            x, pixels_to_grid(torch.stack([u, v], dim=-1), width, height), align_corners=True
        )
        term = functional.conv2d(moved, weight[:, :, row, column, None, None])
        result = term if result is None else result + term
    return result


def pixels_to_grid(points: Tensor, width: int, height: int) -> Tensor:
    """Pixels (..., 2) as ``grid_sample`` takes them with ``align_corners``."""
    return 2 * points / points.new_tensor([max(width - 1, 1), max(height - 1, 1)]) - 1
