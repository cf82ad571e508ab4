"""PoSFeat for CPUs and small GPUs: the same two networks, decoupled in the same way, from smaller parts.

The description network is EfficientNet-Lite0 up to stride 16 and a top-down decoder to stride 4. The detection network
works at stride 4 throughout and arranges 16 channels as the scores of the 4 x 4 pixels of a cell: PoSFeat's own spends
almost half of its 200 billion multiplications on a single wide convolution at full resolution.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from ros_matching.networks.posfeat.efficientnet_lite import STAGE_CHANNELS, ConvBatchNorm, EfficientNetLite0
from ros_matching.networks.posfeat.network import (
    DESCRIPTOR_DIM,
    DenseFeatures,
    DescriptionMaps,
    instance_norm,
    require_multiple_of_stride,
)
from ros_matching.networks.posfeat.sampling import MAP_STRIDE, sample_aligned

_DECODER_WIDTH = 96
_DETECTOR_WIDTH = 48


class PoSFeatLite(nn.Module):
    """Both networks, with the interface of ``PoSFeat``."""

    name = "posfeat_lite"

    def __init__(self) -> None:
        super().__init__()
        self.description = LiteDescriptionNetwork()
        self.detection = LiteDetectionNetwork()

    def forward(self, image: Tensor) -> DenseFeatures:
        """Scores for every pixel and descriptors for every fourth of images (B, 3, H, W); see ``PoSFeat``."""
        require_multiple_of_stride(image)
        maps = self.description(image)
        return DenseFeatures(self.detection(image, maps.local, maps.stem), maps.local)

    def sample(self, descriptors: Tensor, keypoints: Tensor) -> Tensor:
        """Unit descriptors (B, N, 128) at ``keypoints`` (B, N, 2) in pixels."""
        return sample_aligned(descriptors, keypoints)


class LiteDescriptionNetwork(nn.Module):
    """``local`` is a linear map to (B, 128, H/4, W/4); ``stem`` are the encoder's (B, 24, H/4, W/4)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = EfficientNetLite0()
        self.laterals = nn.ModuleList(nn.Conv2d(channels, _DECODER_WIDTH, 1) for channels in STAGE_CHANNELS)
        self.refine8 = SeparableConv(_DECODER_WIDTH, _DECODER_WIDTH)
        self.refine4 = SeparableConv(_DECODER_WIDTH, _DECODER_WIDTH)
        self.to_local = nn.Conv2d(_DECODER_WIDTH, DESCRIPTOR_DIM, kernel_size=1)

    def forward(self, image: Tensor) -> DescriptionMaps:
        """Maps of images whose sizes are multiples of 16; there is no coarse map."""
        stages = self.encoder(image)
        quarter, eighth, sixteenth = (lateral(x) for lateral, x in zip(self.laterals, stages, strict=True))
        x = self.refine8(eighth + _doubled(sixteenth))
        x = self.refine4(quarter + _doubled(x))
        return DescriptionMaps(self.to_local(x), stages[0], None)


class LiteDetectionNetwork(nn.Module):
    """Scores from descriptors, encoder features and the image's own pixels, all arranged at stride 4."""

    def __init__(self) -> None:
        super().__init__()
        self.local_conv = nn.Conv2d(DESCRIPTOR_DIM, _DETECTOR_WIDTH, kernel_size=1)
        self.stem_conv = nn.Conv2d(STAGE_CHANNELS[0], _DETECTOR_WIDTH, kernel_size=1, bias=False)
        # The 8 x 8 pixels around a cell, at full resolution.
        self.image_conv = nn.Conv2d(3, _DETECTOR_WIDTH, kernel_size=2 * MAP_STRIDE, stride=MAP_STRIDE, padding=2)
        self.joint_conv = nn.Conv2d(_DETECTOR_WIDTH, _DETECTOR_WIDTH, kernel_size=3, padding=1)
        self.score_conv = nn.Conv2d(_DETECTOR_WIDTH, MAP_STRIDE**2, kernel_size=1)
        self.prelu = nn.PReLU()

    def forward(self, image: Tensor, local: Tensor, stem: Tensor) -> Tensor:
        """Scores (B, 1, H, W), scaled as PoSFeat's; no gradient goes back into the description network."""
        features = self.local_conv(local.detach()) + self.stem_conv(stem.detach())
        x = self.prelu(instance_norm(features) + instance_norm(self.image_conv(image)))
        x = self.prelu(instance_norm(self.joint_conv(x)))
        logits = functional.pixel_shuffle(self.score_conv(x).contiguous(), MAP_STRIDE)
        return functional.softplus(instance_norm(logits))


class SeparableConv(nn.Module):
    """A depthwise 5x5 and a pointwise convolution, batch normalisation and ReLU."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, kernel_size=5, padding=2, groups=channels, bias=False)
        self.pointwise = ConvBatchNorm(channels, out_channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H, W)."""
        return functional.relu(self.pointwise(self.depthwise(x)), inplace=True)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
