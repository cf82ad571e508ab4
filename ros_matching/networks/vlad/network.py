"""VLAD: aggregates the descriptors of the keypoints of an image into one vector.

Jegou et al., "Aggregating local descriptors into a compact image representation", CVPR 2010: for each of K centres the
sum of the differences of the descriptors nearest to it; each sum is normalised (Arandjelovic and Zisserman, "All about
VLAD", CVPR 2013). The descriptors are first projected on their principal components.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Vlad(nn.Module):
    """Vectors (K S,) of unit length from descriptors (N, D), by K ``centers`` of their S principal components."""

    def __init__(self, centers: int, size: int, descriptor_size: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(descriptor_size))
        self.components = nn.Parameter(torch.zeros(size, descriptor_size))
        self.centers = nn.Parameter(torch.zeros(centers, size))

    def forward(self, descriptors: Tensor) -> Tensor:
        """Return the vector (K S,) of an image; zeros without descriptors."""
        reduced = (descriptors - self.mean) @ self.components.T
        nearest = (reduced @ self.centers.T - 0.5 * self.centers.square().sum(dim=1)).argmax(dim=1)
        sums = torch.zeros_like(self.centers).index_add(0, nearest, reduced - self.centers[nearest])
        return functional.normalize(functional.normalize(sums, dim=1).flatten(), dim=0)
