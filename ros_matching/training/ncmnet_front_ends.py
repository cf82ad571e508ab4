"""What finds the matches that NCMNet is trained on, and the matches it finds between posed views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from ros_matching.datatypes import Camera, Features, Matches
from ros_matching.errors import TrainingError
from ros_matching.networks.installed import load_named, weights_file
from ros_matching.networks.ncnet.matcher import ConsensusConfig, ConsensusMatcher
from ros_matching.networks.posfeat.extractor import LITE, PoSFeatExtractor
from ros_matching.networks.posfeat.nearest import NearestConfig, NearestMatcher
from ros_matching.training.ncmnet_matches import PosedMatches

_LOOSE = NearestConfig(ratio=0.95)  # what is to be pruned may well be wrong
FRONT_ENDS = ("posfeat_lite", "posfeat_lite+ncnet_lite", "sift")


class FrontEnd(NamedTuple):
    """``extract`` describes an image (H, W, 3) uint8 RGB, ``match`` finds putative matches of two so described."""

    extract: Callable[[np.ndarray], Features]
    match: Callable[[Features, Features], Matches]


class PosedView(NamedTuple):
    """An ``image`` (H, W, 3) uint8 RGB of ``camera`` at ``world_from_camera`` (4, 4)."""

    image: np.ndarray
    camera: Camera
    world_from_camera: np.ndarray


def front_end(name: str, max_keypoints: int, weights: Path | None = None) -> FrontEnd:
    """One of ``FRONT_ENDS``, as the package's own of that make; PoSFeat-lite with ``weights``, else those installed."""
    if name == "sift":
        return FrontEnd(_RootSift(max_keypoints), NearestMatcher(_LOOSE).match)
    if name not in FRONT_ENDS:
        raise TrainingError(f"no front end to train on is called {name!r}; there are: {', '.join(FRONT_ENDS)}")
    features, _, consensus = name.partition("+")
    network = load_named(weights or weights_file(features), features)
    extractor = PoSFeatExtractor(network, replace(LITE, max_keypoints=max_keypoints))
    if consensus:
        gate = ConsensusMatcher(
            load_named(weights_file(consensus), consensus),
            ConsensusConfig(map_sampling="aligned"),
            NearestMatcher(_LOOSE),
        )
        return FrontEnd(extractor.extract, gate.match)
    return FrontEnd(lambda image: replace(extractor.extract(image), dense_map=None), NearestMatcher(_LOOSE).match)


def posed_matches(
    views: Sequence[PosedView], pairs: Iterable[tuple[int, int]], front_end: FrontEnd
) -> Iterator[PosedMatches]:
    """The putative matches of ``pairs`` of the ``views``; every view is described once."""
    described = {row: front_end.extract(views[row].image) for row in sorted({row for pair in pairs for row in pair})}
    for first, second in pairs:
        matches = front_end.match(described[first], described[second])
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
