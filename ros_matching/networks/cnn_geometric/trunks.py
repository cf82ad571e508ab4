"""What turns the inputs into 15x15 maps to correlate: two image classifiers' first layers, or a given descriptor map.

The names of the layers are those of the papers (VGG-16: Simonyan and Zisserman 2015; ResNet-101: He et al. 2016). All
of these trunks stay frozen and in evaluation mode, also while a head is trained: batch statistics of a frozen trunk
would drift.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

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


class ResNet101Trunk(nn.Sequential):
    """ResNet-101 through layer3: images (B, 3, 240, 240) to (B, 1024, 15, 15)."""

    def __init__(self) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
                bn1=nn.BatchNorm2d(64),
                relu=nn.ReLU(inplace=True),
                maxpool=nn.MaxPool2d(3, stride=2, padding=1),
                layer1=_layer(64, 64, blocks=3, stride=1),
                layer2=_layer(256, 128, blocks=4, stride=2),
                layer3=_layer(512, 256, blocks=23, stride=2),
            )
        )


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


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution around a shortcut; the 3x3 has the stride."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride != 1 or channels != 4 * width:
            shortcut = nn.Conv2d(channels, 4 * width, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, 4 * width, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.relu(self.bn2(self.conv2(x)), inplace=True)
        return functional.relu(self.bn3(self.conv3(x)) + shortcut, inplace=True)


def _layer(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest: list[Any] = [Bottleneck(4 * width, width, stride=1) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(channels, width, stride), *rest)


TRUNKS = {"vgg16": Vgg16Trunk, "resnet101": ResNet101Trunk, "descriptor_map": DescriptorMapTrunk}
