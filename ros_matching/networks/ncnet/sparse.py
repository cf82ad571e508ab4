"""NCNet on the strongest pairs of cells only, for CPUs.

Of all pairs only the k best of every cell of A and of every cell of B are stored, as in Sparse-NCNet (Rocco et al.,
ECCV 2020): at most 2 k n instead of n^2. The 4-D convolutions are submanifold ones: they read and write stored pairs
alone, which equals the dense network with all other pairs set to zero after every layer. Since the best pair of every
cell is stored, mutual matching is the same too. (Sparse-NCNet has no mutual matching and counts pairs found from both
sides twice; we keep the dense network's rules, so that both forms have the same weights.)

How many pairs and rules there are depends on the images, so that a GPU has to be waited for twice. It is better served
by the dense form.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ros_matching.networks.engines import full_precision
from ros_matching.networks.ncnet.gating import BestCells
from ros_matching.networks.ncnet.network import MUTUAL_EPS, ConsensusNetwork
from ros_matching.networks.selection import largest_in_rows


class Pairs(NamedTuple):
    """A set of E pairs of cells in a batch of correlations of shape (b, 1, hA, wA, hB, wB), in ascending order.

    ``cells_a`` and ``cells_b`` (E,) count the cells row by row, on through the batch.
    """

    cells_a: Tensor
    cells_b: Tensor
    shape: tuple[int, int, int, int, int, int]

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of cells of A and B."""
        _, _, rows_a, columns_a, rows_b, columns_b = self.shape
        return rows_a * columns_a, rows_b * columns_b

    def positions(self, pad: int = 0) -> Tensor:
        """The positions (E,) of these pairs in a flat table of all pairs, with all four axes padded at both ends."""
        _, _, rows_a, columns_a, rows_b, columns_b = self.shape
        count_a, count_b = self.counts
        position = self.cells_a // count_a
        a, b = self.cells_a % count_a, self.cells_b % count_b
        coordinates = (a // columns_a, a % columns_a, b // columns_b, b % columns_b)
        for coordinate, side in zip(coordinates, (rows_a, columns_a, rows_b, columns_b), strict=True):
            position = position * (side + 2 * pad) + coordinate + pad
        return position

    def gather(self, correlation: Tensor) -> Tensor:
        """The values (E,) of these pairs in a dense correlation."""
        return correlation.flatten().index_select(0, self.positions())

    def scatter(self, values: Tensor) -> Tensor:
        """A dense correlation with these values (E,), zero elsewhere."""
        dense = values.new_zeros(torch.Size(self.shape).numel())
        return dense.index_put((self.positions(),), values).reshape(self.shape)


class Rules(NamedTuple):
    """The pairs that a convolution combines: ``target`` reads ``source`` through ``tap``; (P,) each.

    ``tap`` counts the k^4 entries of the kernel.
    """

    target: Tensor
    source: Tensor
    tap: Tensor
    kernel: int


def strongest_pairs(correlation: Tensor, k: int) -> Pairs:
    """The k strongest pairs of every cell of A and of every cell of B; their number depends on how many coincide."""
    batch, _, rows_a, columns_a, rows_b, columns_b = shape = tuple(correlation.shape)
    count_a, count_b = rows_a * columns_a, rows_b * columns_b
    table = correlation.reshape(batch, count_a, count_b)
    of_a = largest_in_rows(table, min(k, count_b))
    of_b = largest_in_rows(table.mT, min(k, count_a)).mT
    device = correlation.device
    first_a = torch.arange(batch * count_a, device=device).reshape(batch, count_a, 1)
    item = torch.arange(batch, device=device)[:, None, None]
    from_b = (item * count_a + of_b) * count_b + torch.arange(count_b, device=device)
    number = torch.cat([(first_a * count_b + of_a).flatten(), from_b.flatten()]).unique()
    cells_a = number // count_b
    return Pairs(cells_a, cells_a // count_a * count_b + number % count_b, shape)


def rules(pairs: Pairs, kernel: int) -> Rules:
    """The rules of a submanifold convolution with a kernel^4 kernel.

    If one pair is another's neighbour through a tap, that is the first one's through the opposite tap: half of the
    neighbourhood is looked up.
    """
    count, pad, device = len(pairs.cells_a), kernel // 2, pairs.cells_a.device
    batch, _, *sides = pairs.shape
    padded = [side + 2 * pad for side in sides]
    position = pairs.positions(pad)
    number = torch.arange(count, dtype=torch.int32, device=device)
    table = torch.full((batch * torch.Size(padded).numel(),), -1, dtype=torch.int32, device=device)
    table[position] = number
    steps = torch.arange(-pad, pad + 1, device=device)
    offsets = steps
    for side in padded[1:]:
        offsets = (offsets[:, None] * side + steps).flatten()
    taps = kernel**4
    found = table[offsets[: taps // 2, None] + position]
    tap, target = (found >= 0).nonzero(as_tuple=True)
    source = found[tap, target].long()
    own = number.long()
    return Rules(
        target=torch.cat([target, own, source]),
        source=torch.cat([source, own, target]),
        tap=torch.cat([tap, torch.full_like(own, taps // 2), taps - 1 - tap]),
        kernel=kernel,
    )


def convolve(values: Tensor, weight: Tensor, bias: Tensor, rules: Rules) -> Tensor:
    """The 4-D convolution with ``weight`` (out, in, k, k, k, k) on stored pairs: values (E, in) -> (E, out)."""
    out, into = weight.shape[:2]
    weight = weight.flatten(2).permute(2, 1, 0)  # (taps, in, out)
    count, taps = len(values), len(weight)
    if into <= out:  # gather the inputs, then multiply
        columns = values.new_zeros(count * taps, into)
        columns = columns.index_put((rules.target * taps + rules.tap,), values.index_select(0, rules.source))
        return functional.linear(columns.reshape(count, taps * into), weight.flatten(0, 1).T, bias)
    parts = functional.linear(values, weight.transpose(1, 2).flatten(0, 1)).reshape(count * taps, out)
    sums = parts.new_zeros(count, out)
    return sums.index_add(0, rules.target, parts.index_select(0, rules.source * taps + rules.tap)) + bias


def mutual_matching(values: Tensor, pairs: Pairs) -> Tensor:
    """Soft mutual nearest neighbours among stored pairs, (E,) -> (E,), in float32 or float64."""
    c = full_precision(values)
    count_a, count_b = (pairs.shape[0] * count for count in pairs.counts)
    over_b = c / (_maxima(c, pairs.cells_a, count_a) + MUTUAL_EPS)
    over_a = c / (_maxima(c, pairs.cells_b, count_b) + MUTUAL_EPS)
    return c * (over_b * over_a)


def filter_pairs(network: ConsensusNetwork, values: Tensor, pairs: Pairs) -> Tensor:
    """Mutual matching, consensus, mutual matching of the correlations (E,) of stored pairs: (E,) scores."""
    c = mutual_matching(values, pairs)[:, None]
    first, *others = network.consensus.layers
    by_kernel = {kernel: rules(pairs, kernel) for kernel in {layer.kernel for layer in network.consensus.layers}}
    # Exchanging A and B in the kernels is the same as doing so before and after. The first layer reads once for both.
    weight, bias = torch.cat([first.weight, _swapped(first.weight)]), first.bias.repeat(2)
    plain, swapped = convolve(c, weight, bias, by_kernel[first.kernel]).relu().chunk(2, dim=1)
    for layer in others:
        plain = convolve(plain, layer.weight, layer.bias, by_kernel[layer.kernel]).relu()
        swapped = convolve(swapped, _swapped(layer.weight), layer.bias, by_kernel[layer.kernel]).relu()
    return mutual_matching((plain + swapped)[:, 0], pairs)


def best_cells(values: Tensor, pairs: Pairs) -> tuple[BestCells, BestCells]:
    """Of each cell of A and of each cell of B, by the scores (E,), not negative, of stored pairs of one image each."""
    count_a, count_b = pairs.counts
    return _best(values, pairs.cells_a, pairs.cells_b, count_a), _best(values, pairs.cells_b, pairs.cells_a, count_b)


def _best(values: Tensor, cells: Tensor, others: Tensor, count: int) -> BestCells:
    maxima = values.new_zeros(count).scatter_reduce(0, cells, values, "amax")
    reaches = (values == maxima.index_select(0, cells)) & (values > 0)
    unknown = torch.iinfo(others.dtype).max
    candidates = torch.where(reaches, others, unknown)
    first = others.new_full((count,), unknown).scatter_reduce(0, cells, candidates, "amin")
    agrees = maxima > 0
    return BestCells(torch.where(agrees, first, 0), agrees)


def _swapped(weight: Tensor) -> Tensor:
    return weight.permute(0, 1, 4, 5, 2, 3)


def _maxima(values: Tensor, cells: Tensor, count: int) -> Tensor:
    """For every pair the largest value among the pairs of its cell, at least 0."""
    maxima = values.new_zeros(count).scatter_reduce(0, cells, values, "amax")
    return maxima.index_select(0, cells)
