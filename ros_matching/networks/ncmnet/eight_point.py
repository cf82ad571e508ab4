"""The essential matrix of weighted matches, and how well every match fits it; batched and differentiable."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

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
