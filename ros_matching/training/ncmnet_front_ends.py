"""What finds the matches that NCMNet is trained on, and the matches it finds between posed views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from ros_matching.datatypes import Camera, Features
from ros_matching.networks.installed import load_named, weights_file
from ros_matching.networks.posfeat.extractor import PoSFeatConfig, PoSFeatExtractor
from ros_matching.networks.posfeat.nearest import NearestMatcher
from ros_matching.training.ncmnet_matches import PosedMatches

FRONT_ENDS = ("posfeat_lite", "sift")

Extract = Callable[[np.ndarray], Features]


class PosedView(NamedTuple):
    """An ``image`` (H, W, 3) uint8 RGB of ``camera`` at ``world_from_camera`` (4, 4)."""

    image: np.ndarray
    camera: Camera
    world_from_camera: np.ndarray


def front_end(name: str, max_keypoints: int, weights: Path | None = None) -> Extract:
    """Keypoints and unit descriptors of images, by PoSFeat-lite with ``weights`` (else those installed) or by SIFT."""
    if name == "sift":
        return _RootSift(max_keypoints)
    network = load_named(weights or weights_file(name), name)
    extractor = PoSFeatExtractor(network, PoSFeatConfig(max_keypoints=max_keypoints))

    def extract(image: np.ndarray) -> Features:
        features = extractor.extract(image)
        return Features(features.keypoints, features.scores, features.descriptors, features.backend)

    return extract


def posed_matches(
    views: Sequence[PosedView], pairs: Iterable[tuple[int, int]], extract: Extract
) -> Iterator[PosedMatches]:
    """The mutual nearest neighbours of ``pairs`` of the ``views``; every view is described once."""
    features = [extract(view.image) for view in views]
    nearest = NearestMatcher()
    for first, second in pairs:
        matches = nearest.match(features[first], features[second])
        view0, view1 = views[first], views[second]
        rays = view0.camera.unproject(matches.points0)[:, :2], view1.camera.unproject(matches.points1)[:, :2]
        pose = np.linalg.inv(view1.world_from_camera) @ view0.world_from_camera
        yield PosedMatches(np.concatenate(rays, axis=1), pose)


class _RootSift:
    """SIFT (Lowe 2004) with RootSIFT descriptors (Arandjelovic and Zisserman 2012)."""

    def __init__(self, max_keypoints: int) -> None:
        self._sift = cv2.SIFT_create(nfeatures=max_keypoints, contrastThreshold=0.02)

    def __call__(self, image: np.ndarray) -> Features:
        keypoints, descriptors = self._sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
        if not keypoints:
            return Features(np.zeros((0, 2)), np.zeros(0), torch.zeros(0, 128), "sift")
        root = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12))
        # OpenCV looks in an image of twice the size as if pixel (0, 0) stayed where it is.
        points = cv2.KeyPoint_convert(keypoints).astype(np.float64) - 0.25
        return Features(points, np.ones(len(points)), torch.from_numpy(root), "sift")
