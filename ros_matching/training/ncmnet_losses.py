"""Losses of NCMNet: inlier classification at five outputs, and the epipolar geometry of the result.

The published training stops there. ``SupervisionConfig`` adds the losses that the paper describes but its code omits:
the preliminary weights, by the same classification, and the global-graph spaces, by neighbourhood components analysis
(Goldberger et al. 2004), because they only define the neighbours of matches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ros_matching.config import Config, parameter
from ros_matching.networks.ncmnet.network import Pruning, symmetric_epipolar

INLIER_RESIDUAL = 1e-4  # sum of squared epipolar distances, in normalised camera coordinates
_MAX_GEOMETRY_RESIDUAL = 0.1


@dataclass(frozen=True)
class SupervisionConfig(Config):
    """Weights of the parts of the loss; the defaults are those of the published training."""

    geometry_weight: float = parameter(0.5, "weight of the epipolar geometry", minimum=0, maximum=100)
    preliminary_weight: float = parameter(0.0, "weight of the preliminary weights", minimum=0, maximum=100)
    graph_weight: float = parameter(0.0, "weight of the global-graph spaces", minimum=0, maximum=100)


def carried_residuals(pruning: Pruning, residuals: Tensor) -> tuple[Tensor, ...]:
    """The ``residuals`` (B, N) of the matches under the true motion, for each of the five logits of ``pruning``."""
    once, twice = residuals.gather(1, pruning.kept1), residuals.gather(1, pruning.kept2)
    return residuals, residuals, once, once, twice


def classification_loss(logits: Tensor, residuals: Tensor) -> Tensor:
    """Balanced cross entropy of inlier ``logits`` (B, N); inliers are those of ``residuals`` (B, N) below 1e-4.

    The logit of an inlier is multiplied by a temperature that falls from 1 at the limit to 1/e for an exact match.
    """
    inlier = residuals < INLIER_RESIDUAL
    temperature = torch.exp(-(residuals - INLIER_RESIDUAL).abs() / INLIER_RESIDUAL)
    positives = inlier.sum(dim=1, keepdim=True).clamp(min=1)
    negatives = (~inlier).sum(dim=1, keepdim=True).clamp(min=1)
    return functional.binary_cross_entropy_with_logits(
        torch.where(inlier, temperature, 1.0) * logits,
        inlier.to(logits.dtype),
        pos_weight=(negatives / positives).clamp(min=1).to(logits.dtype),
    )


def geometry_loss(essential: Tensor, virtual_matches: Tensor) -> Tensor:
    """Mean squared epipolar distance, each at most 0.1, of exact matches (B, V, 4) of the true motion."""
    return symmetric_epipolar(essential, virtual_matches).clamp(max=_MAX_GEOMETRY_RESIDUAL).mean()


def graph_loss(features: Tensor, residuals: Tensor) -> Tensor:
    """Negative log probability that neighbours of inliers in the space of ``features`` (B, N, C) are inliers.

    The neighbour of a match is drawn by the softmax of the negative squared distances to the others, in units of the
    mean one; the loss is the mean over inliers of the negative logarithm of the probability to draw an inlier.
    """
    with torch.autocast(device_type=features.device.type, enabled=False):
        x = features.float() if features.dtype != torch.float64 else features
        x = x - x.mean(dim=1, keepdim=True)
        squares = x.square().sum(dim=2)
        distances = (squares[..., None] + squares[:, None] - 2 * x @ x.mT).clamp(min=0)
        itself = torch.eye(x.shape[1], dtype=torch.bool, device=x.device)
        closeness = -distances / (2 * squares.mean(dim=1)[:, None, None] + 1e-12)
        closeness = closeness.masked_fill(itself, float("-inf"))
        inlier = residuals < INLIER_RESIDUAL
        among_inliers = closeness.masked_fill(~inlier[:, None], -1e4).logsumexp(dim=2)
        loss = closeness.logsumexp(dim=2) - among_inliers
        counted = inlier & (inlier.sum(dim=1, keepdim=True) > 1)
        return (loss * counted).sum() / counted.sum().clamp(min=1)


def pruning_loss(
    pruning: Pruning,
    residuals: Tensor,
    essential: Tensor,
    virtual_matches: Tensor,
    config: SupervisionConfig,
) -> Tensor:
    """The whole loss of a forward pass; ``essential`` (B, 3, 3) is the result of the eight-point method."""
    carried = carried_residuals(pruning, residuals)
    loss = sum(classification_loss(logits, d) for logits, d in zip(pruning.logits, carried, strict=True))
    if config.geometry_weight:
        loss = loss + config.geometry_weight * geometry_loss(essential, virtual_matches)
    of_rounds = (carried[0], carried[0], carried[2], carried[2])
    if config.preliminary_weight:
        parts = [classification_loss(x, d) for x, d in zip(pruning.preliminary, of_rounds, strict=True)]
        loss = loss + config.preliminary_weight * sum(parts)
    if config.graph_weight:
        parts = [graph_loss(x, d) for x, d in zip(pruning.graphs, of_rounds, strict=True)]
        loss = loss + config.graph_weight * sum(parts)
    return loss
