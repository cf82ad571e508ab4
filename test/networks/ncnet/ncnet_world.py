"""A world whose descriptors are known everywhere, and consensus weights that do what training is to teach them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ros_matching.datatypes import Features
from ros_matching.networks.ncnet.network import ConsensusNetwork, consensus_network
from ros_matching.networks.ncnet.readout import MapGrid

STRIDE = 4


class DescriptorField:
    """Unit descriptors (D,) as a smooth function of position: random waves, so that the cosine of two descriptors falls
    with their distance like a Gaussian, half of the channels finely (8 px) and half coarsely (32 px)."""

    def __init__(self, channels: int = 64, seed: int = 3) -> None:
        generator = torch.Generator().manual_seed(seed)
        scale = torch.cat([torch.full((channels // 2,), 8.0), torch.full((channels // 2,), 32.0)])
        self.waves = torch.randn(2, channels, generator=generator) / scale
        self.phases = torch.rand(channels, generator=generator) * 2 * math.pi

    def __call__(self, points_px: Tensor) -> Tensor:
        return torch.nn.functional.normalize(torch.cos(points_px @ self.waves + self.phases), dim=-1)


def features(field: DescriptorField, keypoints: Tensor, to_world: Tensor, size: tuple[int, int]) -> Features:
    """The features of a camera that images the world point to_world x (3, 3) at pixel x; ``size`` (w, h)."""
    grid = MapGrid(size[1] // STRIDE, size[0] // STRIDE, STRIDE)
    y, x = torch.meshgrid(torch.arange(grid.rows), torch.arange(grid.columns), indexing="ij")
    cells_px = grid.to_px(torch.stack([x, y], dim=-1).float())
    return Features(
        keypoints=keypoints,
        scores=torch.ones(len(keypoints)),
        descriptors=field(transform(to_world, keypoints)),
        extractor="world",
        dense_map=3 * field(transform(to_world, cells_px)).permute(2, 0, 1),  # PoSFeat's is not normalised either
    )


def transform(matrix: Tensor, points: Tensor) -> Tensor:
    homogeneous = points @ matrix[:, :2].T + matrix[:, 2]
    return homogeneous[..., :2] / homogeneous[..., 2:]


def scattered(count: int, size: tuple[int, int], seed: int, margin: int = 12) -> Tensor:
    low, high = np.array([margin, margin]), np.array(size) - margin
    return torch.from_numpy(np.random.default_rng(seed).uniform(low, high, (count, 2))).float()


def voting_network(name: str = "ncnet_lite") -> ConsensusNetwork:
    """Weights by hand: the sum over neighbours of equal displacement in both images."""
    network = consensus_network(name)
    first, *rest = network.consensus.layers
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for row in range(3):
            for column in range(3):
                first.weight[0, 0, row, column, row, column] = 1
        for layer in rest:
            layer.weight[0, 0, 1, 1, 1, 1] = 1
    return network
