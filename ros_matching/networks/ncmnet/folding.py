"""NCMNet for inference: batch normalisation is part of the linear layer before it, or of the context normalisation."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ros_matching.networks.ncmnet.blocks import ContextNorm, NeighbourEmbedding, RowNorm, as_float


def folded(network: nn.Module) -> nn.Module:
    """A copy of ``network`` for evaluation that computes the same with a third fewer passes over the features."""
    network = deepcopy(network).eval()
    for module in list(network.modules()):
        if isinstance(module, NeighbourEmbedding):
            module.edges = fuse_conv_bn_eval(module.edges, module.edges_norm)
            module.groups = fuse_linear_bn_eval(module.groups, module.groups_norm)
            module.edges_norm = module.groups_norm = nn.Identity()
        elif isinstance(module, nn.Sequential) and len(module) == 3 and isinstance(module[1], RowNorm):
            module[0], module[1] = fuse_linear_bn_eval(module[0], module[1]), nn.Identity()
        for name, child in module.named_children():
            if isinstance(child, ContextNorm):
                setattr(module, name, _FoldedContextNorm(child))
    return network


class _FoldedContextNorm(nn.Module):
    """Context normalisation with the scale and the shift that batch normalisation comes down to."""

    def __init__(self, norm: ContextNorm) -> None:
        super().__init__()
        self._epsilon = norm.epsilon
        batch = norm.norm
        with torch.no_grad():
            scale = batch.weight * torch.rsqrt(batch.running_var + batch.eps)
            self.register_buffer("_scale", scale)
            self.register_buffer("_shift", batch.bias - batch.running_mean * scale)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (B, N, C)."""
        x = as_float(x)
        x = x - x.mean(dim=1, keepdim=True)
        scale = self._scale * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + self._epsilon)
        return torch.addcmul(self._shift, x, scale)
