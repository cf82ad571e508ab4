"""What turns the inputs into 15x15 maps to correlate: two image classifiers' first layers, or a given descriptor map.

The names of the layers are those of the papers (VGG-16: Simonyan and Zisserman 2015; ResNet-101: He et al. 2016). All
of these trunks stay frozen and in evaluation mode, also while a head is trained: batch statistics of a frozen trunk
would drift.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

from ros_matching.networks.resnet import ResNet101Trunk

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
