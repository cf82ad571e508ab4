"""Extraction of PoSFeat features: sub-pixel keypoints with unit descriptors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ros_matching.config import Config, parameter
from ros_matching.datatypes import Features
from ros_matching.errors import MatchingError
from ros_matching.networks import ENGINE_PRECISIONS, ENGINES
from ros_matching.networks.checkpoint import digest
from ros_matching.networks.engines import folded, make_engine
from ros_matching.networks.imagenet import level_statistics
from ros_matching.networks.posfeat.keypoints import Keypoints, detect, detect_on_response, hessian_response
from ros_matching.networks.posfeat.lite import PoSFeatLite
from ros_matching.networks.posfeat.network import STRIDE, DenseFeatures, PoSFeat

MIN_SIDE_PX = 2 * STRIDE
_CONTRAST_CELL_PX = 4
_EXAMPLE_SIZE = (96, 128)


@dataclass(frozen=True)
class PoSFeatConfig(Config):
    """Settings of PoSFeat. The score is softplus of a logit of unit variance over the image.

    The scores of the lite network, computed at a quarter of the image size, are displaced by about a pixel. With
    ``LITE`` the Hessian of the image determines the position of a keypoint, and the score its rank.
    """

    max_keypoints: int = parameter(2048, "strongest keypoints kept per image", minimum=50, maximum=20480)
    nms_radius_px: int = parameter(3, "a keypoint scores highest this far around it, in pixels", minimum=1, maximum=8)
    score_threshold: float = parameter(
        0.5, "score that a keypoint exceeds; 0.5 passes two thirds", minimum=0, maximum=5
    )
    localization: str = parameter(
        "score",
        "keypoints lie at maxima of the score, as published, or of the image's Hessian, more exactly",
        choices=("score", "hessian"),
    )
    min_response: float = parameter(
        0.002, "with the Hessian: root of its determinant that a keypoint exceeds, of grey levels 0 to 1", minimum=0
    )
    min_contrast: float = parameter(
        2.0, "standard deviation of the grey levels (0 to 255) around a keypoint below which it is dropped", minimum=0
    )
    engine: str = parameter("torch", "inference engine; auto: OpenVINO on a CPU if installed", choices=ENGINES)
    precision: str = parameter(
        "auto", "number format of the convolutions; auto: the fastest that is exact enough", choices=ENGINE_PRECISIONS
    )


LITE = PoSFeatConfig(localization="hessian", nms_radius_px=2)

# Table of the authors' runs: without a guard against flat images, which they do not have.
PAPER_PRESETS = {
    "hpatches": PoSFeatConfig(max_keypoints=8192, nms_radius_px=1, score_threshold=0.9, min_contrast=0.0),
    "aachen": PoSFeatConfig(max_keypoints=20480, nms_radius_px=3, score_threshold=0.5, min_contrast=0.0),
    "eth": PoSFeatConfig(max_keypoints=20480, nms_radius_px=3, score_threshold=0.9, min_contrast=0.0),
}


class PoSFeatExtractor:
    """Extracts ``Features`` with a PoSFeat network, full or lite, on the device where the network is.

    It works on a copy of the network made for inference. Pixels right of and below the last multiple of 16 are not
    looked at.
    """

    def __init__(self, network: PoSFeat | PoSFeatLite, config: PoSFeatConfig | None = None) -> None:
        self.config = config or PoSFeatConfig()
        self.fingerprint = digest(network.state_dict())  # of the weights as they are in their file
        self.network = folded(network).to(memory_format=torch.channels_last)
        self.device = next(network.parameters()).device
        levels = 255 * torch.rand(1, 3, *_EXAMPLE_SIZE, generator=torch.Generator().manual_seed(0)).to(self.device)
        self._engine = make_engine(_FromLevels(self.network), [levels], self.config.engine, self.config.precision)
        # Differences of neighbouring pixels, which need float32.
        self._texture = make_engine(_Texture(), [levels[:, :1]], self.config.engine, "float32")

    @torch.inference_mode()
    def extract(self, image: np.ndarray) -> Features:
        """Features of an image (H, W, 3) uint8 RGB; possibly none.

        Keypoints, scores, unit descriptors (N, 128), the descriptor map (128, H/4, W/4), not normalised, and the grey
        image are tensors on the network's device; the strongest keypoint comes first. Raises ``MatchingError`` for
        another kind of image or one with a side below 32 pixels.
        """
        levels = self._levels(image)
        grey = levels.mean(dim=1, keepdim=True)
        dense = DenseFeatures(*self._engine(levels))
        [keypoints] = self._keypoints(dense.score, grey)
        descriptors = self.network.sample(dense.descriptors, keypoints.points[None])[0]
        shades = grey[0, 0].round().to(torch.uint8)
        return Features(
            keypoints.points, keypoints.scores, descriptors, self.network.name, dense.descriptors[0], shades
        )

    @property
    def engine(self) -> str:
        """The engine and the precision in use."""
        return f"{self._engine.name}, {self._engine.precision}"

    def _keypoints(self, score: Tensor, grey: Tensor) -> list[Keypoints]:
        config = self.config
        [variance] = self._texture(grey)
        allowed = None if config.min_contrast == 0 else _enlarged(variance >= config.min_contrast**2)
        if config.localization == "hessian":
            response = hessian_response(grey / 255)
            return detect_on_response(
                response, score, config.nms_radius_px, config.min_response, config.max_keypoints, allowed
            )
        return detect(score, config.nms_radius_px, config.score_threshold, config.max_keypoints, allowed)

    def _levels(self, image: np.ndarray) -> Tensor:
        """The part of the image that is used, (1, 3, H, W) from 0 to 255, channels last in memory."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise MatchingError(f"an image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        height, width = (side // STRIDE * STRIDE for side in image.shape[:2])
        if min(height, width) < MIN_SIDE_PX:
            raise MatchingError(f"PoSFeat needs images of {MIN_SIDE_PX} pixels or more a side, got {image.shape[:2]}")
        pixels = torch.from_numpy(np.ascontiguousarray(image[:height, :width])).to(self.device)
        return pixels.permute(2, 0, 1)[None].float()


class _FromLevels(nn.Module):
    """A network of either kind, for images (B, 3, H, W) of levels 0 to 255; its outputs as a plain tuple."""

    def __init__(self, network: PoSFeat | PoSFeatLite) -> None:
        super().__init__()
        self._network = network
        mean, std = level_statistics(next(network.parameters()).device)
        self.register_buffer("_mean", mean)
        self.register_buffer("_std", std)

    def forward(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(self._network((levels - self._mean) / self._std))


class _Texture(nn.Module):
    """The variance (B, 1, H/4, W/4) around each cell of 4 x 4 pixels, of grey levels 0 to 255.

    It is that of the 12 x 12 pixels of a cell and the cells around it. Where it is nearly zero, the normalisations of a
    network find structure in rounding.
    """

    def forward(self, grey: Tensor) -> tuple[Tensor, ...]:
        centred = grey - grey.mean()  # keeps rounding away from the difference of squares
        moments = functional.avg_pool2d(torch.cat([centred, centred.square()], dim=1), _CONTRAST_CELL_PX)
        moments = functional.avg_pool2d(moments, kernel_size=3, stride=1, padding=1, count_include_pad=False)
        mean, square = moments.split(1, dim=1)
        return (square - mean.square(),)


def _enlarged(cells: Tensor) -> Tensor:
    """Repeat the values of cells (B, 1, H/4, W/4) for each of their pixels (B, 1, H, W)."""
    return cells.repeat_interleave(_CONTRAST_CELL_PX, dim=-1).repeat_interleave(_CONTRAST_CELL_PX, dim=-2)
