"""NCNet (Rocco et al., "Neighbourhood Consensus Networks", NeurIPS 2018): the dense form.

All pairwise similarities of two feature maps form a 4-D tensor over (row A, column A, row B, column B). True matches
agree with those around them, in both images; a small 4-D CNN, the same for every position, strengthens such groups.

    features A, B -> correlation -> [4-D max-pool] -> mutual matching -> consensus -> mutual matching

Tensors over pairs of cells have the shape (b, channels, hA, wA, hB, wB). The sparse form, which evaluates the same
layers on the strongest pairs only, is in ``sparse.py``.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ros_matching.errors import MatchingError
from ros_matching.networks.engines import full_precision
from ros_matching.networks.imagenet import ResNet101Trunk

_NORM_EPS = 1e-6
MUTUAL_EPS = 1e-5


class Setting(NamedTuple):
    """The shape of a consensus CNN: output channels and kernel size, layer by layer."""

    channels: tuple[int, ...]
    kernels: tuple[int, ...]


# The authors' two releases, and ours for CPUs: the smaller of theirs with half the channels.
SETTINGS = {
    "ncnet_pfpascal": Setting(channels=(16, 16, 1), kernels=(5, 5, 5)),
    "ncnet_ivd": Setting(channels=(16, 1), kernels=(3, 3)),
    "ncnet_lite": Setting(channels=(8, 1), kernels=(3, 3)),
}


class FilteredCorrelation(NamedTuple):
    """Filtered scores of all pairs of cells.

    ``scores`` (b, 1, hA, wA, hB, wB), not negative. With pooling by k, ``offsets`` (4, b, 1, hA, wA, hB, wB) int64 tell
    which of the k fine cells along each of the four axes attained the maximum; without, it is ``None``.
    """

    scores: Tensor
    offsets: Tensor | None


def normalize(features: Tensor) -> Tensor:
    """Features (b, c, h, w) over the root of their squared length plus 1e-6, channel-wise."""
    features = full_precision(features)
    return features / (features.square().sum(dim=1, keepdim=True) + _NORM_EPS).sqrt()


def correlate(features_a: Tensor, features_b: Tensor) -> Tensor:
    """Scalar products of all cells of A (b, c, hA, wA) with all of B (b, c, hB, wB): (b, 1, hA, wA, hB, wB)."""
    products = features_a.flatten(2).transpose(1, 2) @ features_b.flatten(2)
    return products.reshape(len(features_a), 1, *features_a.shape[2:], *features_b.shape[2:])


def swap(pairs: Tensor) -> Tensor:
    """The same pairs with the roles of A and B exchanged."""
    return pairs.permute(0, 1, 4, 5, 2, 3)


def mutual_matching(correlation: Tensor) -> Tensor:
    """Soft mutual nearest neighbours: c (c / max over B) (c / max over A).

    Kept in float32 under autocast: in float16 maxima below eps = 1e-5 would vanish.
    """
    c = full_precision(correlation)
    over_b = c / (c.amax(dim=(4, 5), keepdim=True) + MUTUAL_EPS)
    over_a = c / (c.amax(dim=(2, 3), keepdim=True) + MUTUAL_EPS)
    return c * (over_b * over_a)  # in this order, so that exchanging A and B changes no bit


def max_pool(correlation: Tensor, k: int) -> FilteredCorrelation:
    """Maxima over k x k x k x k fine pairs, and which of them they are (the first one on a tie)."""
    batch, channels, *sides = correlation.shape
    if any(side % k for side in sides):
        raise MatchingError(f"4-D pooling by {k} needs sides that are multiples of it, got {tuple(sides)}")
    blocks = correlation.reshape(batch, channels, *(n for side in sides for n in (side // k, k)))
    values = blocks[:, :, :, 0, :, 0, :, 0, :, 0]
    index = torch.zeros_like(values, dtype=torch.int32)
    # One fine pair of all blocks after the other: 3 times faster than to bring each block together first.
    for number, (i, j, m, n) in enumerate(itertools.product(range(k), repeat=4)):
        candidate = blocks[:, :, :, i, :, j, :, m, :, n]
        index = torch.where(candidate > values, number, index)
        values = torch.maximum(values, candidate)
    offsets = [index // k**3, index // k**2 % k, index // k % k, index % k]
    return FilteredCorrelation(values, torch.stack(offsets).long())


class Conv4d(nn.Module):
    """4-D convolution, stride 1, zero padding to the same size; ``weight`` (out, in, k, k, k, k), ``bias`` (out,).

    PyTorch has none. With A's rows in the batch, one 3-D convolution does it, in one of two ways: the k rows that a
    kernel covers are laid side by side as input channels, or the k slices of the kernel as output channels, which are
    then added up shifted. Each keeps the k-fold tensor on the narrow side. 1.4 to 10 times faster on a CPU than one 3-D
    convolution per row and slice.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *[kernel] * 4))
        self.bias = nn.Parameter(torch.empty(out_channels))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        bound = (in_channels * kernel**4) ** -0.5
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """(b, in, hA, wA, hB, wB) -> (b, out, hA, wA, hB, wB)."""
        return self._rows_as_inputs(x) if x.shape[1] < len(self.bias) else self._slices_as_outputs(x)

    def _rows_as_inputs(self, x: Tensor) -> Tensor:
        batch, _, rows, *_ = x.shape
        pad = self.kernel // 2
        padded = functional.pad(x, (0, 0, 0, 0, 0, 0, pad, pad))
        covered = torch.cat([padded[:, :, d : d + rows] for d in range(self.kernel)], dim=1)
        weight = self.weight.transpose(1, 2).flatten(1, 2)
        out = functional.conv3d(covered.transpose(1, 2).flatten(0, 1), weight, self.bias, padding=pad)
        return out.unflatten(0, (batch, rows)).transpose(1, 2)

    def _slices_as_outputs(self, x: Tensor) -> Tensor:
        batch, _, rows, *_ = x.shape
        k, pad = self.kernel, self.kernel // 2
        weight = self.weight.permute(2, 0, 1, 3, 4, 5).flatten(0, 1)
        parts = functional.conv3d(x.transpose(1, 2).flatten(0, 1), weight, padding=pad)
        parts = parts.unflatten(1, (k, -1)).unflatten(0, (batch, rows))
        out = parts[:, :, pad] + self.bias.to(parts.dtype)[:, None, None, None]
        for d in range(k):
            shift = d - pad  # output row i takes the part of slice d at row i + shift
            first, last = max(0, -shift), min(rows, rows - shift)
            if shift and first < last:
                out[:, first:last] += parts[:, first + shift : last + shift, d]
        return out.transpose(1, 2)


class NeighbourhoodConsensus(nn.Module):
    """The 4-D CNN N, a ReLU after every layer, in symmetric mode: N(c) + swap(N(swap(c)))."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        inputs = (1, *setting.channels[:-1])
        self.layers = nn.ModuleList(map(Conv4d, inputs, setting.channels, setting.kernels))

    def one_pass(self, correlation: Tensor) -> Tensor:
        """N(c), (b, 1, hA, wA, hB, wB)."""
        for layer in self.layers:
            correlation = layer(correlation).relu()
        return correlation

    def forward(self, correlation: Tensor) -> Tensor:
        """N(c) + swap(N(swap(c))): independent of the order of the images."""
        return self.one_pass(correlation) + swap(self.one_pass(swap(correlation)))


class ConsensusNetwork(nn.Module):
    """The network without a trunk: two feature maps to filtered scores of all pairs of their cells.

    Any similarities that are hardly ever negative will do; negative ones are cut off if ``clamp`` (the authors'
    features come out of a ReLU and have none).
    """

    def __init__(self, setting: Setting = SETTINGS["ncnet_ivd"], pool: int = 1, clamp: bool = False) -> None:
        super().__init__()
        self.consensus = NeighbourhoodConsensus(setting)
        self.pool = pool
        self.clamp = clamp

    def forward(self, features_a: Tensor, features_b: Tensor) -> FilteredCorrelation:
        """Feature maps (b, c, hA, wA) and (b, c, hB, wB), not yet normalised."""
        correlation = correlate(normalize(features_a), normalize(features_b))
        return self.filter(correlation.clamp(min=0) if self.clamp else correlation)

    def filter(self, correlation: Tensor) -> FilteredCorrelation:
        """Pooling, mutual matching, consensus, mutual matching."""
        pooled = FilteredCorrelation(correlation, None) if self.pool == 1 else max_pool(correlation, self.pool)
        return FilteredCorrelation(mutual_matching(self.consensus(mutual_matching(pooled.scores))), pooled.offsets)


class NCNet(nn.Module):
    """The authors' network: ResNet-101 up to layer3, frozen, and neighbourhood consensus on its features."""

    def __init__(self, setting: Setting = SETTINGS["ncnet_ivd"], pool: int = 1) -> None:
        super().__init__()
        self.trunk = ResNet101Trunk().requires_grad_(False)
        self.matching = ConsensusNetwork(setting, pool)
        self.train(self.training)

    def train(self, mode: bool = True) -> NCNet:
        """The trunk always stays in evaluation mode."""
        super().train(mode)
        self.trunk.eval()
        return self

    def forward(self, images_a: Tensor, images_b: Tensor) -> FilteredCorrelation:
        """Images (b, 3, H, W), RGB normalised by ImageNet's mean and standard deviation; A and B may differ in size."""
        return self.matching(self.trunk(images_a), self.trunk(images_b))


def consensus_network(name: str, *, pool: int = 1, clamp: bool = False) -> ConsensusNetwork:
    """The network without a trunk of that name (``SETTINGS``)."""
    if name not in SETTINGS:
        raise MatchingError(f"no consensus network is called {name!r}; there are: {', '.join(SETTINGS)}")
    return ConsensusNetwork(SETTINGS[name], pool, clamp)
