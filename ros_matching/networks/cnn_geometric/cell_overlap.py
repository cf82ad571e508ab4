"""Overlap of two images by CNNGeometric: align the whole images, then compare their cells.

The homography itself is no measure of the overlap of two views of a scene with depth: without a common region it is
arbitrary. Therefore the descriptor of every cell of the aligned map is compared with that of the cell at its position.
The fraction of equal cells is the overlap. Neither keypoints nor a camera are needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ros_matching.config import Config, parameter
from ros_matching.errors import ConfigError
from ros_matching.networks.cnn_geometric.network import GRID_SIZE, CNNGeometric, batch_of_one, normalize
from ros_matching.networks.cnn_geometric.transforms import transform_points, unit_grid

_MODEL = "homography"
_EDGE = 1.0 + 1.0 / (GRID_SIZE - 1)  # the outermost cells reach half a cell beyond their middles


@dataclass(frozen=True)
class OverlapConfig(Config):
    """Settings of the overlap."""

    min_cosine: float = parameter(
        0.5, "cosine of two cells' mean descriptors from which on they are equal", minimum=0.0, maximum=1.0
    )


class CellOverlap:
    """Compares the descriptor maps of images, averaged in 15x15 cells, on the device where the network is."""

    def __init__(self, network: CNNGeometric, config: OverlapConfig | None = None) -> None:
        if network.trunk_name != "descriptor_map" or _MODEL not in network.heads:
            raise ConfigError(
                f"the overlap needs a network with the trunk descriptor_map and a {_MODEL} head, got "
                f"{network.trunk_name} with {', '.join(network.heads)}"
            )
        self.config = config or OverlapConfig()
        self.network = network.eval()
        self._cells = unit_grid(GRID_SIZE, GRID_SIZE, next(network.parameters()))

    @torch.inference_mode()
    def cells(self, dense_map: Tensor) -> Tensor:
        """A descriptor map (D, h, w), 15x15 or more, as unit vectors (D, 15, 15) of its cells."""
        return self.network.features(batch_of_one(dense_map))[0]

    @torch.inference_mode()
    def fractions(self, cells0: Tensor, cells1: Tensor) -> Tensor:
        """Return the fractions (B,) of an image with cells (D, 15, 15) that B others (B, D, 15, 15) show, 0 to 1."""
        target = cells0.expand_as(cells1)
        theta = self.network.heads[_MODEL](self.network.match(cells1, target))
        positions = transform_points(_MODEL, theta, self._cells.expand(len(theta), -1, 2))
        inside = (positions.abs() <= _EDGE).all(dim=2)
        aligned = functional.grid_sample(cells1, positions[:, None], padding_mode="border", align_corners=True)[:, :, 0]
        cosines = (normalize(aligned) * target.flatten(2)).sum(dim=1)
        return (inside & (cosines > self.config.min_cosine)).float().mean(dim=1)
