"""Depth to a fraction of a hypothesis: a narrow sweep of normalised cross-correlation around the network's depth.

Hypotheses are a few percent of the depth apart, and features have a quarter of the image's size: the network knows
the surface of a pixel, but not its exact depth. The images at their full size do, where there is texture.
R-MVSNet (Yao et al., CVPR 2019) refines its depth by the same measure, there by descent, with a smoothness term.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ros_matching.networks.pbs_mvsnet.network import FEATURE_STRIDE
from ros_matching.networks.pbs_mvsnet.warping import pixel_grid, source_from_reference

_WINDOW_PX = 7
_MARGIN_PX = _WINDOW_PX // 2
_NOISE = 2 / 255  # of the images; less texture does not correlate
_TRUST = 0.005  # of correlation, which a depth at the end of the reach must have more: flat peaks change nothing
_EPSILON = 1e-6


class Refined(NamedTuple):
    """``inverse`` (h, w), 1 / depth, and the ``agreement`` (h, w) in [0, 1] of the images there.

    That is 1 less by how much the correlation falls short of what the reference's texture allows: 1 where there is no
    texture, 0 where textures contradict each other. Where no source contains all of a pixel's window at all depths that
    are tried, the depth is as it was, and the agreement 1: nothing contradicts it.
    """

    inverse: Tensor
    agreement: Tensor


def refine(inverse: Tensor, reach: Tensor, steps: int, images: Tensor, projections: Tensor, sizes: Tensor) -> Refined:
    """Try ``steps`` values of 1 / depth on either side, up to ``reach`` (h, w) away, and take the best correlation.

    ``inverse`` (h, w) is 1 / depth of the reference, pixel (i, j) that of the image's (4 i, 4 j). ``images``
    (N, 3, H, W), the reference first, are padded to one size, ``sizes`` (N, 2) are their true widths and heights;
    ``projections`` (N, 4, 4) are ``K [R|t]`` of the images, as in ``warping``. Windows follow the surface: their
    pixels have depths of their own, interpolated and shifted together. The correlation is the mean over the sources
    that see the window.
    """
    surfaces = _interpolated(torch.stack([inverse, reach])[None], _MARGIN_PX)[0]
    middle, away = surfaces.unbind(0)
    grey = images.mean(dim=1, keepdim=True)
    grey = grey - grey.mean()  # differences of squares then keep their digits
    sweep = _Sweep(grey, projections, sizes, tuple(middle.shape))
    offsets = torch.linspace(-1, 1, 2 * steps + 1, dtype=inverse.dtype, device=inverse.device)
    scores = torch.stack([sweep.correlation((middle + offset * away).clamp(min=_EPSILON)) for offset in offsets])
    shift, best = _peak(scores, _TRUST * offsets.square())
    is_known = torch.isfinite(best)
    shift = torch.where(is_known, shift / steps, 0)
    shortfall = torch.where(is_known, sweep.texture - best, 0).clamp(0, 1)
    return Refined(inverse + shift * reach, 1 - shortfall)


class _Sweep:
    """The reference's windows against the sources', for one depth map after the other.

    Depth maps go a margin beyond the image on all sides, so that the first window's middle is its first pixel.
    """

    def __init__(self, grey: Tensor, projections: Tensor, sizes: Tensor, size: tuple[int, ...]) -> None:
        """``grey`` (N, 1, H, W); ``size`` (H', W') is that of the depth maps to try, with their margin."""
        self._sources, self._size = grey[1:], size
        height, width = (length - 2 * _MARGIN_PX for length in size)
        self._target = functional.pad(grey[:1, :, :height, :width], (_MARGIN_PX,) * 4, mode="replicate")
        self._mean, self._variance = _statistics(self._target)
        self.texture = (self._variance / (self._variance + _NOISE**2))[0, 0]  # the correlation of a window with itself
        rotations, translations = source_from_reference(projections[None])
        pixels = pixel_grid(*size, like=grey)
        pixels[:2] -= _MARGIN_PX
        unit = _normalizing(*grey.shape[2:], like=rotations)
        self._rays = unit @ rotations[0] @ pixels  # (N-1, 3, H' W')
        self._translations = unit @ translations[0]  # (N-1, 3, 1)
        last = 2 * (sizes[1:] - 1) / (sizes.new_tensor([grey.shape[3], grey.shape[2]]) - 1) - 1
        # The range from -1 to the last pixel, as its middle and its half.
        self._middle, self._half = ((last - 1) / 2)[..., None], ((last + 1) / 2 + _EPSILON)[..., None]

    def correlation(self, inverse: Tensor) -> Tensor:
        """The correlation (h, w) at 1 / depth (H', W'); NaN where no source contains a window."""
        points = torch.addcmul(self._rays, self._translations, inverse.flatten())
        z = torch.where(points[:, 2:] > _EPSILON, points[:, 2:], torch.nan)
        xy = points[:, :2] / z  # (N-1, 2, H' W')
        inside = ((xy - self._middle).abs_() <= self._half).all(dim=1)
        grid = xy.transpose(1, 2).unflatten(1, self._size)
        warped = functional.grid_sample(self._sources, grid, padding_mode="border", align_corners=True)
        warped = torch.where(inside.view_as(warped), warped, torch.nan)  # unknown, and so are its windows
        mean, variance = _statistics(warped)
        covariance = _means(warped * self._target) - mean * self._mean
        score = covariance / ((variance + _NOISE**2) * (self._variance + _NOISE**2)).sqrt()
        return score.nanmean(dim=0)[0]


def _interpolated(maps: Tensor, margin: int) -> Tensor:
    """Maps (B, C, h, w) at a quarter of the size as (B, C, H', W'), with a margin that repeats the border."""
    size = [FEATURE_STRIDE * (length - 1) + 1 for length in maps.shape[2:]]
    full = functional.interpolate(maps, size=size, mode="bilinear", align_corners=True)
    return functional.pad(full, (margin,) * 4, mode="replicate")


def _normalizing(height: int, width: int, like: Tensor) -> Tensor:
    """From homogeneous pixels to the positions of ``grid_sample(align_corners=True)``, (3, 3)."""
    across, down = 2 / max(width - 1, 1), 2 / max(height - 1, 1)
    return like.new_tensor([[across, 0, -1], [0, down, -1], [0, 0, 1]])


def _statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the windows around every fourth pixel."""
    mean = _means(images)
    return mean, (_means(images.square()) - mean.square()).clamp(min=0)


def _means(images: Tensor) -> Tensor:
    """The means (B, 1, h, w) of the windows in (B, 1, H', W') whose corners are at every fourth pixel."""
    rows = images.unfold(2, _WINDOW_PX, FEATURE_STRIDE).mean(dim=-1)
    return rows.unfold(3, _WINDOW_PX, FEATURE_STRIDE).mean(dim=-1)


def _peak(scores: Tensor, handicap: Tensor) -> tuple[Tensor, Tensor]:
    """Return the maximum, from -K to K by a parabola, of scores (2 K + 1, h, w) minus their handicap (2 K + 1,).

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
