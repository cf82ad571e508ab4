"""EfficientNet-Lite0 (Tan and Le 2019; the Lite variant of TensorFlow's model garden) up to stride 16.

EfficientNet-B0 without squeeze-and-excitation and with ReLU6 instead of swish, for CPUs and quantisation.
TensorFlow pads convolutions of stride 2 at the right and bottom; here padding is symmetric, which only shifts the
input by some pixels, so that ImageNet weights remain valid, and avoids copies of the large first maps.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ros_matching.networks.imagenet import IMAGENET_DEVIATION, IMAGENET_MEAN
from ros_matching.networks.published import convert, shapes_of

STAGE_CHANNELS = (24, 40, 112)  # at strides 4, 8 and 16
_STEM_CHANNELS = 32
# Repeats, kernel, stride of the first block, expansion, channels; the last two stages, at stride 32, are left away.
_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112))
_TAPS = (2, 4, 10)  # the last blocks at strides 4, 8 and 16


class EfficientNetLite0(nn.Module):
    """Images (B, 3, H, W) to maps at strides 4, 8 and 16 with ``STAGE_CHANNELS`` channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvBatchNorm(3, _STEM_CHANNELS, kernel=3, stride=2)
        blocks = []
        channels = _STEM_CHANNELS
        for repeats, kernel, stride, expansion, out_channels in _STAGES:
            for repeat in range(repeats):
                blocks.append(InvertedResidual(channels, out_channels, kernel, 1 if repeat else stride, expansion))
                channels = out_channels
        self.blocks = nn.ModuleList(blocks)

    def forward(self, image: Tensor) -> list[Tensor]:
        """The maps at strides 4, 8 and 16."""
        x = functional.relu6(self.stem(image), inplace=True)
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _TAPS:
                maps.append(x)
        return maps


class InvertedResidual(nn.Module):
    """Expand, convolve each channel separately, project linearly (MobileNetV2, Sandler et al. 2018)."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = channels * expansion
        self.expand = ConvBatchNorm(channels, width, kernel=1) if expansion != 1 else None
        self.depthwise = ConvBatchNorm(width, width, kernel=kernel, stride=stride, groups=width)
        self.project = ConvBatchNorm(width, out_channels, kernel=1)
        self.residual = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H/stride, W/stride)."""
        y = x if self.expand is None else functional.relu6(self.expand(x), inplace=True)
        y = self.project(functional.relu6(self.depthwise(y), inplace=True))
        return x + y if self.residual else y


class ConvBatchNorm(nn.Module):
    """A convolution without bias, then batch normalisation with TensorFlow's constants."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H/stride, W/stride)."""
        return self.bn(self.conv(x))


_RENAMES = (
    (r"^_conv_stem\.", "stem.conv."),
    (r"^_bn0\.", "stem.bn."),
    # The first block does not expand, but its normalisations are numbered as in the others.
    (r"^_blocks\.(\d+)\._expand_conv\.", r"blocks.\1.expand.conv."),
    (r"^_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand.bn."),
    (r"^_blocks\.(\d+)\._depthwise_conv\.", r"blocks.\1.depthwise.conv."),
    (r"^_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise.bn."),
    (r"^_blocks\.(\d+)\._project_conv\.", r"blocks.\1.project.conv."),
    (r"^_blocks\.(\d+)\._bn2\.", r"blocks.\1.project.bn."),
)
_STRIDE_32 = (r"_blocks\.1[1-5]\..*", r"_conv_head\..*", r"_bn1\..*", r"_fc\..*")


def from_imagenet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of ``EfficientNetLite0`` from the whole classifier's in the package efficientnet-lite-pytorch.

    That one takes grey levels as (level - 127) / 128, which its first normalisation is adapted to; the change to
    ImageNet's mean and standard deviation, our input, is folded into the first convolution and normalisation. Raises
    ``CheckpointError`` for unknown or missing keys and wrong shapes.
    """
    with torch.device("meta"):
        expected = shapes_of(EfficientNetLite0())
    ours = convert(state, expected, network="EfficientNet-Lite0", renames=_RENAMES, dead=_STRIDE_32)
    weight = ours["stem.conv.weight"]
    offset = (255 * weight.new_tensor(IMAGENET_MEAN) - 127) / 128
    scale = 255 * weight.new_tensor(IMAGENET_DEVIATION) / 128
    ours["stem.bn.running_mean"] = ours["stem.bn.running_mean"] - torch.einsum("oihw,i->o", weight, offset)
    ours["stem.conv.weight"] = weight * scale[:, None, None]
    return ours
