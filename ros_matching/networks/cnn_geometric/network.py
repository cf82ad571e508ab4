"""CNNGeometric: regresses the transformation that aligns two images from the correlation of their features.

Rocco, Arandjelovic and Sivic, "Convolutional neural network architecture for geometric matching", CVPR 2017, and its
journal version (PAMI 2018) for the homography and the ResNet-101 trunk. Section and equation numbers are of the former.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ros_matching.errors import ConfigError
from ros_matching.networks.cnn_geometric.transforms import PARAMETERS, identity, robust_fit, transform_points
from ros_matching.networks.imagenet import ResNet101Trunk

GRID_SIZE = 15  # cells along each side of the maps to correlate
IMAGE_SIZE = 240  # pixels along each side of the images that the image trunks take: 16 per cell


class Vgg16Trunk(nn.Sequential):
    """VGG-16 through relu4_3 and pool4: images (B, 3, 240, 240) to (B, 512, 15, 15)."""

    def __init__(self) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        channels = 3
        for block, (width, depth) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3)], start=1):
            for layer in range(1, depth + 1):
                layers[f"conv{block}_{layer}"] = nn.Conv2d(channels, width, 3, padding=1)
                layers[f"relu{block}_{layer}"] = nn.ReLU(inplace=True)
                channels = width
            layers[f"pool{block}"] = nn.MaxPool2d(2)
        super().__init__(layers)


class DescriptorMapTrunk(nn.Module):
    """No trunk of its own: dense descriptors (B, D, h, w) of any size, averaged in 15x15 cells to (B, D, 15, 15).

    The cells lie as those of the image trunks, whose stride divides the image evenly. Descriptors are normalised before
    they are averaged, so that each counts the same.
    """

    def forward(self, descriptors: Tensor) -> Tensor:
        """The averaged descriptors, see above."""
        return functional.adaptive_avg_pool2d(
            functional.normalize(descriptors.float(), dim=1).to(descriptors.dtype), GRID_SIZE
        )


def batch_of_one(dense_map: Tensor) -> Tensor:
    """A descriptor map (D, h, w) as (1, D, h, w), with the channels last in memory, as PoSFeat leaves them.

    The strides of a plain ``[None]`` of its map are of no layout that PyTorch knows, and the map is averaged ten times
    slower.
    """
    return dense_map.movedim(0, -1).contiguous()[None].movedim(-1, 1)


TRUNKS = {"vgg16": Vgg16Trunk, "resnet101": ResNet101Trunk, "descriptor_map": DescriptorMapTrunk}


_SHARPNESS = 120.0  # of the softmax over correlations; small values pull positions to the centre
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
        positions = torch.cartesian_prod(axis, axis)
        moments = torch.cat([positions, positions.square().sum(dim=1, keepdim=True)], dim=1)
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
        """Return features of each cell's match (B, 9, 15, 15), and the transform fitted to the matches (B, P)."""
        flat = correlation.flatten(2)
        x, y, squared = (self.moments @ torch.softmax(_SHARPNESS * flat, dim=1)).unbind(1)
        positions = torch.stack([x, y], dim=2)
        spread = (squared - x.square() - y.square()).clamp(min=0).sqrt()
        fit, weights = robust_fit(self.model, self.cells, positions, torch.exp(-_SPREAD_WEIGHT * spread))
        cells = self.cells.expand(len(positions), -1, 2)
        residual = (positions - transform_points(self.model, fit, cells)).clamp(-1, 1)
        scalars = torch.stack([weights, spread, flat.amax(dim=1)], dim=2)
        columns = torch.cat([residual, weights.unsqueeze(2) * residual, scalars, cells], dim=2)
        return columns.transpose(1, 2).unflatten(2, correlation.shape[2:]), fit


_EPSILON = 1e-6


class CNNGeometric(nn.Module):
    """One frozen trunk, and one regression head for each model of transformation (``transforms.PARAMETERS``).

    The published networks have one head each; a trunk of several heads runs once for all of them.
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

        Inputs are images (B, 3, 240, 240), RGB in 0 to 1 normalised by ImageNet's mean and standard deviation; or for
        the trunk of that name descriptor maps (B, D, h, w).
        """
        correlation = self.match(self.features(source), self.features(target))
        return {model: head(correlation) for model, head in self.heads.items()}

    def features(self, x: Tensor) -> Tensor:
        """Unit feature vectors (B, C, 15, 15) (section 3.1)."""
        return normalize(self.trunk(x))

    def match(self, source: Tensor, target: Tensor) -> Tensor:
        """The normalised correlation (B, 225, 15, 15) of features: ReLU, then unit length (section 3.2).

        The normalisation reduces the weight of ambiguous matches, as the ratio test does.
        """
        return normalize(functional.relu(correlate(source, target)))


def cnn_geometric_lite(models: Sequence[str] = ("affine", "tps")) -> CNNGeometric:
    """Compact heads alone, on the descriptor maps of another network: no second trunk besides that of the keypoints."""
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
