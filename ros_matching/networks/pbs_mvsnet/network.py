"""PBS-MVSNet: depth by a plane sweep with adaptive view aggregation and a bilateral 3-D regularisation.

The paper's code and weights are not public. Unspecified parts follow MVSNet (the feature network), PVA-MVSNet (the
gates) and BiSeNet (the two paths). ``BSMVSNet`` is one level of the depth pyramid; ``pyramid`` joins the levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ros_matching.config import Config, parameter
from ros_matching.errors import ConfigError
from ros_matching.networks.pbs_mvsnet.aggregation import ViewAggregation
from ros_matching.networks.pbs_mvsnet.regression import SAMPLINGS, DepthEstimate, soft_argmin
from ros_matching.networks.pbs_mvsnet.regularization import BiSeNet3d

FEATURE_STRIDE = 4  # feature (i, j) sits on image pixel (4 i, 4 j)


@dataclass(frozen=True)
class BSMVSNetConfig(Config):
    """The architecture of the network; ``named`` returns those of the two networks in use."""

    feature_width: int = parameter(8, "channels of the first feature layer; the map has four times as many", minimum=1)
    cost_width: int = parameter(8, "a half of the channels of the first cost layer of each path", minimum=1)
    gates: str = parameter("voxel", "how views are weighted", choices=("voxel", "pixel", "both", "none"))
    sampling: str = parameter("inverse", "quantity in which the depth hypotheses are uniform", choices=SAMPLINGS)
    detail: bool = parameter(False, "costs at a half of the volume's size, not the paper's eighth")
    confidence_window: int = parameter(16, "planes around the depth whose mass is the confidence", minimum=2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.confidence_window % 2:
            raise ConfigError(f"BSMVSNetConfig.confidence_window must be even, got {self.confidence_window}")

    @staticmethod
    def named(name: str) -> BSMVSNetConfig:
        """``pbs_mvsnet`` (the paper's) or ``pbs_mvsnet_lite`` (half the channels, finer costs)."""
        if name not in _VARIANTS:
            raise ConfigError(f"no depth network is called {name!r}; there are: {', '.join(_VARIANTS)}")
        return _VARIANTS[name]


_VARIANTS = {
    "pbs_mvsnet": BSMVSNetConfig(),
    "pbs_mvsnet_lite": BSMVSNetConfig(feature_width=4, cost_width=4, detail=True, confidence_window=8),
}


class ConvBnRelu(nn.Module):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, ...) at ``1 / stride`` of the size, rounded up."""
        return torch.relu(self.bn(self.conv(x)))


class FeatureNet(nn.Module):
    """The features of MVSNet, at a quarter of the image's size; names as in its public code, so that weights load."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv0 = ConvBnRelu(3, width, 3)
        self.conv1 = ConvBnRelu(width, width, 3)
        self.conv2 = ConvBnRelu(width, 2 * width, 5, stride=2)
        self.conv3 = ConvBnRelu(2 * width, 2 * width, 3)
        self.conv4 = ConvBnRelu(2 * width, 2 * width, 3)
        self.conv5 = ConvBnRelu(2 * width, 4 * width, 5, stride=2)
        self.conv6 = ConvBnRelu(4 * width, 4 * width, 3)
        self.feature = nn.Conv2d(4 * width, 4 * width, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, 4 width, H/4, W/4), rounded up, of images (B, 3, H, W)."""
        x = self.conv1(self.conv0(image))
        x = self.conv4(self.conv3(self.conv2(x)))
        return self.feature(self.conv6(self.conv5(x)))


class BSMVSNet(nn.Module):
    """Depth and confidence of a reference view from itself and any number of source views."""

    def __init__(self, config: BSMVSNetConfig = BSMVSNetConfig()) -> None:
        super().__init__()
        self.config = config
        self.feature = FeatureNet(config.feature_width)
        self.aggregation = ViewAggregation(4 * config.feature_width, config.gates)
        self.regularization = BiSeNet3d(4 * config.feature_width, config.cost_width, config.detail)
        self.apply(_initialise)

    def forward(
        self, images: Tensor, projections: Tensor, depths: Tensor, prior: Tensor | None = None
    ) -> DepthEstimate:
        """The estimate, (B, H/4, W/4) rounded up: pixel (i, j) is that of the image's (4 i, 4 j).

        ``images`` (B, N, 3, H, W) RGB in [0, 1], the reference first, N at least 2; ``projections`` (B, N, 4, 4), for
        the feature maps (``feature_intrinsics``) as in ``warping``; ``depths`` (B, D) ascending, along the reference's
        z, in the unit of the projections. ``prior`` (B, D, h, w) is the prior of each hypothesis, as the
        logarithm of a probability but for a constant.
        """
        return self.estimate(self.features(images), projections, depths, prior)

    def features(self, images: Tensor) -> Tensor:
        """Feature maps (B, N, C, h, w) of images (B, N, 3, H, W); for use again where a view serves several times."""
        return self.feature(images.flatten(0, 1)).unflatten(0, images.shape[:2])

    def estimate(
        self, features: Tensor, projections: Tensor, depths: Tensor, prior: Tensor | None = None
    ) -> DepthEstimate:
        """As ``forward``, from feature maps (B, N, C, h, w)."""
        cost = self.costs(features, projections, depths)
        if prior is not None:
            cost = cost.to(prior.dtype) - prior
        with torch.autocast(features.device.type, enabled=False):
            return soft_argmin(cost, depths, self.config.sampling, self.config.confidence_window)

    def costs(self, features: Tensor, projections: Tensor, depths: Tensor) -> Tensor:
        """The cost (B, D, h, w) of every hypothesis, whose softmin is its probability."""
        with torch.autocast(features.device.type, enabled=False):  # half precision would displace the samples
            volume = self.aggregation(features.to(depths.dtype), projections, depths)
        return self.regularization(volume)


def feature_intrinsics(intrinsics: Tensor) -> Tensor:
    """Calibration matrices (..., 3, 3) of the feature maps, of those of the images."""
    scale = intrinsics.new_tensor([1 / FEATURE_STRIDE, 1 / FEATURE_STRIDE, 1])
    return intrinsics * scale[:, None]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
