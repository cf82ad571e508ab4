"""Self-adaptive view aggregation: one cost volume from any number of source views (equations 3 to 5).

The published code of the closest relative squares the difference of equation 3, and so does this: signed differences
of several views would cancel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ros_matching.networks.pbs_mvsnet.warping import source_from_reference, warp

_PIXEL_GATE_CHANNELS = 8
_PLANES_AT_A_TIME = 8  # the intermediate volumes then fit in a processor's cache


class ResidualBlock2d(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) to the same shape."""
        return torch.relu(x + self.body(x))


class PixelGate(nn.Module):
    """Pixel-wise weights w_hw of equation 4, in (0, 1), from how large and how distinct a view's differences are."""

    def __init__(self) -> None:
        super().__init__()
        channels = _PIXEL_GATE_CHANNELS
        self.body = nn.Sequential(
            nn.Conv2d(2, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            ResidualBlock2d(channels),
            nn.Conv2d(channels, 1, 1),
        )

    def forward(self, difference: Tensor) -> Tensor:
        """Weights (B, 1, 1, h, w) of squared differences (B, C, D, h, w)."""
        norm = difference.sum(dim=1)  # L1: the squares are not negative
        statistics = torch.stack([norm.amax(dim=1), norm.mean(dim=1)], dim=1)
        return torch.sigmoid(self.body(statistics)).unsqueeze(2)


def voxel_gate(channels: int) -> nn.Sequential:
    """Voxel-wise weights w_dhw of equation 5, at least 0, (B, 1, D, h, w) of differences (B, C, D, h, w)."""

    def unit(inputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv3d(inputs, 1, 1), nn.BatchNorm3d(1), nn.ReLU())

    return nn.Sequential(unit(channels), unit(1))


class ViewAggregation(nn.Module):
    """The mean over the source views of their gated differences to the reference; ``gates`` as in the configuration."""

    def __init__(self, channels: int, gates: str) -> None:
        super().__init__()
        self.pixel = PixelGate() if gates in ("pixel", "both") else None
        self.voxel = voxel_gate(channels) if gates in ("voxel", "both") else None

    def forward(self, features: Tensor, projections: Tensor, depths: Tensor) -> Tensor:
        """The cost volume (B, C, D, h, w).

        ``features`` (B, N, C, h, w) with the reference first, ``projections`` (B, N, 4, 4), ``depths`` (B, D).
        """
        rotations, translations = source_from_reference(projections)
        views = list(zip(features[:, 1:].unbind(1), rotations.unbind(1), translations.unbind(1), strict=True))
        # The pixel gate and batch statistics look at all depths at once; everything else is the same plane by plane.
        at_a_time = depths.shape[1] if self.pixel is not None or self.training else _PLANES_AT_A_TIME
        slabs = [self._mean_cost(features[:, 0], views, slab) for slab in depths.split(at_a_time, dim=1)]
        return torch.cat(slabs, dim=2) if len(slabs) > 1 else slabs[0]

    def _mean_cost(self, reference: Tensor, views: list[tuple[Tensor, Tensor, Tensor]], depths: Tensor) -> Tensor:
        size = (reference.shape[2], reference.shape[3])
        cost = None
        for feature, rotation, translation in views:
            warped = warp(feature, rotation, translation, depths, size)
            difference = (warped - reference.unsqueeze(2)).square()  # (3)
            weighted = self._weights(difference) * difference  # (4), (5)
            cost = weighted if cost is None else cost + weighted
        return cost / len(views)

    def _weights(self, difference: Tensor) -> Tensor:
        """``1 + w``: a view is never gated away altogether."""
        weights = difference.new_ones(())
        if self.pixel is not None:
            weights = weights + self.pixel(difference)
        if self.voxel is not None:
            weights = weights + self.voxel(difference)
        return weights
