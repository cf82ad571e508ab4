"""Depth to a fraction of a hypothesis: a narrow sweep of normalised cross-correlation around the network's depth.

Hypotheses are a few percent of the depth apart, and features have a quarter of the image's size: the network knows
which surface a pixel sees, but not exactly where that is. The images at their full size do, where there is texture.
R-MVSNet (Yao et al., CVPR 2019) refines its depth by the same measure, there by descent, with a smoothness term.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ros_matching.networks.pbs_mvsnet.network import FEATURE_STRIDE
from ros_matching.networks.pbs_mvsnet.warping import normalized, pixel_grid, source_from_reference

_WINDOW_PX = 9
_NOISE = 2 / 255  # of the images: what has less texture than that does not correlate
_TRUST = 0.005  # of correlation, which a depth at the end of the reach must have more: flat peaks change nothing
_EPSILON = 1e-6


class Refined(NamedTuple):
    """``inverse`` (h, w), 1 / depth, and the ``correlation`` (h, w) in [0, 1] there, 0 where there is no texture.

    Where no source sees all of a pixel's window at all depths that are tried, its depth is as it was, and the
    correlation is 0.
    """

    inverse: Tensor
    correlation: Tensor


def refine(inverse: Tensor, reach: Tensor, steps: int, images: Tensor, projections: Tensor, sizes: Tensor) -> Refined:
    """Try ``steps`` values of 1 / depth on either side, up to ``reach`` (h, w) away, and take the best correlation.

    ``inverse`` (h, w) is 1 / depth of the reference, pixel (i, j) that of the image's (4 i, 4 j). ``images``
    (N, 3, H, W), the reference first, are padded to one size, ``sizes`` (N, 2) are their true widths and heights;
    ``projections`` (N, 4, 4) are ``K [R|t]`` of the images, as in ``warping``. Windows follow the surface: their
    pixels have depths of their own, interpolated and shifted together. The correlation is the mean over the sources
    that see the window.
    """
    size = tuple(FEATURE_STRIDE * (length - 1) + 1 for length in inverse.shape)
    middle, away = functional.interpolate(
        torch.stack([inverse, reach])[None], size=size, mode="bilinear", align_corners=True
    )[0]
    grey = images.mean(dim=1, keepdim=True)
    grey = grey - grey.mean()  # differences of squares then keep their digits
    sweep = _Sweep(grey, projections, sizes, size)
    offsets = torch.linspace(-1, 1, 2 * steps + 1, dtype=inverse.dtype, device=inverse.device)
    scores = torch.stack([sweep.correlation((middle + offset * away).clamp(min=_EPSILON)) for offset in offsets])
    shift, best = _peak(scores, _TRUST * offsets.square())
    is_known = torch.isfinite(best)
    shift = torch.where(is_known, shift / steps, 0)
    return Refined(inverse + shift * reach, torch.where(is_known, best, 0).clamp(0, 1))


class _Sweep:
    """The reference's windows against the sources', for one depth map after the other."""

    def __init__(self, grey: Tensor, projections: Tensor, sizes: Tensor, size: tuple[int, ...]) -> None:
        """``grey`` (N, 1, H, W); ``size`` is that of the depth maps to try, from the reference's first pixel on."""
        self._sources, self._size = grey[1:], size
        self._target = grey[:1, :, : size[0], : size[1]]
        self._mean, self._variance = _statistics(self._target)
        rotations, translations = source_from_reference(projections[None])
        self._rays = rotations[0] @ pixel_grid(*size, like=grey)  # (N-1, 3, H W)
        self._translations = translations[0]  # (N-1, 3, 1)
        full = sizes.new_tensor([grey.shape[3], grey.shape[2]])
        self._limit = (2 * (sizes[1:] - 1) / (full - 1) - 1 + _EPSILON)[:, None, None]

    def correlation(self, inverse: Tensor) -> Tensor:
        """The correlation (h, w) at 1 / depth (H, W); NaN where no source sees a window."""
        points = self._rays + self._translations * inverse.flatten()
        grid = normalized(*points.unbind(1), *self._sources.shape[2:]).unflatten(1, self._size)
        warped = functional.grid_sample(self._sources, grid, padding_mode="zeros", align_corners=True)
        inside = ((grid >= -1 - _EPSILON) & (grid <= self._limit)).all(dim=-1).unsqueeze(1)
        mean, variance = _statistics(warped)
        covariance = _means(warped * self._target) - mean * self._mean
        score = covariance / ((variance + _NOISE**2) * (self._variance + _NOISE**2)).sqrt()
        seen = _means(inside.to(warped.dtype)) > 1 - _EPSILON
        return (torch.where(seen, score, 0).sum(dim=0) / seen.sum(dim=0))[0]


def _statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the windows around every fourth pixel."""
    mean = _means(images)
    return mean, (_means(images.square()) - mean.square()).clamp(min=0)


def _means(images: Tensor) -> Tensor:
    """The means (B, 1, h, w) of the windows around every fourth pixel of (B, 1, H, W), cut at the borders."""
    for kernel, stride in (((_WINDOW_PX, 1), (FEATURE_STRIDE, 1)), ((1, _WINDOW_PX), (1, FEATURE_STRIDE))):
        padding = (kernel[0] // 2, kernel[1] // 2)
        images = functional.avg_pool2d(images, kernel, stride, padding, count_include_pad=False)
    return images


def _peak(scores: Tensor, handicap: Tensor) -> tuple[Tensor, Tensor]:
    """Where scores (2 K + 1, h, w) less their handicap (2 K + 1,) are highest, from -K to K by a parabola.

    The second is the score there without the handicap; NaN where one of them is NaN.
    """
    scores = torch.where(torch.isfinite(scores).all(dim=0), scores, torch.nan) - handicap[:, None, None]
    best, row = scores.max(dim=0)
    last = len(scores) - 1
    before, after = (scores.gather(0, (row + step).clamp(0, last)[None])[0] for step in (-1, 1))
    curvature = before - 2 * best + after
    is_inside = (row > 0) & (row < last) & (curvature < -_EPSILON)
    fraction = torch.where(is_inside, (before - after) / (2 * torch.where(is_inside, curvature, 1)), 0)
    return row + fraction - last // 2, best + handicap[row]
