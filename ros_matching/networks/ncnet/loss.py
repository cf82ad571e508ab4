"""The weak supervision of NCNet: pairs that show the same thing should match better than pairs that do not."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

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

    ``network`` gives (b, 1, hA, wA, hB, wB) of a batch of pairs.
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
