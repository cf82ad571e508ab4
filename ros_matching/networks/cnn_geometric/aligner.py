"""Two images, or their descriptor maps, to the ``ImageTransform`` between them, in stages.

Image 0 is the network's target, image 1 its source: theta takes image 0's points to image 1. A stage may be iterated:
its result is undone by warping image 1, and estimated again. A second stage, the spline, starts from the result of the
first one has aligned; the whole takes a point of image 0 through the spline first, then through the first stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ros_matching.config import Config, parameter
from ros_matching.datatypes import Features, ImageTransform
from ros_matching.errors import ConfigError, MatchingError
from ros_matching.networks import PRECISIONS
from ros_matching.networks.cnn_geometric.network import GRID_SIZE, IMAGE_SIZE, CNNGeometric, batch_of_one
from ros_matching.networks.cnn_geometric.transforms import compose, matrix_of, warp
from ros_matching.networks.engines import autocast
from ros_matching.networks.imagenet import level_statistics

_STAGES = ("affine", "homography", "homography_matrix", "tps", "affine+tps", "homography+tps", "homography_matrix+tps")
_CHECKED_POINTS = 9  # along each side, where the transform must neither fold nor all but vanish
_MIN_AREA = 0.01  # of the area of a cell under the identity

Stage = tuple[str, Tensor]  # a model and its parameters (B, P)
Region = tuple[float, float, float, float]


@dataclass(frozen=True)
class AlignerConfig(Config):
    """Settings of the alignment."""

    stages: str = parameter("affine+tps", "models that are estimated in turn", choices=_STAGES)
    iterations: int = parameter(1, "repetitions of each stage, on the images aligned so far", minimum=1, maximum=10)
    precision: str = parameter("float32", "number format of the convolutions", choices=PRECISIONS)


class _Aligner:
    """Base of the two aligners."""

    takes_maps: bool

    def __init__(self, network: CNNGeometric, config: AlignerConfig | None = None) -> None:
        self.config = config or AlignerConfig()
        _check_network(network, self.config, self.takes_maps)
        self.network = network
        self.device = next(network.parameters()).device

    def _transform(self, input0: Tensor, input1: Tensor, region0: Region, region1: Region) -> ImageTransform | None:
        with autocast(self.device, self.config.precision):
            stages = estimate(self.network, input1, input0, self.config.stages.split("+"), self.config.iterations)
        return image_transform(stages, region0, region1)


class ImageAligner(_Aligner):
    """Aligns images with a network that has a trunk of its own, on the device where the network is."""

    takes_maps = False

    def __init__(self, network: CNNGeometric, config: AlignerConfig | None = None) -> None:
        super().__init__(network, config)
        self._mean, self._deviation = level_statistics(self.device)

    def align(self, image0: np.ndarray, image1: np.ndarray) -> ImageTransform | None:
        """The transform between two images (H, W, 3) uint8 RGB; ``None`` if the estimate folds image 0.

        Raises ``MatchingError`` for another kind of image.
        """
        input0, input1 = self._input(image0), self._input(image1)
        return self._transform(input0, input1, *(_pixels(*image.shape[1::-1]) for image in (image0, image1)))

    def _input(self, image: np.ndarray) -> Tensor:
        """The image as the network takes it: from corner to corner, whatever its shape, and without smoothing."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < 2:
            raise MatchingError(f"an image must be (H, W, 3) uint8 RGB, 2x2 or more, got {image.shape} {image.dtype}")
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self.device).permute(2, 0, 1)[None].float()
        pixels = (pixels - self._mean) / self._deviation
        resized = functional.interpolate(pixels, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=True)
        return resized.contiguous(memory_format=torch.channels_last)


class FeatureAligner(_Aligner):
    """Aligns images by the descriptor maps that their ``Features`` bring along, on the device where these are.

    ``extractor`` is that of the features on which the network was trained, ``stride_px`` the pixels from one descriptor
    of its maps to the next; the first lies in the middle of the first ``stride_px`` pixels.
    """

    takes_maps = True

    def __init__(
        self, network: CNNGeometric, extractor: str, stride_px: int, config: AlignerConfig | None = None
    ) -> None:
        super().__init__(network, config)
        self.extractor = extractor
        self.stride_px = stride_px

    def align(self, features0: Features, features1: Features) -> ImageTransform | None:
        """The transform between the images of two features; ``None`` if the estimate folds image 0.

        Raises ``MatchingError`` for features of another extractor, without a map, or with one of less than 15x15.
        """
        map0, map1 = self._input(features0), self._input(features1)
        return self._transform(map0, map1, *(_pixels(*map_.shape[:1:-1], self.stride_px) for map_ in (map0, map1)))

    def _input(self, features: Features) -> Tensor:
        if features.extractor != self.extractor:
            raise MatchingError(
                f"the aligner is for features of {self.extractor!r}, got those of {features.extractor!r}"
            )
        if features.dense_map is None or min(features.dense_map.shape[1:]) < GRID_SIZE:
            found = "none" if features.dense_map is None else f"one of {tuple(features.dense_map.shape)}"
            raise MatchingError(
                f"alignment needs a descriptor map (D, h, w) of {GRID_SIZE}x{GRID_SIZE} up, got {found}"
            )
        return batch_of_one(features.dense_map)


@torch.inference_mode()
def estimate(
    network: CNNGeometric, source: Tensor, target: Tensor, models: Sequence[str], iterations: int = 1
) -> list[Stage]:
    """The stages of the given models; a point of the target goes through the last one first.

    Inputs are those of the network, see ``CNNGeometric.forward``. The target passes the trunk once.
    """
    stages: list[Stage] = []
    target = network.features(target)
    for model in models:
        if stages:
            source = _aligned(source, *stages[-1])
        theta = _estimate_model(network, source, target, model, iterations)
        stages.append((model, theta))
    return stages


def image_transform(stages: Sequence[Stage], region0: Region, region1: Region) -> ImageTransform | None:
    """The stages' transform of pixels of the target, image 0, to those of the source, image 1.

    The regions are the pixels (u, v, u, v) at (-1, -1) and (1, 1) in unit coordinates. Of a batch the first is taken.
    ``None`` for a transform that is not finite, or that folds region 0 or shrinks a part of it to nothing.
    """
    matrix, spline = np.eye(3), None
    for model, theta in stages:
        theta = theta[:1].double().cpu()
        if not (theta.isfinite().all() and (model == "tps" or matrix_of(model, theta).isfinite().all())):
            return None
        if model == "tps":
            spline = theta.reshape(2, 3, 3).permute(2, 1, 0).numpy()  # of x, column and row to row, column and x
        else:
            matrix = matrix @ matrix_of(model, theta)[0].numpy()
    pixels0, pixels1 = _pixels_from_unit(region0), _pixels_from_unit(region1)
    if spline is not None:
        spline = spline * np.diag(pixels0)[:2] + pixels0[:2, 2]
    transform = ImageTransform(pixels1 @ matrix @ np.linalg.inv(pixels0), region0, spline)
    return transform if _is_one_to_one(transform, region1) else None


def _estimate_model(network: CNNGeometric, source: Tensor, target: Tensor, model: str, iterations: int) -> Tensor:
    head = network.heads[model]
    theta = head(network.match(network.features(source), target))
    for _ in range(iterations - 1):
        aligned = _aligned(source, model, theta)
        theta = compose(model, theta, head(network.match(network.features(aligned), target)))
    return theta


def _aligned(source: Tensor, model: str, theta: Tensor) -> Tensor:
    """The source laid on the target, with the channels last in memory: VGG-16 takes a sixth less time that way."""
    return warp(source, model, theta).contiguous(memory_format=torch.channels_last)


def _is_one_to_one(transform: ImageTransform, region1: Region) -> bool:
    """Return True if the cells of a grid over region 0 keep their orientation and a minimum area."""
    u0, v0, u1, v1 = transform.region0
    u, v = np.meshgrid(np.linspace(u0, u1, _CHECKED_POINTS), np.linspace(v0, v1, _CHECKED_POINTS))
    mapped = transform.map_points(np.column_stack([u.ravel(), v.ravel()])).reshape(*u.shape, 2)
    across, down = np.diff(mapped, axis=1), np.diff(mapped, axis=0)
    cell = (region1[2] - region1[0]) * (region1[3] - region1[1]) / (_CHECKED_POINTS - 1) ** 2
    corners = [
        (across[:-1], down[:, :-1]),
        (across[:-1], down[:, 1:]),
        (across[1:], down[:, :-1]),
        (across[1:], down[:, 1:]),
    ]
    return all((a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0] > _MIN_AREA * cell).all() for a, b in corners)


def _pixels(columns: int, rows: int, stride_px: int = 1) -> Region:
    """The pixels of the first and the last cell's middle, of a map whose cells are ``stride_px`` wide and high."""
    middle = (stride_px - 1) / 2
    return middle, middle, middle + stride_px * (columns - 1), middle + stride_px * (rows - 1)


def _pixels_from_unit(region: Region) -> np.ndarray:
    u0, v0, u1, v1 = region
    return np.array([[(u1 - u0) / 2, 0, (u0 + u1) / 2], [0, (v1 - v0) / 2, (v0 + v1) / 2], [0, 0, 1]])


def _check_network(network: CNNGeometric, config: AlignerConfig, takes_maps: bool) -> None:
    missing = [model for model in config.stages.split("+") if model not in network.heads]
    if missing:
        raise ConfigError(
            f"AlignerConfig.stages is {config.stages!r}, but the network has heads for {', '.join(network.heads)} only"
        )
    if (network.trunk_name == "descriptor_map") != takes_maps:
        wanted = "descriptor maps (trunk descriptor_map)" if takes_maps else "images (an image trunk)"
        raise ConfigError(f"this aligner needs a network that takes {wanted}, got one with trunk {network.trunk_name}")
