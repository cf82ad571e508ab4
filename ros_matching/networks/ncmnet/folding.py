"""NCMNet for inference: batch normalisation is part of the linear layer before it, or of the context normalisation."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ros_matching.networks.ncmnet.blocks import ContextNorm, NeighbourEmbedding, RowNorm, as_float


def folded(network: nn.Module) -> nn.Module:
    """A copy of ``network`` for evaluation that computes the same with fewer passes over the features."""
    network = deepcopy(network).eval()
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential) and len(module) == 3 and isinstance(module[1], RowNorm):
            module[0], module[1] = fuse_linear_bn_eval(module[0], module[1]), nn.Identity()
        for name, child in module.named_children():
            if isinstance(child, ContextNorm):
                setattr(module, name, _FoldedContextNorm(child))
            elif isinstance(child, NeighbourEmbedding):
                setattr(module, name, _FoldedNeighbourEmbedding(child))
    return network


class _FoldedContextNorm(nn.Module):
    """Context normalisation with the scale and the shift of the folded batch normalisation."""

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
        if len(x) == 1:  # batch normalisation by the statistics of the one sample's rows
            return functional.batch_norm(x[0], None, None, self._scale, self._shift, True, 0.0, self._epsilon)[None]
        x = x - x.mean(dim=1, keepdim=True)
        scale = self._scale * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + self._epsilon)
        return torch.addcmul(self._shift, x, scale)


class _FoldedNeighbourEmbedding(nn.Module):
    """A neighbour embedding with one linear layer over the rows and one sum over each group.

    The layer computes the contribution of a row as the centre of its list and, negative, as each of the three
    neighbours of a group; a group is the sum of its centre and its neighbours.
    """

    def __init__(self, embedding: NeighbourEmbedding) -> None:
        super().__init__()
        edges = fuse_conv_bn_eval(embedding.edges.eval(), embedding.edges_norm)
        self._groups = fuse_linear_bn_eval(embedding.groups, embedding.groups_norm)
        own, difference = edges.weight.detach().chunk(2, dim=1)  # (C, C, 3) each
        centre = own.sum(dim=2)
        parts = [centre + difference.sum(dim=2), *(-difference).unbind(dim=2)]
        self.register_buffer("_weight", torch.cat(parts))
        self.register_buffer("_of_mean", centre)
        self.register_buffer("_bias", edges.bias.detach())

    def forward(self, features: Tensor, neighbours: Tensor) -> Tensor:
        """Features (B, N, C) and rows of the neighbours (B, N, k) to (B, N, C)."""
        batch, count, channels = features.shape
        # The differences stay the same with all rows shifted by their mean, and lose fewer digits.
        mean = features.mean(dim=1, keepdim=True)
        bias = functional.linear(mean, self._of_mean, self._bias)
        bias = functional.pad(bias, (0, 3 * channels))
        weight = self._weight.mT.expand(batch, -1, -1)
        table = torch.baddbmm(bias, features - mean, weight).reshape(-1, channels)
        # Row 4 i of the table is row i as a centre, the next three are its contributions to others.
        first = 4 * torch.arange(batch * count, device=features.device).reshape(batch, count, 1, 1)
        members = (4 * neighbours).unflatten(2, (-1, 3)) + torch.arange(1, 4, device=features.device)
        members = members + first[:, :1]
        rows = torch.cat([first.expand(-1, -1, members.shape[2], -1), members], dim=3)
        groups = functional.embedding_bag(rows.reshape(-1, 4), table, mode="sum").relu_()
        return torch.relu(self._groups(groups.reshape(batch, count, -1)))
