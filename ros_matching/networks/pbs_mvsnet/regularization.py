"""Regularisation of the cost volume by a three-dimensional BiSeNet: a context path, a spatial path, and their fusion.

The paper does not state channel numbers; all here are multiples of one ``width``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 8  # of the costs before they are upsampled, along depth, height and width
DETAIL_STRIDE = 2  # the same with the detail head


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm3d(outputs), nn.ReLU()
    )


def upsample(volume: Tensor, factor: int, size: tuple[int, ...]) -> Tensor:
    """Trilinear: a voxel of ``volume`` becomes ``factor`` voxels of the result (B, C, *size) along each axis.

    Exactly so for sizes that are no multiple of the factor too: the last voxel then becomes fewer.
    """
    full = [factor * length for length in volume.shape[2:]]
    volume = functional.interpolate(volume, size=full, mode="trilinear", align_corners=False)
    return volume[:, :, : size[0], : size[1], : size[2]]


class SeparableConv3d(nn.Module):
    """A depthwise 3x3x3 convolution, a pointwise one, batch normalisation."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv3d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.pointwise = nn.Conv3d(inputs, outputs, 1, bias=False)
        self.bn = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, D, h, w) to (B, outputs, ...) at ``1 / stride`` of the size, rounded up."""
        return self.bn(self.pointwise(self.depthwise(x)))


class XceptionBlock(nn.Module):
    """Three separable convolutions around a shortcut, after Xception."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            SeparableConv3d(inputs, outputs, stride),
            nn.ReLU(),
            SeparableConv3d(outputs, outputs, 1),
            nn.ReLU(),
            SeparableConv3d(outputs, outputs, 1),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, D, h, w) to (B, outputs, ...) at ``1 / stride`` of the size, rounded up."""
        return torch.relu(self.body(x) + self.shortcut(x))


class AttentionRefinement(nn.Module):
    """The attention refinement module (ARM, table I): a gate per voxel, without the pooling of the 2-D BiSeNet."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv_bn_relu(inputs, outputs)
        self.gate = nn.Sequential(nn.Conv3d(outputs, outputs, 1, bias=False), nn.BatchNorm3d(outputs), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, D, h, w) to (B, outputs, D, h, w)."""
        x = self.conv(x)
        return x * self.gate(x)


class FeatureFusion(nn.Module):
    """The feature fusion module (FFM, table I).

    The mean is over all three dimensions and a ReLU replaces a second batch normalisation of the table, as in
    BiSeNet: normalising one number per channel fails in training with one sample per batch.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv_bn_relu(inputs, outputs, kernel=1)
        self.gate = nn.Sequential(
            nn.Conv3d(outputs, outputs, 1), nn.ReLU(), nn.Conv3d(outputs, outputs, 1), nn.Sigmoid()
        )

    def forward(self, context: Tensor, spatial: Tensor) -> Tensor:
        """Two volumes (B, ., D, h, w) to one (B, outputs, D, h, w)."""
        fused = self.conv(torch.cat([context, spatial], dim=1))
        return fused + fused * self.gate(fused.mean(dim=(2, 3, 4), keepdim=True))


class DetailHead(nn.Module):
    """Costs at a half of the volume's size: the fused volume concatenated with the features of the two paths.

    Not of the paper, whose costs have one value for 8 planes and 32x32 pixels of the image. This has one for 2 planes
    and 8x8 pixels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.at_quarter = conv_bn_relu(2 * width + 4 * width, 2 * width)
        self.at_half = conv_bn_relu(2 * width + 4 * width, 2 * width)
        self.prob = nn.Conv3d(2 * width, 1, 1, bias=False)

    def forward(self, fused: Tensor, quarter: Tensor, half: Tensor) -> Tensor:
        """(B, 2 width, ...) at 1/8, (B, 4 width, ...) at 1/4 and at 1/2 to (B, 1, ...) at 1/2."""
        x = self.at_quarter(torch.cat([upsample(fused, 2, quarter.shape[2:]), quarter], dim=1))
        return self.prob(self.at_half(torch.cat([upsample(x, 2, half.shape[2:]), half], dim=1)))


class BiSeNet3d(nn.Module):
    """Matching costs per depth and pixel from the aggregated volume; with ``detail``, finer ones than the paper's."""

    def __init__(self, inputs: int, width: int, detail: bool = False) -> None:
        super().__init__()
        # The first convolutions of the two paths read the same volume in the same way: they are one, split afterwards.
        self.entry = conv_bn_relu(inputs, 4 * width, stride=2)
        self.spatial = nn.Sequential(
            conv_bn_relu(2 * width, 4 * width, stride=2), conv_bn_relu(4 * width, 8 * width, stride=2)
        )
        self.stage1 = XceptionBlock(2 * width, 4 * width, stride=2)
        self.stage2 = nn.Sequential(
            XceptionBlock(4 * width, 8 * width, stride=2), XceptionBlock(8 * width, 8 * width, stride=1)
        )
        self.stage3 = XceptionBlock(8 * width, 16 * width, stride=2)
        self.global_context = nn.Sequential(nn.Conv3d(16 * width, 8 * width, 1), nn.ReLU())
        self.arm3 = AttentionRefinement(16 * width, 8 * width)
        self.arm2 = AttentionRefinement(8 * width, 8 * width)
        self.refine3 = conv_bn_relu(8 * width, 8 * width)
        self.refine2 = conv_bn_relu(8 * width, 8 * width)
        self.ffm = FeatureFusion(16 * width, 8 * width)
        self.head = conv_bn_relu(8 * width, 2 * width)
        self.prob = nn.Conv3d(2 * width, 1, 1, bias=False) if not detail else None
        self.detail = DetailHead(width) if detail else None

    def forward(self, volume: Tensor) -> Tensor:
        """Costs (B, D, h, w) of a volume (B, inputs, D, h, w): at 1/8 or 1/2, then upsampled with a single channel."""
        half = self.entry(volume)
        spatial, context = half.chunk(2, dim=1)
        quarter = self.spatial[0](spatial)
        fused = self.head(self.ffm(self._context(context), self.spatial[1](quarter)))
        if self.detail is None:
            return upsample(self.prob(fused), STRIDE, volume.shape[2:]).squeeze(1)
        return upsample(self.detail(fused, quarter, half), DETAIL_STRIDE, volume.shape[2:]).squeeze(1)

    def _context(self, x: Tensor) -> Tensor:
        """The context path: from 1/2 down to 1/16, and refined up to 1/8."""
        stage2 = self.stage2(self.stage1(x))
        stage3 = self.stage3(stage2)
        everything = self.global_context(stage3.mean(dim=(2, 3, 4), keepdim=True))
        x = self.refine3(upsample(self.arm3(stage3) + everything, 2, stage2.shape[2:]))
        return self.refine2(self.arm2(stage2) + x)
