"""NCMNet, "Progressive Neighbor Consistency Mining for Correspondence Pruning" (Liu and Yang, CVPR 2023).

Two pruning modules in a row: each mines the consistency of every match with its neighbours in three spaces, weighs all
matches, and keeps the better half. The essential matrix is that of the remaining matches (``weighted_eight_point``).

Where paper and published code differ, this follows the code, on which the published weights were trained: the
neighbours of the second module are searched in the coordinates with both weights, six dimensions; and the
preliminary weights and global-graph layers (eq. 3 and 4), which the paper calls learned, serve the search of
neighbours only, so that no gradient reaches them. They are returned, and ``losses.py`` can supervise them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ros_matching.config import Config, parameter
from ros_matching.errors import ConfigError
from ros_matching.networks.ncmnet.blocks import (
    CrossAttention,
    GraphLayer,
    NeighbourEmbedding,
    OrderAware,
    ResidualBlock,
    linear_norm_relu,
    nearest_neighbours,
    residual_blocks,
    weights_of,
)

_TIE = 1e-3  # entries that differ by less are equal: without rotation the matrix has each of them twice, +x and -x


def weighted_eight_point(matches: Tensor, log_weights: Tensor) -> Tensor:
    """Essential matrices (B, 3, 3) float64, unit norm, ``x1^T E x0 = 0``, of matches (B, N, 4).

    The eigenvector of the smallest eigenvalue of X^T diag(w) X, X being the rows of the eight-point method; ``w`` is
    the softmax of ``log_weights`` (B, N), as only their ratios count. No rank is enforced, as in the paper. The entry
    of largest magnitude, of equals the first, is positive. In double precision, because forming X^T X squares the
    condition number.
    """
    with torch.autocast(device_type=matches.device.type, enabled=False):
        x0, y0, x1, y1 = matches.double().unbind(dim=2)
        one = torch.ones_like(x0)
        rows = torch.stack([x1 * x0, x1 * y0, x1, y1 * x0, y1 * y0, y1, x0, y0, one], dim=2)
        weights = torch.softmax(log_weights.double(), dim=1)
        vector = torch.linalg.eigh(rows.mT @ (weights[..., None] * rows)).eigenvectors[..., 0]
        size = vector.abs()
        largest = (size > (1 - _TIE) * size.amax(dim=1, keepdim=True)).to(torch.uint8).argmax(dim=1, keepdim=True)
        largest = vector.gather(1, largest)
        return (vector * torch.sign(largest)).unflatten(1, (3, 3))


def log_weights_of(final: Tensor) -> Tensor:
    """Logarithms of the weights (B, N2) of the matches that NCMNet keeps: ``exp(final_1) sigmoid(final_0)``."""
    final = final.double()
    return final[..., 1] + functional.logsigmoid(final[..., 0])


def symmetric_epipolar(essential: Tensor, matches: Tensor) -> Tensor:
    """Sums (B, N) of the squared distances of matches (B, N, 4) from their epipolar lines in both images.

    ``essential`` (B, 3, 3); distances in normalised camera coordinates. In the precision of the essential matrices.
    """
    with torch.autocast(device_type=matches.device.type, enabled=False):
        one = matches.new_ones(*matches.shape[:2], 1, dtype=essential.dtype)
        first, second = matches.to(essential.dtype).split(2, dim=2)
        first, second = torch.cat([first, one], dim=2), torch.cat([second, one], dim=2)
        line1, line0 = first @ essential.mT, second @ essential
        error = (second * line1).sum(dim=2).square()
        norm1, norm0 = line1[..., :2].square().sum(dim=2), line0[..., :2].square().sum(dim=2)
        return error * (1 / (norm1 + 1e-15) + 1 / (norm0 + 1e-15))


@dataclass(frozen=True)
class NCMNetConfig(Config):
    """The shape of the network; the defaults are the published one."""

    channels: int = parameter(128, "width of the features of a match", minimum=8, maximum=1024)
    attention_channels: int = parameter(32, "width of queries and keys", minimum=4, maximum=256)
    clusters: int = parameter(250, "clusters of the order-aware blocks", minimum=8, maximum=1000)
    cluster_filters: int = parameter(2, "filters between the clusters", minimum=1, maximum=8)
    blocks: int = parameter(3, "residual blocks of an embedding", minimum=1, maximum=8)
    coarse_neighbours: int = parameter(9, "neighbours in the first module, a multiple of 3", minimum=3, maximum=24)
    fine_neighbours: int = parameter(6, "neighbours in the second module, a multiple of 3", minimum=3, maximum=24)
    keep: float = parameter(0.5, "fraction of the matches that a module keeps", minimum=0.1, maximum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("coarse_neighbours", "fine_neighbours"):
            if getattr(self, name) % 3:
                raise ConfigError(f"NCMNetConfig.{name} must be a multiple of 3, got {getattr(self, name)}")

    @property
    def min_matches(self) -> int:
        """The smallest number of matches, so that enough remain for the neighbours and the eight-point method."""
        count = max(self.coarse_neighbours, 9)
        while int(count * self.keep) < self.fine_neighbours or int(int(count * self.keep) * self.keep) < 9:
            count += 1
        return count


LITE = NCMNetConfig(channels=48, attention_channels=16, clusters=64, cluster_filters=1, blocks=2)
"""Return the configuration for CPUs, with 0.5 instead of 4.5 million parameters."""


class Round(NamedTuple):
    """Result of a consistency round: features (B, N, C), preliminary logits (B, N), global-graph space (B, N, C)."""

    features: Tensor
    preliminary: Tensor
    graph: Tensor


class Pruning(NamedTuple):
    """The result of NCMNet for N matches, of which N1 and then N2 are kept.

    ``logits``: five tensors of inlier logits, (B, N) twice, (B, N1) twice, (B, N2). ``final`` (B, N2, 2): of the
    kept matches, the last logits and the logarithm of their weight. ``kept1`` (B, N1) and ``kept2`` (B, N2): rows of
    the input, best first. ``preliminary`` and ``graphs``: of each of the four rounds.
    """

    logits: tuple[Tensor, ...]
    final: Tensor
    kept1: Tensor
    kept2: Tensor
    preliminary: tuple[Tensor, ...]
    graphs: tuple[Tensor, ...]


class ConsistencyRound(nn.Module):
    """One mining of neighbour consistency in the spatial, feature and global-graph spaces."""

    def __init__(self, config: NCMNetConfig, neighbours: int) -> None:
        super().__init__()
        width = config.channels
        self.neighbours = neighbours
        self.preliminary = nn.Linear(width, 1)
        self.graph = GraphLayer(width)
        self.embed_spatial = NeighbourEmbedding(width, neighbours)
        self.embed_feature = NeighbourEmbedding(width, neighbours)
        self.embed_graph = NeighbourEmbedding(width, neighbours)
        self.cross_spatial = CrossAttention(width, config.attention_channels)
        self.cross_feature = CrossAttention(width, config.attention_channels)
        self.cross_graph = CrossAttention(width, config.attention_channels)
        self.order_aware = OrderAware(width, config.clusters, config.cluster_filters)
        self.fuse = residual_blocks(4 * width, width, config.blocks)

    def forward(self, features: Tensor, spatial_neighbours: Tensor) -> Round:
        """Features (B, N, C) with the neighbours (B, N, k) in the spatial space."""
        preliminary = self.preliminary(features)[..., 0]
        graph = self.graph(features, preliminary)
        feature_neighbours = nearest_neighbours(features, self.neighbours)
        graph_neighbours = nearest_neighbours(graph, self.neighbours, precise=True)

        spatial = self.embed_spatial(features, spatial_neighbours)
        feature = self.embed_feature(features, feature_neighbours)
        glob = self.embed_graph(features, graph_neighbours)

        mined = (
            self.cross_spatial(feature, glob, spatial),
            self.cross_feature(glob, spatial, feature),
            self.cross_graph(spatial, feature, glob),
            self.order_aware(features),
        )
        return Round(self.fuse(torch.cat(mined, dim=2)), preliminary, graph)


class PruningModule(nn.Module):
    """Weighs matches: two consistency rounds, then global consensus over the graph of the weights so far."""

    def __init__(self, config: NCMNetConfig, inputs: int, neighbours: int) -> None:
        super().__init__()
        width = config.channels
        self.neighbours = neighbours
        self.stem = linear_norm_relu(inputs, width)
        self.embed = residual_blocks(width, width, config.blocks)
        self.round1 = ConsistencyRound(config, neighbours)
        self.round2 = ConsistencyRound(config, neighbours)
        self.weigh0 = nn.Linear(width, 1)
        self.consensus = GraphLayer(width)
        self.embed_consensus = ResidualBlock(width, width)
        self.weigh1 = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, tuple[Round, Round]]:
        """Of matches (B, N, inputs): features (B, N, C), logits before and after consensus (B, N), both rounds."""
        spatial_neighbours = nearest_neighbours(x, self.neighbours)
        round1 = self.round1(self.embed(self.stem(x)), spatial_neighbours)
        round2 = self.round2(round1.features, spatial_neighbours)
        features = round2.features
        logits0 = self.weigh0(features)[..., 0]
        features = self.embed_consensus(features + self.consensus(features, logits0))
        return features, logits0, self.weigh1(features)[..., 0], (round1, round2)


class NCMNet(nn.Module):
    """The two pruning modules and the head that weights the remaining matches."""

    def __init__(self, config: NCMNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or NCMNetConfig()
        width = self.config.channels
        self.coarse = PruningModule(self.config, 4, self.config.coarse_neighbours)
        self.fine = PruningModule(self.config, 6, self.config.fine_neighbours)
        self.embed_kept = ResidualBlock(width, width)
        self.head = nn.Linear(width, 2)

    def forward(self, matches: Tensor) -> Pruning:
        """Matches (B, N, 4), (x0, y0, x1, y1) in normalised camera coordinates; N at least ``config.min_matches``."""
        _, coarse0, coarse1, rounds = self.coarse(matches)
        kept1 = best_rows(coarse1, self.config.keep)
        weights = weights_of(torch.stack([coarse0, coarse1], dim=2))
        survivors = take_rows(torch.cat([matches, weights.to(matches.dtype)], dim=2), kept1)

        features, fine0, fine1, fine_rounds = self.fine(survivors)
        kept2 = best_rows(fine1, self.config.keep)
        final = self.head(self.embed_kept(take_rows(features, kept2)))

        rounds = rounds + fine_rounds
        return Pruning(
            logits=(coarse0, coarse1, fine0, fine1, final[..., 0]),
            final=final,
            kept1=kept1,
            kept2=kept1.gather(1, kept2),
            preliminary=tuple(r.preliminary for r in rounds),
            graphs=tuple(r.graph for r in rounds),
        )


def best_rows(logits: Tensor, keep: float) -> Tensor:
    """The rows (B, floor(keep N)) of the largest logits (B, N), best first and equals in order."""
    return logits.argsort(dim=1, descending=True, stable=True)[:, : int(logits.shape[1] * keep)]


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """The ``rows`` (B, M) of ``x`` (B, N, C)."""
    return x.gather(1, rows[..., None].expand(-1, -1, x.shape[2]))


def ncmnet_lite() -> NCMNet:
    """The compact variant: narrower, with fewer clusters and blocks; the same method."""
    return NCMNet(LITE)
