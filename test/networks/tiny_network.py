"""The smallest network with weights and buffers, for tests of files."""

from __future__ import annotations

import torch
from torch import nn


def tiny(channels: int = 3) -> nn.Sequential:
    torch.manual_seed(channels)
    network = nn.Sequential(nn.Conv2d(2, channels, 3), nn.BatchNorm2d(channels))
    network[1].running_var.uniform_(1e-9, 1)
    return network


def assert_equal(came: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert came.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(came[key], value, rtol=0, atol=0)
