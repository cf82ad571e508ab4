"""What a few known depths say about the hypotheses of the pixels around them.

Around each point lies a Gaussian, in the image as wide as the points are apart, and along the hypotheses narrow.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_SPACINGS = 0.7  # the deviation in the image, in mean distances of the points
_HYPOTHESES = 1.0  # the deviation along the hypotheses
_REACH = 3  # deviations


def sparse_prior(pixels: Tensor, depths: Tensor, hypotheses: Tensor, size: tuple[int, int], sampling: str) -> Tensor:
    """How near the points are to every hypothesis: (D, h, w) in [0, 1], 1 at the points themselves.

    ``pixels`` (S, 2) of a depth map of that height and width, ``depths`` (S,); ``hypotheses`` (D,) ascending, spaced as
    ``sampling`` says. Points outside of the depth map or the hypotheses say nothing.
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
    for axis, deviation in enumerate((_HYPOTHESES, spread, spread)):
        prior = _blurred(prior, axis, deviation)
    return prior.clamp(max=1)


def _position(depth: Tensor, sampling: str) -> Tensor:
    """What hypotheses are uniform in, ascending with depth."""
    return depth if sampling == "linear" else -depth.reciprocal()


def _blurred(volume: Tensor, axis: int, deviation: float) -> Tensor:
    """Each value spread along an axis by a Gaussian of height 1."""
    reach = min(round(_REACH * deviation + 0.5), volume.shape[axis])
    steps = torch.arange(-reach, reach + 1, dtype=volume.dtype, device=volume.device)
    kernel = torch.exp(-0.5 * (steps / deviation) ** 2)
    lines = volume.movedim(axis, -1)
    spread = functional.conv1d(lines.flatten(0, 1).unsqueeze(1), kernel[None, None], padding=reach)
    return spread.view(lines.shape).movedim(-1, axis)
