"""ImageNet: the normalisation of images, and a trunk of ResNet-101 (He et al. 2016) with torchvision's names."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB from 0 to 1, as the standard deviation
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def level_statistics(device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation, (3, 1, 1) each, of RGB levels from 0 to 255."""
    mean, std = (
        255 * torch.tensor(values, device=device).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_DEVIATION)
    )
    return mean, std


class ResNet101Trunk(nn.Sequential):
    """Through layer3: images (B, 3, H, W) to features (B, 1024, H / 16, W / 16), not negative."""

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


class ResNetBottleneck(nn.Module):
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
    rest: list[Any] = [ResNetBottleneck(4 * width, width, stride=1) for _ in range(blocks - 1)]
    return nn.Sequential(ResNetBottleneck(channels, width, stride), *rest)
