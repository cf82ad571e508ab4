"""Losses of NCNet: the weak supervision by pairs of images, and the strong one by true positions of cells."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_RIGHT_CELLS = 0.75  # largest distance of a found cell from the true position, in cells, along either axis
_EPS = 1e-6


@torch.no_grad()
def found_fraction(scores: Tensor, targets: Tensor, columns: int) -> Tensor:
    """Return the fraction of the cells with a target, of both images, whose best cell is the true one; a scalar.

    ``scores`` (cells of 0, cells of 1); ``targets`` (2, N, 2) are x and y in cells of the other image, NaN unknown, of
    the cells of 0 and of 1, both with ``columns``.
    """
    hits, known = [], []
    for table, points in ((scores, targets[0]), (scores.T, targets[1])):
        best, cell = table.max(dim=1)
        found = torch.stack([cell % columns, cell // columns], dim=1)
        near = (found - points).abs().amax(dim=1) <= _RIGHT_CELLS  # false where unknown
        hits.append((near & (best > 0)).sum())
        known.append(points.isfinite().all(dim=1).sum())
    return sum(hits) / sum(known).clamp(min=1)


def strong_loss(scores: Tensor, targets: Tensor, columns: int) -> Tensor:
    """Mean cross entropy of the four cells around the true position, by bilinear weights, over cells with a target.

    The probability of a cell is its fraction of the scores, which are not negative, of all cells of the other image.
    Arguments as for ``found_fraction``; 0 if no cell has a target.
    """
    losses = []
    for table, points in ((scores, targets[0]), (scores.T, targets[1])):
        rows = points.isfinite().all(dim=1).nonzero()[:, 0]
        cells, weights = _around(points[rows], columns, table.shape[1] // columns)
        probabilities = table[rows].gather(1, cells) / (table[rows].sum(dim=1, keepdim=True) + _EPS)
        losses.append(-(weights * (probabilities + _EPS).log()).sum(dim=1))
    each = torch.cat(losses)
    return each.sum() / max(len(each), 1)


def _around(points: Tensor, columns: int, rows: int) -> tuple[Tensor, Tensor]:
    """The four cells (N, 4) around points (N, 2) of a map, counted row by row, and their bilinear weights (N, 4)."""
    limit = points.new_tensor([columns - 1, rows - 1])
    points = torch.minimum(points.clamp(min=0), limit)
    corner = torch.minimum(points.floor(), limit - 1)
    fx, fy = (points - corner).unbind(dim=1)
    first = (corner[:, 1] * columns + corner[:, 0]).long()
    cells = torch.stack([first, first + 1, first + columns, first + columns + 1], dim=1)
    return cells, torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], dim=1)


NORMALIZATIONS = ("softmax", "l1", "none")
_L1_EPS = 1e-4


def match_score(scores: Tensor, normalization: str = "softmax") -> Tensor:
    """Mean over all cells of both images of the normalised score of their best match; a float64 scalar.

    ``scores`` (b, 1, hA, wA, hB, wB) is the network's output; ``normalization`` one of ``NORMALIZATIONS``.
    """
    table = scores.flatten(4).flatten(1, 3)  # (b, cells of A, cells of B)
    best = torch.cat([_best(table, 1, normalization), _best(table, 2, normalization)], dim=1)
    return best.mean(dtype=torch.float64)  # the loss is the small difference of two such means


def weak_loss(
    network: Callable[[Tensor, Tensor], Tensor], images_a: Tensor, images_b: Tensor, normalization: str = "softmax"
) -> Tensor:
    """Score of pairs that do not belong together, A rolled by one within the batch, minus that of pairs that do.

    ``network`` returns (b, 1, hA, wA, hB, wB) of a batch of pairs.
    """
    positive = match_score(network(images_a, images_b), normalization)
    negative = match_score(network(images_a.roll(-1, dims=0), images_b), normalization)
    return negative - positive


def _best(table: Tensor, dim: int, normalization: str) -> Tensor:
    if normalization == "softmax":
        table = torch.softmax(table, dim=dim)
    elif normalization == "l1":
        table = table / (table.sum(dim=dim, keepdim=True) + _L1_EPS)
    return table.amax(dim=dim)
