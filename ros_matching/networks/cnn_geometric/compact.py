"""A head for CNNGeometric that is told where the matches are, instead of having to learn it.

Not of the paper, whose head learns from examples which of the correlation's 225 channels is which place. Here a softmax
over them gives each cell of the target the mean place of its match and how far that is spread; a weighted fit of the
model (``fits``) explains most of it, and small convolutions regress what is left. On PoSFeat-lite's maps of photos the
fits alone align affine warps to 1.1 % of the side, homographies to 1.4 %, splines to 3.0 %.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ros_matching.networks.cnn_geometric.fits import robust_fit
from ros_matching.networks.cnn_geometric.transforms import PARAMETERS, transform_points
from ros_matching.networks.cnn_geometric.trunks import GRID_SIZE

_SHARPNESS = 120.0  # of the softmax over correlations; 40 and less draw the places to the middle
_SPREAD_WEIGHT = 10.0  # a match spread over a tenth of the half side weighs 1 / e
_EVIDENCE = 9  # residual x, y; the same weighted; weight; spread; best correlation; the cell's own x, y


class CompactHead(nn.Module):
    """Correlation (B, 225, 15, 15) to theta (B, P); before any training, the fit."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self.model = model
        widths = (_EVIDENCE, 64, 64, 96, 96)
        layers: list[nn.Module] = []
        for inputs, outputs, stride in zip(widths[:-1], widths[1:], (1, 2, 1, 2), strict=True):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.linear = nn.Linear(widths[-1] * 4 * 4, PARAMETERS[model])
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        axis = torch.linspace(-1, 1, GRID_SIZE)
        # The correlation's channels are column after column, the cells of the target row after row.
        places = torch.cartesian_prod(axis, axis)
        moments = torch.cat([places, places.square().sum(dim=1, keepdim=True)], dim=1)
        self.register_buffer("moments", moments.T.contiguous(), persistent=False)
        self.register_buffer("cells", torch.cartesian_prod(axis, axis).flip(1), persistent=False)

    def forward(self, correlation: Tensor) -> Tensor:
        """The model's parameters, in single precision at least."""
        with torch.autocast(device_type=correlation.device.type, enabled=False):
            evidence, fit = self._evidence(correlation.to(self.linear.weight.dtype))
        x = self.body(evidence)
        with torch.autocast(device_type=x.device.type, enabled=False):
            return fit + self.linear(x.flatten(1).to(self.linear.weight.dtype))

    @torch.no_grad()
    def _evidence(self, correlation: Tensor) -> tuple[Tensor, Tensor]:
        """What is known of each cell's match, (B, 9, 15, 15), and the fit to them (B, P)."""
        flat = correlation.flatten(2)
        x, y, squared = (self.moments @ torch.softmax(_SHARPNESS * flat, dim=1)).unbind(1)
        places = torch.stack([x, y], dim=2)
        spread = (squared - x.square() - y.square()).clamp(min=0).sqrt()
        fit, weights = robust_fit(self.model, self.cells, places, torch.exp(-_SPREAD_WEIGHT * spread))
        cells = self.cells.expand(len(places), -1, 2)
        residual = (places - transform_points(self.model, fit, cells)).clamp(-1, 1)
        scalars = torch.stack([weights, spread, flat.amax(dim=1)], dim=2)
        columns = torch.cat([residual, weights.unsqueeze(2) * residual, scalars, cells], dim=2)
        return columns.transpose(1, 2).unflatten(2, correlation.shape[2:]), fit
