"""The building blocks of NCMNet.

Every tensor of per-match features is (B, N, C): one row for each correspondence. The published network stores the same
as (B, C, N, 1) and its linear layers as 1x1 convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ros_matching.networks.selection import largest_in_rows

_BLOCK = 256  # rows


def as_float(x: Tensor) -> Tensor:
    """Return the tensor in single precision or better, for sums that half precision cannot represent."""
    return x if x.dtype == torch.float64 else x.float()


def weights_of(logits: Tensor) -> Tensor:
    """Inlier weights in [0, 1) of logits: zero for every logit below zero."""
    return torch.relu(torch.tanh(logits))


class RowNorm(nn.BatchNorm1d):
    """Batch normalisation of the last dimension."""

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (..., C)."""
        return super().forward(x.flatten(0, -2)).reshape(x.shape)


class ContextNorm(nn.Module):
    """Context normalisation, over the rows of each sample and without parameters, then batch normalisation."""

    def __init__(self, channels: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.norm = RowNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` (B, N, C)."""
        x = as_float(x)
        x = x - x.mean(dim=1, keepdim=True)
        return self.norm(x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + self.epsilon))


def linear_norm_relu(inputs: int, outputs: int) -> nn.Sequential:
    """A linear layer, batch normalisation, ReLU."""
    return nn.Sequential(nn.Linear(inputs, outputs), RowNorm(outputs), nn.ReLU())


class ResidualBlock(nn.Module):
    """Two linear layers with context normalisation around a shortcut, a linear layer where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(inputs, outputs)
        self.norm1 = ContextNorm(outputs)
        self.linear2 = nn.Linear(outputs, outputs)
        self.norm2 = ContextNorm(outputs)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, N, inputs) to (B, N, outputs)."""
        y = torch.relu(self.norm1(self.linear1(x)))
        return torch.relu(self.norm2(self.linear2(y)) + self.shortcut(x))


def residual_blocks(inputs: int, outputs: int, count: int) -> nn.Sequential:
    """``count`` residual blocks, the first of which changes the width."""
    return nn.Sequential(*[ResidualBlock(outputs if i else inputs, outputs) for i in range(count)])


def in_blocks(x: Tensor) -> tuple[Tensor, ...]:
    """The rows of ``x`` (B, N, C) in blocks whose tables of N columns stay in a CPU's cache."""
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return (x,)
    return x.split(_BLOCK, dim=1)


@torch.no_grad()
def nearest_neighbours(features: Tensor, count: int, *, precise: bool = False) -> Tensor:
    """The rows (B, N, count) nearest to each row of ``features`` (B, N, C), nearest first: normally the row itself.

    ``precise`` compares in double precision. In the global-graph space, rows whose weight saturates differ by no more
    than about one part in the number of rows, and single precision changes the order of 45 % of the lists.
    """
    with torch.autocast(device_type=features.device.type, enabled=False):
        x = features.double() if precise else as_float(features)
        x = x - x.mean(dim=1, keepdim=True)
        # -|a - b|^2 without |a|^2, which is the same for the whole list of a: [2 a, -1] times [b, |b|^2].
        square = x.square().sum(dim=2, keepdim=True)
        columns = torch.cat([x, square], dim=2).mT
        rows = torch.cat([2 * x, torch.full_like(square, -1)], dim=2)
        return torch.cat([largest_in_rows(block @ columns, count) for block in in_blocks(rows)], dim=1)


def smooth_over_graph(features: Tensor, weights: Tensor) -> Tensor:
    """Features (B, N, C) smoothed by the normalised adjacency of the global graph (eq. 3).

    The graph joins all rows by A = w w^T + I; the result is D^-1/2 A D^-1/2 x. A is of rank one but for the identity,
    so with D_i = w_i sum(w) + 1 it takes O(N C) in place of two products of N x N matrices.
    """
    with torch.autocast(device_type=features.device.type, enabled=False):
        x, w = as_float(features), as_float(weights)[..., None]
        root = torch.rsqrt(w * w.sum(dim=1, keepdim=True) + 1)
        return root * (w * (w * root * x).sum(dim=1, keepdim=True) + root * x)


class GraphLayer(nn.Module):
    """Graph smoothing by detached weights, then a linear layer (eq. 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.transform = linear_norm_relu(channels, channels)

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """Features (B, N, C) and inlier logits (B, N) to (B, N, C)."""
        return self.transform(smooth_over_graph(features, weights_of(logits.detach())))


class NeighbourEmbedding(nn.Module):
    """Aggregate the neighbours of each row: a convolution over the edges [f_i, f_i - f_ij], nearest first.

    The first convolution runs over groups of three neighbours without overlap, the second joins the groups. The first
    is linear in f_i and in each f_ij, so it is applied to the N rows before the neighbours are gathered, and not to the
    N k edges: 4 products of width C for each row in place of 6 k, and no edge tensor.
    """

    def __init__(self, channels: int, neighbours: int) -> None:
        super().__init__()
        groups = neighbours // 3
        self.edges = nn.Conv1d(2 * channels, channels, kernel_size=3, stride=3)
        self.edges_norm = RowNorm(channels)
        self.groups = nn.Linear(groups * channels, channels)
        self.groups_norm = RowNorm(channels)

    def forward(self, features: Tensor, neighbours: Tensor) -> Tensor:
        """Features (B, N, C) and rows of the neighbours (B, N, k) to (B, N, C)."""
        batch, count, channels = features.shape
        own, difference = self.edges.weight.split(channels, dim=1)  # (C, C, 3) each
        # The differences stay the same with all rows shifted by their mean, and lose fewer digits.
        mean = features.mean(dim=1, keepdim=True)
        shifted = features - mean
        centre = functional.linear(shifted, (own + difference).sum(dim=2)) + functional.linear(
            mean, own.sum(dim=2), self.edges.bias
        )
        table = functional.linear(shifted, difference.permute(2, 0, 1).flatten(0, 1)).reshape(-1, channels)
        # Row (b N + j) 3 + t of the table is the contribution of row j of sample b as neighbour t of a group.
        first = torch.arange(batch, device=features.device)[:, None, None] * count
        slot = torch.arange(neighbours.shape[2], device=features.device) % 3
        rows = (first + neighbours) * 3 + slot
        gathered = functional.embedding_bag(rows.reshape(-1, 3), table, mode="sum").reshape(batch, count, -1, channels)
        groups = torch.relu(self.edges_norm(centre[:, :, None] - gathered))
        return torch.relu(self.groups_norm(self.groups(groups.flatten(2))))


class CrossAttention(nn.Module):
    """Attention of the consistency in one space to that of two others; no scaling by the width."""

    def __init__(self, channels: int, attention_channels: int) -> None:
        super().__init__()
        self.query = linear_norm_relu(channels, attention_channels)
        self.key = linear_norm_relu(channels, attention_channels)
        self.value = linear_norm_relu(channels, channels)
        self.output = linear_norm_relu(channels, channels)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, querying: Tensor, keyed: Tensor, x: Tensor) -> Tensor:
        """The features ``x`` (B, N, C), changed by attention between ``querying`` and ``keyed`` (B, N, C)."""
        query, key, value = self.query(querying), self.key(keyed), self.value(x)
        with torch.autocast(device_type=x.device.type, enabled=False):  # unscaled: half precision is too coarse
            query, key, value = as_float(query), as_float(key).mT, as_float(value)
            attended = [torch.softmax(block @ key, dim=2) @ value for block in in_blocks(query)]
            attended = torch.cat(attended, dim=1)
        return torch.addcmul(x, self.gamma, self.output(attended))


class ClusterFilter(nn.Module):
    """A residual filter between the clusters of the order-aware block (OANet, Zhang et al. 2019)."""

    def __init__(self, channels: int, clusters: int) -> None:
        super().__init__()
        self.norm1 = ContextNorm(channels, epsilon=1e-3)
        self.linear1 = nn.Linear(channels, channels)
        self.cluster_norm = RowNorm(clusters)
        self.cluster_linear = nn.Linear(clusters, clusters)
        self.norm2 = ContextNorm(channels, epsilon=1e-3)
        self.linear2 = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Clusters (B, M, C) to the same."""
        y = self.linear1(torch.relu(self.norm1(x))).mT
        y = (y + self.cluster_linear(torch.relu(self.cluster_norm(y)))).mT
        return x + self.linear2(torch.relu(self.norm2(y)))


class OrderAware(nn.Module):
    """Global context: rows are pooled into learned clusters, these filtered and given back (OANet)."""

    def __init__(self, channels: int, clusters: int, filters: int) -> None:
        super().__init__()
        self.pool_norm = ContextNorm(channels, epsilon=1e-3)
        self.pool = nn.Linear(channels, clusters)
        self.filters = nn.Sequential(*[ClusterFilter(channels, clusters) for _ in range(filters)])
        self.unpool_norm = ContextNorm(channels, epsilon=1e-3)
        self.unpool = nn.Linear(channels, clusters)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, N, C) to the same."""
        return self.spread(x, self.filters(self.collect(x)))

    def collect(self, x: Tensor) -> Tensor:
        """The clusters (B, M, C), averages of the rows of ``x`` (B, N, C)."""
        weights = torch.softmax(self.pool(torch.relu(self.pool_norm(x))), dim=1)
        return weights.mT @ x.to(weights.dtype)

    def spread(self, x: Tensor, clusters: Tensor) -> Tensor:
        """For each row of ``x`` (B, N, C), an average of the clusters (B, M, C)."""
        weights = torch.softmax(self.unpool(torch.relu(self.unpool_norm(x))), dim=2)
        return weights @ clusters.to(weights.dtype)
