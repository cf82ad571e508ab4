"""From costs to depth: hypotheses, soft argmin, confidence (equation 6)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

SAMPLINGS = ("inverse", "linear")


class DepthEstimate(NamedTuple):
    """``depth`` (B, h, w), ``confidence`` (B, h, w) in [0, 1], and the expected hypothesis ``index`` (B, h, w)."""

    depth: Tensor
    confidence: Tensor
    index: Tensor


def depth_hypotheses(near: Tensor, far: Tensor, count: int, sampling: str) -> Tensor:
    """Depths (B, count), ascending, of ranges ``near``, ``far`` (B,).

    ``linear`` has both ends; ``inverse``, uniform in 1/depth, leaves out ``far``, which may be infinite.
    """
    steps = torch.arange(count, dtype=near.dtype, device=near.device)
    if sampling == "linear":
        return near[:, None] + (far - near)[:, None] * (steps / (count - 1))
    fraction = steps / count
    return 1 / ((1 - fraction) / near[:, None] + fraction / far[:, None])


def soft_argmin(cost: Tensor, depths: Tensor, sampling: str, window: int) -> DepthEstimate:
    """The expectation over the hypotheses (6), with the probability mass of the ``window`` planes around it.

    ``cost`` (B, D, h, w), ``depths`` (B, D), ``window`` even. Hypotheses of ``inverse`` sampling are averaged as
    1/depth, in which they are evenly spaced, so that a symmetric peak has its depth, not one farther off.
    """
    probability = torch.softmax(-cost.to(depths.dtype), dim=1)
    steps = torch.arange(cost.shape[1], dtype=depths.dtype, device=depths.device)
    index = torch.einsum("bdhw,d->bhw", probability, steps)
    if sampling == "linear":
        depth = torch.einsum("bdhw,bd->bhw", probability, depths)
    else:
        depth = torch.einsum("bdhw,bd->bhw", probability, depths.reciprocal()).reciprocal()
    return DepthEstimate(depth, confidence_around(probability, index, window), index)


def confidence_around(probability: Tensor, index: Tensor, window: int) -> Tensor:
    """The sum (B, h, w) of the ``window`` planes around ``index``; of 4: from one below its floor to two above."""
    planes = probability.shape[1]
    below = functional.pad(probability.cumsum(dim=1), (0, 0, 0, 0, 1, 0))  # entry d: the mass of planes before d
    middle = index.detach().floor().long().unsqueeze(1) + 1
    first = (middle - window // 2).clamp(0, planes)
    last = (middle + window // 2).clamp(0, planes)
    return (below.gather(1, last) - below.gather(1, first)).squeeze(1).clamp(0, 1)


_SPACINGS = 0.7  # standard deviation in the image, in mean distances of the points
_HYPOTHESES = 1.0  # standard deviation along the hypotheses
_REACH = 3  # standard deviations


def sparse_prior(pixels: Tensor, depths: Tensor, hypotheses: Tensor, size: tuple[int, int], sampling: str) -> Tensor:
    """Return the prior (D, h, w) of every hypothesis in [0, 1]: 1 at the points, less with the distance.

    ``pixels`` (S, 2) of a depth map of that height and width, ``depths`` (S,); ``hypotheses`` (D,) ascending, spaced as
    ``sampling`` defines. Points outside the depth map or the hypotheses are ignored.
    """
    planes = len(hypotheses)
    row = (_position(depths, sampling) - _position(hypotheses[0], sampling)) / (
        _position(hypotheses[-1], sampling) - _position(hypotheses[0], sampling)
    )
    voxels = torch.stack([row * (planes - 1), pixels[:, 1], pixels[:, 0]], dim=1).round()
    limit = voxels.new_tensor([planes, *size])
    voxels = voxels[((voxels >= 0) & (voxels < limit)).all(dim=1)].long()
    prior = torch.zeros(planes, *size, dtype=hypotheses.dtype, device=hypotheses.device)
    if not len(voxels):
        return prior
    prior[tuple(voxels.T)] = 1
    spread = _SPACINGS * (size[0] * size[1] / len(voxels)) ** 0.5
    for axis, std in enumerate((_HYPOTHESES, spread, spread)):
        prior = _blurred(prior, axis, std)
    return prior.clamp(max=1)


def _position(depth: Tensor, sampling: str) -> Tensor:
    """Return the quantity in which hypotheses are uniform, ascending with depth."""
    return depth if sampling == "linear" else -depth.reciprocal()


def _blurred(volume: Tensor, axis: int, std: float) -> Tensor:
    """Each value spread along an axis by a Gaussian of height 1."""
    reach = min(round(_REACH * std + 0.5), volume.shape[axis])
    steps = torch.arange(-reach, reach + 1, dtype=volume.dtype, device=volume.device)
    kernel = torch.exp(-0.5 * (steps / std) ** 2)
    lines = volume.movedim(axis, -1)
    spread = functional.conv1d(lines.flatten(0, 1).unsqueeze(1), kernel[None, None], padding=reach)
    return spread.view(lines.shape).movedim(-1, axis)
