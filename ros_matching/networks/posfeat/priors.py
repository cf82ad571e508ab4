"""Hand-made priors of where a map is distinctive, by which PoSFeat's detection network can be led.

The authors' code offers them beside the published form, which has none. Each takes a map (B, C, H, W), features or
image, to its weights, (B, C, H, W) or (B, 1, H, W), positive and in full precision.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

_C1, _C2 = 0.01**2, 0.03**2  # of SSIM, for values from 0 to 1


def dissimilarity(x: Tensor) -> Tensor:
    """How much each channel's surroundings change by a step of one pixel right and down, 0 to 1, (B, C, H, W).

    (1 - SSIM) / 2 of the map's magnitude and the same moved by (1, 1), over 3x3 windows (Wang et al. 2004); mirrored
    at the borders.
    """
    here = x.abs()
    there = functional.pad(here, (0, 1, 0, 1), mode="reflect")[..., 1:, 1:]
    mean_h, mean_t = _mean3(here), _mean3(there)
    variances = _mean3(here.square()) - mean_h.square() + _mean3(there.square()) - mean_t.square()
    covariance = _mean3(here * there) - mean_h * mean_t
    similar = (2 * mean_h * mean_t + _C1) * (2 * covariance + _C2)
    return (0.5 - 0.5 * similar / ((mean_h.square() + mean_t.square() + _C1) * (variances + _C2))).clamp(0, 1)


def peakiness(x: Tensor) -> Tensor:
    """How far the best channel stands out from its 3x3 surroundings and from the other channels, (B, 1, H, W).

    Softplus of the one times softplus of the other (ASLFeat, Luo et al. 2020, equations 5 to 7), of the map divided by
    its largest value.
    """
    largest = x.amax(dim=(1, 2, 3), keepdim=True)
    x = x / torch.where(largest > 0, largest, 1)
    local = functional.softplus(x - _mean3(x))
    across = functional.softplus(x - x.mean(dim=1, keepdim=True))
    return (local * across).amax(dim=1, keepdim=True)


PRIORS: dict[str, Callable[[Tensor], Tensor] | None] = {
    "none": None,
    "dissimilarity": dissimilarity,
    "peakiness": peakiness,
}
"""By name; in the authors' code "identity", "SSIM" and "ASL_Peak"."""


def _mean3(x: Tensor) -> Tensor:
    return functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="reflect"), kernel_size=3, stride=1)
