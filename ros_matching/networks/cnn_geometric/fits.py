"""Weighted least-squares fits of the transformation models to places of matches; closed forms, repeated robustly.

Points (N, 2) and goals (B, N, 2) are in unit coordinates, weights (B, N); the parameters theta (B, P) are those of
``transforms``. A small ridge keeps a fit near a simpler one where hardly anything matches: an affine fit near the
identity, a homography and a spline near the affine fit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ros_matching.networks.cnn_geometric.transforms import identity, matrix_of, tps_weights, transform_points

_ROUNDS = 4
_RIDGE = 1e-2  # beside a sum of 225 weights of at most 1
_BENDING_RIDGE = 1e-2
_INLIER_DISTANCE = 0.15  # in unit coordinates: about a cell


def robust_fit(model: str, points: Tensor, goals: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Theta (B, P), and the weights (B, N) by how well each goal is met.

    Every round after the first weighs by the distances that the last one left (Geman and McClure).
    """
    theta, robust = _rounds("affine", points, goals, weights, weights)
    if model == "affine":
        return theta, robust
    return _rounds(model, points, goals, weights, robust, theta)


def _rounds(
    model: str, points: Tensor, goals: Tensor, weights: Tensor, robust: Tensor, affine: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    expanded = points.expand(len(goals), -1, 2)
    theta = identity("affine").to(points).expand(len(goals), 6) if affine is None else as_model(model, affine)
    for _ in range(_ROUNDS):
        if model == "tps":
            theta = _spline(points, goals, robust, as_model(model, affine))
        elif affine is None:
            theta = _affine(points, goals, robust)
        else:
            theta = _homography(model, points, goals, robust, affine, theta)
        distance = (transform_points(model, theta, expanded) - goals).square().sum(dim=2)
        robust = weights / (1 + distance / _INLIER_DISTANCE**2).square()
    return theta, robust


def _affine(points: Tensor, goals: Tensor, weights: Tensor) -> Tensor:
    design = torch.cat([points, torch.ones_like(points[:, :1])], dim=1)
    change = _solved(design, goals - points, weights, _RIDGE)
    return identity("affine").to(points) + change.transpose(1, 2).flatten(1)


def _spline(points: Tensor, goals: Tensor, weights: Tensor, start: Tensor) -> Tensor:
    """Control points near those of ``start`` (B, 18): a spline is linear in them."""
    design = tps_weights(points)
    control = start.view(len(start), 2, 9).transpose(1, 2)
    return start + _solved(design, goals - design @ control, weights, _BENDING_RIDGE).transpose(1, 2).flatten(1)


def _homography(model: str, points: Tensor, goals: Tensor, weights: Tensor, affine: Tensor, last: Tensor) -> Tensor:
    """The direct linear transformation with h33 = 1, each point weighted by its denominator in the last round."""
    matrix = matrix_of(model, last)
    denominator = points @ matrix[:, 2, :2].unsqueeze(2) + matrix[:, 2, 2, None, None]
    weights = weights / denominator.squeeze(2).square().clamp(min=0.05)
    ones = torch.cat([points, torch.ones_like(points[:, :1])], dim=1).expand(len(goals), -1, 3)
    zeros = torch.zeros_like(ones)
    across = torch.cat([ones, zeros, -points * goals[..., :1]], dim=2)
    down = torch.cat([zeros, ones, -points * goals[..., 1:]], dim=2)
    design = torch.cat([across, down], dim=1)
    start = torch.cat([affine, torch.zeros_like(affine[:, :2])], dim=1).unsqueeze(2)
    wanted = torch.cat([goals[..., 0], goals[..., 1]], dim=1).unsqueeze(2) - design @ start
    change = _solved(design, wanted, weights.repeat(1, 2), _BENDING_RIDGE)
    entries = torch.cat([(start + change).squeeze(2), torch.ones_like(affine[:, :1])], dim=1)
    if model == "homography_matrix":
        return entries
    corners = identity("homography").to(points).view(2, 4).T.expand(len(goals), -1, 2)
    return transform_points("homography_matrix", entries, corners).transpose(1, 2).flatten(1)


def _solved(design: Tensor, wanted: Tensor, weights: Tensor, ridge: float) -> Tensor:
    """What (B, K, C) brings ``design`` (B, N, K) times it nearest to ``wanted`` (B, N, C)."""
    weighted = (weights.unsqueeze(2) * design).transpose(1, 2)
    system = weighted @ design + ridge * torch.eye(design.shape[-1], dtype=design.dtype, device=design.device)
    inverse, _ = torch.linalg.inv_ex(system)  # unlike solve, waits for no device
    return inverse @ (weighted @ wanted)


def as_model(model: str, affine: Tensor) -> Tensor:
    """The parameters (B, P) of an affine transformation (B, 6) as another model has them."""
    if model == "affine":
        return affine
    if model == "homography_matrix":
        return torch.cat([affine, affine.new_tensor([0.0, 0.0, 1.0]).expand(len(affine), 3)], dim=1)
    control = identity(model).to(affine).view(2, -1).T
    return transform_points("affine", affine, control.expand(len(affine), -1, 2)).transpose(1, 2).flatten(1)
