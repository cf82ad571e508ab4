"""CNNGeometric: regresses the transformation that aligns two images from the correlation of their features.

Rocco, Arandjelovic and Sivic, "Convolutional neural network architecture for geometric matching", CVPR 2017, and its
journal version (PAMI 2018) for the homography and the ResNet-101 trunk. Section and equation numbers are of the former.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ros_matching.errors import ConfigError
from ros_matching.networks.cnn_geometric.compact import CompactHead
from ros_matching.networks.cnn_geometric.transforms import PARAMETERS, identity
from ros_matching.networks.cnn_geometric.trunks import GRID_SIZE, TRUNKS

_EPSILON = 1e-6


class CNNGeometric(nn.Module):
    """One frozen trunk, and one regression head for each model of transformation (``transforms.PARAMETERS``).

    The published networks have one head each; a trunk that several heads share runs once for all of them.
    """

    def __init__(self, trunk: str = "vgg16", models: Sequence[str] = ("affine",), head: str = "paper") -> None:
        super().__init__()
        unknown = sorted(set(models) - set(PARAMETERS))
        if trunk not in TRUNKS or unknown or not models or head not in HEADS:
            raise ConfigError(
                f"CNNGeometric has the trunks {', '.join(TRUNKS)}, the models {', '.join(PARAMETERS)} and the heads "
                f"{', '.join(HEADS)}, got trunk {trunk!r}, models {list(models)} and head {head!r}"
            )
        self.trunk_name = trunk
        self.trunk = TRUNKS[trunk]().requires_grad_(False)
        self.heads = nn.ModuleDict({model: HEADS[head](model) for model in models})
        self.train(False)

    def train(self, mode: bool = True) -> CNNGeometric:
        """Training mode for the heads alone."""
        super().train(mode)
        self.trunk.eval()
        return self

    def forward(self, source: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Theta (B, P) of each model, taking unit coordinates of the target to the source.

        Inputs are images (B, 3, 240, 240), RGB in 0 to 1 normalised by ImageNet's mean and deviation; or for the trunk
        of that name descriptor maps (B, D, h, w).
        """
        correlation = self.match(self.features(source), self.features(target))
        return {model: head(correlation) for model, head in self.heads.items()}

    def features(self, x: Tensor) -> Tensor:
        """Unit feature vectors (B, C, 15, 15) (section 3.1)."""
        return normalize(self.trunk(x))

    def match(self, source: Tensor, target: Tensor) -> Tensor:
        """The normalised correlation (B, 225, 15, 15) of features: ReLU, then unit length (section 3.2).

        The normalisation lets an ambiguous match weigh less than a distinctive one, as the ratio test does.
        """
        return normalize(functional.relu(correlate(source, target)))


def cnn_geometric_lite(models: Sequence[str] = ("affine", "tps")) -> CNNGeometric:
    """Compact heads alone, on the descriptor maps of another network: no second trunk beside that of the keypoints."""
    return CNNGeometric("descriptor_map", models, head="compact")


class RegressionHead(nn.Module):
    """Correlation (B, 225, 15, 15) to theta (B, P) (section 3.3).

    The linear layer's bias begins at the identity. (The published training does so for homographies only; its affine
    and spline heads begin near the transformation that takes everything to the centre.)
    """

    def __init__(self, model: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(GRID_SIZE**2, 128, 7)
        self.norm1 = nn.BatchNorm2d(128)
        self.conv2 = nn.Conv2d(128, 64, 5)
        self.norm2 = nn.BatchNorm2d(64)
        self.linear = nn.Linear(64 * (GRID_SIZE - 10) ** 2, PARAMETERS[model])
        with torch.no_grad():
            self.linear.bias += identity(model)

    def forward(self, correlation: Tensor) -> Tensor:
        """The model's parameters, in single precision at least: half of it is a hundredth of a cell, or 0.2 pixels."""
        x = functional.relu(self.norm1(self.conv1(correlation)))
        x = functional.relu(self.norm2(self.conv2(x)))
        with torch.autocast(device_type=x.device.type, enabled=False):
            return self.linear(x.flatten(1).to(self.linear.weight.dtype))


HEADS = {"paper": RegressionHead, "compact": CompactHead}


def correlate(source: Tensor, target: Tensor) -> Tensor:
    """All scalar products of two maps (B, C, h, w), as (B, w * h, h, w) over the cells of the target (equation 1).

    The channel of the source's cell (row i, column j) is k = h j + i: column after column.
    """
    with torch.autocast(device_type=source.device.type, enabled=False):
        rows = source.transpose(2, 3).flatten(2).transpose(1, 2)
        return (rows @ target.to(source.dtype).flatten(2)).unflatten(2, target.shape[2:])


def normalize(x: Tensor) -> Tensor:
    """Vectors along the channels divided by sqrt(sum of squares + 1e-6), in single precision at least."""
    with torch.autocast(device_type=x.device.type, enabled=False):
        x = x if x.dtype == torch.float64 else x.float()
        return x / (x.square().sum(dim=1, keepdim=True) + _EPSILON).sqrt()
