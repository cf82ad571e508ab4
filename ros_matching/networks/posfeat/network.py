"""PoSFeat (Li et al., "Decoupling Makes Weakly Supervised Local Feature Better", CVPR 2022): the two networks.

The description network converts an image to a map of descriptors at a quarter of its size; the detection network
converts that map, the first feature map and the image into a score for every pixel. They are trained one after the
other (section 3 of the paper), so the input of the detection network is detached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ros_matching.config import Config, parameter
from ros_matching.errors import MatchingError
from ros_matching.networks.engines import full_precision
from ros_matching.networks.posfeat.sampling import sample_published

_C1, _C2 = 0.01**2, 0.03**2  # of SSIM, for values from 0 to 1


def dissimilarity(x: Tensor) -> Tensor:
    """Return the dissimilarity (B, C, H, W), 0 to 1, of each channel to itself one pixel right and down.

    (1 - SSIM) / 2 of the map's magnitude and the same moved by (1, 1), over 3x3 windows (Wang et al. 2004); mirrored
    at the borders.
    """
    here = x.abs()
    there = functional.pad(here, (0, 1, 0, 1), mode="reflect")[..., 1:, 1:]
    mean_h, mean_t = _mean3(here), _mean3(there)
    variances = _mean3(here.square()) - mean_h.square() + _mean3(there.square()) - mean_t.square()
    covariance = _mean3(here * there) - mean_h * mean_t
    similar = (2 * mean_h * mean_t + _C1) * (2 * covariance + _C2)
    return (0.5 - 0.5 * similar / ((mean_h.square() + mean_t.square() + _C1) * (variances + _C2))).clamp(0, 1)


def peakiness(x: Tensor) -> Tensor:
    """Return the peakiness (B, 1, H, W) of the best channel against its 3x3 surroundings and the other channels.

    Softplus of the one times softplus of the other (ASLFeat, Luo et al. 2020, equations 5 to 7), of the map divided by
    its largest value.
    """
    largest = x.amax(dim=(1, 2, 3), keepdim=True)
    x = x / torch.where(largest > 0, largest, 1)
    local = functional.softplus(x - _mean3(x))
    across = functional.softplus(x - x.mean(dim=1, keepdim=True))
    return (local * across).amax(dim=1, keepdim=True)


PRIORS: dict[str, Callable[[Tensor], Tensor] | None] = {
    "none": None,
    "dissimilarity": dissimilarity,
    "peakiness": peakiness,
}
"""By name; in the authors' code "identity", "SSIM" and "ASL_Peak"."""


def _mean3(x: Tensor) -> Tensor:
    return functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="reflect"), kernel_size=3, stride=1)


STRIDE = 16  # image sizes are multiples of it
DESCRIPTOR_DIM = 128


_ACTIVATIONS = {"softplus": functional.softplus, "sigmoid": torch.sigmoid}


@dataclass(frozen=True)
class DetectionConfig(Config):
    """Options of the detection network in the authors' code; the defaults are those of the published network."""

    prior: str = parameter("none", "hand-made prior that leads the scores", choices=tuple(PRIORS))
    activation: str = parameter(
        "softplus", "activation that converts normalised logits to scores", choices=tuple(_ACTIVATIONS)
    )


class DenseFeatures(NamedTuple):
    """Dense output of PoSFeat for a batch of images.

    ``score`` (B, 1, H, W), positive; ``descriptors`` (B, 128, H/4, W/4), to be normalised after sampling.
    """

    score: Tensor
    descriptors: Tensor


class DescriptionMaps(NamedTuple):
    """``local`` (B, 128, H/4, W/4), ``stem`` (B, 64, H/4, W/4) and, on demand, ``coarse`` (B, 128, H/16, W/16)."""

    local: Tensor
    stem: Tensor
    coarse: Tensor | None


class PoSFeat(nn.Module):
    """Both networks: images (B, 3, H, W), RGB normalised by ImageNet's statistics, to ``DenseFeatures``.

    H and W are multiples of 16, else ``MatchingError``.
    """

    name = "posfeat"

    def __init__(self, detection: DetectionConfig | None = None) -> None:
        super().__init__()
        self.description = DescriptionNetwork()
        self.detection = DetectionNetwork(detection)

    def forward(self, image: Tensor) -> DenseFeatures:
        """Scores for every pixel and descriptors for every fourth."""
        require_multiple_of_stride(image)
        maps = self.description(image)
        return DenseFeatures(self.detection(image, maps.local, maps.stem), maps.local)

    def sample(self, descriptors: Tensor, keypoints: Tensor) -> Tensor:
        """Unit descriptors (B, N, 128) at ``keypoints`` (B, N, 2) in pixels, as the published weights expect."""
        return sample_published(descriptors, keypoints)


def require_multiple_of_stride(image: Tensor) -> None:
    """Raise ``MatchingError`` unless the image's height and width are multiples of 16."""
    height, width = image.shape[-2:]
    if height % STRIDE or width % STRIDE or not height or not width:
        raise MatchingError(
            f"PoSFeat needs image sizes that are multiples of {STRIDE}, got {width}x{height}; crop right and bottom"
        )


class DescriptionNetwork(nn.Module):
    """ResNet-50 up to its third stage, with a decoder back to stride 4 (the "ResUNet" of CAPS)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 64, kernel=7, stride=2)
        self.layer1 = _stage(64, 64, blocks=3, stride=1)
        self.layer2 = _stage(256, 128, blocks=4, stride=2)
        self.layer3 = _stage(512, 256, blocks=6, stride=2)
        self.to_coarse = ConvElu(1024, DESCRIPTOR_DIM, kernel=1)
        self.up3 = ConvElu(1024, 512, kernel=3)
        self.fuse3 = ConvElu(512 + 512, 512, kernel=3)
        self.up2 = ConvElu(512, 256, kernel=3)
        self.fuse2 = ConvElu(256 + 256, 256, kernel=3)
        self.to_local = ConvElu(256, DESCRIPTOR_DIM, kernel=1)

    def forward(self, image: Tensor, with_coarse: bool = False) -> DescriptionMaps:
        """Maps of images of any size; other than multiples of 16 make ``local`` larger than ``stem``.

        Neither detection nor matching reads the coarse map, so it is made on demand only.
        """
        stem = functional.max_pool2d(self.stem(image).relu(), kernel_size=3, stride=2, padding=1)
        quarter = self.layer1(stem)
        eighth = self.layer2(quarter)
        sixteenth = self.layer3(eighth)
        x = self.up3(_doubled(sixteenth))
        x = self.fuse3(torch.cat([x, _padded_to(eighth, x)], dim=1))
        x = self.up2(_doubled(x))
        x = self.fuse2(torch.cat([x, _padded_to(quarter, x)], dim=1))
        return DescriptionMaps(self.to_local(x), stem, self.to_coarse(sixteenth) if with_coarse else None)


class DetectionNetwork(nn.Module):
    """A shallow network from descriptors, stem features and image to a score for every pixel.

    Its instance normalisations take the statistics of the image at hand, in training and after: the logits have zero
    mean and unit variance over every image, so a threshold on the score selects a fraction of the pixels. A prior, if
    there is one, weights the features and the image at the input of the network, and its scores.
    """

    def __init__(self, config: DetectionConfig | None = None) -> None:
        super().__init__()
        self.config = config or DetectionConfig()
        self.map_conv = nn.Conv2d(DESCRIPTOR_DIM + 64, 192, kernel_size=3, padding=1)
        self.image_conv = nn.Conv2d(3, 64, kernel_size=3, padding=1)
        self.joint_conv = nn.Conv2d(192 + 64, 128, kernel_size=3, padding=1)
        self.score_conv = nn.Conv2d(128, 1, kernel_size=1)
        self.prelu = nn.PReLU()  # one slope for all channels

    def forward(self, image: Tensor, local: Tensor, stem: Tensor) -> Tensor:
        """Scores (B, 1, H, W); no gradient goes back into the description network."""
        features, size = torch.cat([local, stem], dim=1).detach(), image.shape[-2:]
        weights = None
        if prior := PRIORS[self.config.prior]:
            with torch.autocast(device_type=image.device.type, enabled=False):
                of_features, of_image = prior(full_precision(features)), prior(full_precision(image))
            features, image = features * of_features, image * of_image
            weights = _resized(of_features.mean(dim=1, keepdim=True), size) * of_image.mean(dim=1, keepdim=True)

        x = _resized(self.prelu(instance_norm(self.map_conv(features))), size)
        x = torch.cat([x, instance_norm(self.image_conv(image))], dim=1)
        x = self.prelu(instance_norm(self.joint_conv(x)))
        score = _ACTIVATIONS[self.config.activation](instance_norm(self.score_conv(x)))
        return score if weights is None else score * weights


def instance_norm(x: Tensor) -> Tensor:
    """Zero mean and unit variance over each channel of each image, in full precision.

    Torch's own copies channels-last tensors first, which is slow on a CPU.
    """
    with torch.autocast(device_type=x.device.type, enabled=False):
        x = full_precision(x)  # sums over whole images
        x = x - x.mean(dim=(2, 3), keepdim=True)
        return x * (x.square().mean(dim=(2, 3), keepdim=True) + 1e-5).rsqrt()


class ConvNorm(nn.Module):
    """A convolution without bias, then batch normalisation."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H/stride, W/stride)."""
        return self.bn(self.conv(x))


class ConvElu(nn.Module):
    """A convolution with bias, batch normalisation and ELU: the decoder's unit."""

    def __init__(self, channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H, W)."""
        return functional.elu(self.bn(self.conv(x)), inplace=True)


class Bottleneck(nn.Module):
    """ResNet's bottleneck (He et al. 2016) with the stride on its 3x3 convolution, as torchvision has it."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int, project: bool) -> None:
        super().__init__()
        out_channels = width * self.expansion
        self.reduce = ConvNorm(channels, width, kernel=1)
        self.spatial = ConvNorm(width, width, kernel=3, stride=stride)
        self.expand = ConvNorm(width, out_channels, kernel=1)
        self.shortcut = ConvNorm(channels, out_channels, kernel=1, stride=stride) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 4 width, H/stride, W/stride)."""
        y = functional.relu(self.reduce(x), inplace=True)
        y = functional.relu(self.spatial(y), inplace=True)
        return functional.relu(self.expand(y) + self.shortcut(x), inplace=True)


def _stage(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(channels, width, stride, project=True)
    rest = (Bottleneck(width * Bottleneck.expansion, width, 1, project=False) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def _padded_to(skip: Tensor, target: Tensor) -> Tensor:
    """``skip`` with zeros around it, to the size of ``target``; the smaller half goes left and top."""
    rows = target.shape[-2] - skip.shape[-2]
    columns = target.shape[-1] - skip.shape[-1]
    if not rows and not columns:
        return skip
    return functional.pad(skip, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
