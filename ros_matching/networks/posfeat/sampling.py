"""Descriptors between the cells of a map at a quarter of the image's size.

``x`` is a pixel coordinate (pixel centres at integers), ``u`` one of the map (cell centres at integers), W the width of
the image, four times that of the map.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

MAP_STRIDE = 4


def sample_published(descriptors: Tensor, keypoints: Tensor) -> Tensor:
    """Unit descriptors (B, N, D) at ``keypoints`` (B, N, 2) in pixels, as PoSFeat's published weights were trained.

    The authors' code divides by the distance of the outermost pixel centres but samples between the outer pixel edges:
    u = x/4 W/(W-1) - 1/2, which is off by half a pixel at the borders, and takes zeros beyond the map.
    """
    height, width = (MAP_STRIDE * n for n in descriptors.shape[-2:])
    return sample_normalised(descriptors, to_normalised(keypoints, height, width))


def sample_aligned(descriptors: Tensor, keypoints: Tensor) -> Tensor:
    """Unit descriptors (B, N, D) at ``keypoints`` (B, N, 2) in pixels, geometrically exact: u = (x + 1/2)/4 - 1/2.

    Beyond the outermost cell centres the map is constant.
    """
    size = keypoints.new_tensor([descriptors.shape[-1], descriptors.shape[-2]]) * MAP_STRIDE
    return _sample(descriptors, (2 * keypoints + 1) / size - 1, padding_mode="border")


def sample_normalised(descriptors: Tensor, points: Tensor) -> Tensor:
    """Unit descriptors (B, N, D) at ``points`` (B, N, 2) in [-1, 1] over the map's outer edges; zeros beyond."""
    return _sample(descriptors, points, padding_mode="zeros")


def to_normalised(keypoints: Tensor, height: int, width: int) -> Tensor:
    """Pixels (..., 2) to [-1, 1] over the centres of the first and last pixel."""
    half = keypoints.new_tensor([(width - 1) / 2, (height - 1) / 2])
    return keypoints / half - 1


def _sample(descriptors: Tensor, points: Tensor, padding_mode: str) -> Tensor:
    """In full precision: the map has a large range, and 16 bits would move the points by pixels."""
    with torch.autocast(device_type=descriptors.device.type, enabled=False):
        if descriptors.dtype in (torch.float16, torch.bfloat16):
            descriptors = descriptors.float()
        points = points.to(descriptors.dtype)[:, None]
        sampled = functional.grid_sample(
            descriptors, points, mode="bilinear", padding_mode=padding_mode, align_corners=False
        )
        return functional.normalize(sampled[:, :, 0], dim=1, eps=1e-12).mT
