"""Batch normalisation at inference is part of the convolution before it; folded, a pass over each map is saved."""

from __future__ import annotations

from copy import deepcopy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def folded(network: nn.Module) -> nn.Module:
    """A copy of ``network`` for evaluation, with the ``bn`` of every submodule folded into its ``conv``."""
    network = deepcopy(network).eval()
    for module in network.modules():
        if isinstance(getattr(module, "bn", None), nn.BatchNorm2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = nn.Identity()
    return network
