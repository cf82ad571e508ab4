"""A head for CNNGeometric that is told where the matches are, instead of having to learn it.

Not of the paper, whose head learns from examples which of the correlation's 225 channels is which place. Here a softmax
over them gives each cell of the target the mean place of its match and how far that is spread; a weighted affine fit
explains most of it, and small convolutions regress what is left. The fit alone aligns affine warps of photos to 1.3 %
of the side (homographies 4 %, splines 8 %), before any training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ros_matching.networks.cnn_geometric.transforms import PARAMETERS, identity, transform_points
from ros_matching.networks.cnn_geometric.trunks import GRID_SIZE

_SHARPNESS = 80.0  # of the softmax over correlations; 40 and less draw the places to the middle
_SPREAD_WEIGHT = 8.0  # a match spread over 1 / 8 of the half side weighs 1 / e
_INLIER_DISTANCE = 0.15  # in unit coordinates, a cell being 0.14
_FITS = 4
_RIDGE = 1e-2  # what keeps the fit near the identity where hardly anything matches
_EVIDENCE = 9  # residual x, y; the same weighted; weight; spread; best correlation; the cell's own x, y


class CompactHead(nn.Module):
    """Correlation (B, 225, 15, 15) to theta (B, P)."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model
        widths = (_EVIDENCE, 64, 64, 96, 96)
        layers: list[nn.Module] = []
        for inputs, outputs, stride in zip(widths[:-1], widths[1:], (1, 2, 1, 2), strict=True):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.linear = nn.Linear(widths[-1] * 4 * 4, PARAMETERS[model])
        with torch.no_grad():
            self.linear.weight *= 0.1
            self.linear.bias.zero_()
        axis = torch.linspace(-1, 1, GRID_SIZE)
        # The correlation's channels are column after column, the cells of the target row after row.
        places = torch.cartesian_prod(axis, axis)
        moments = torch.cat([places, places.square().sum(dim=1, keepdim=True)], dim=1)
        self.register_buffer("moments", moments.T.contiguous(), persistent=False)
        self.register_buffer("cells", torch.cartesian_prod(axis, axis).flip(1), persistent=False)

    def forward(self, correlation: Tensor) -> Tensor:
        """The model's parameters, in single precision at least."""
        with torch.autocast(device_type=correlation.device.type, enabled=False):
            evidence, affine = self._evidence(correlation.to(self.linear.weight.dtype))
        x = self.body(evidence)
        with torch.autocast(device_type=x.device.type, enabled=False):
            return _as_model(self.model, affine) + self.linear(x.flatten(1).to(self.linear.weight.dtype))

    @torch.no_grad()
    def _evidence(self, correlation: Tensor) -> tuple[Tensor, Tensor]:
        """What is known of each cell's match, (B, 9, 15, 15), and the affine fit (B, 6)."""
        probability = torch.softmax(_SHARPNESS * correlation.flatten(2), dim=1)
        x, y, squared = (self.moments @ probability).unbind(1)
        mean = torch.stack([x, y], dim=2)
        spread = (squared - x.square() - y.square()).clamp(min=0).sqrt()
        weight = torch.exp(-_SPREAD_WEIGHT * spread)
        affine, robust = _fit(self.cells, mean, weight)
        residual = mean - transform_points("affine", affine, self.cells.expand(len(mean), -1, 2))
        columns = [
            residual,
            robust.unsqueeze(2) * residual,
            robust.unsqueeze(2),
            spread.unsqueeze(2),
            correlation.flatten(2).amax(dim=1).unsqueeze(2),
            self.cells.expand(len(mean), -1, 2),
        ]
        return torch.cat(columns, dim=2).transpose(1, 2).unflatten(2, correlation.shape[2:]), affine


def _fit(points: Tensor, goals: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The affine transformation (B, 6) of points (N, 2) to goals (B, N, 2), and the weights (B, N) after the last fit.

    Weighted least squares, repeated with the weights of Geman and McClure for the distances that the last one left.
    """
    design = torch.cat([points, torch.ones_like(points[:, :1])], dim=1)
    ridge = _RIDGE * torch.eye(3, dtype=points.dtype, device=points.device)
    robust = weights
    for _ in range(_FITS):
        weighted = robust.unsqueeze(2) * design
        inverse, _ = torch.linalg.inv_ex(weighted.transpose(1, 2) @ design + ridge)
        change = inverse @ (weighted.transpose(1, 2) @ (goals - points))
        distance = (design @ change + points - goals).square().sum(dim=2)
        robust = weights / (1 + distance / _INLIER_DISTANCE**2).square()
    start = identity("affine").to(points)
    return start + change.transpose(1, 2).flatten(1), robust


def _as_model(model: str, affine: Tensor) -> Tensor:
    """The parameters (B, P) of an affine transformation (B, 6) as another model has them."""
    if model == "affine":
        return affine
    if model == "homography_matrix":
        return torch.cat([affine, affine.new_tensor([0.0, 0.0, 1.0]).expand(len(affine), 3)], dim=1)
    control = identity(model).to(affine).view(2, -1).T
    return transform_points("affine", affine, control.expand(len(affine), -1, 2)).transpose(1, 2).flatten(1)
