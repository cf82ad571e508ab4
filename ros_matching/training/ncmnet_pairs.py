"""The pairs of real and rendered images whose matches NCMNet is trained on, found once and kept in a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from tqdm import tqdm

from ros_matching.atomic_file import atomic_path
from ros_matching.datatypes import Camera, Features, Frame, Matches
from ros_matching.errors import TrainingError
from ros_matching.evaluation.data_split import training_frames
from ros_matching.io.folder import open_folder
from ros_matching.networks.checkpoint import load_named, weights_file
from ros_matching.networks.ncnet.matcher import ConsensusConfig, ConsensusMatcher
from ros_matching.networks.posfeat.extractor import LITE, PoSFeatExtractor
from ros_matching.networks.posfeat.nearest import NearestConfig, NearestMatcher
from ros_matching.training.ncmnet_losses import INLIER_RESIDUAL
from ros_matching.training.ncmnet_matches import PutativeMatches
from ros_matching.training.recipe import DataFolder
from ros_matching.training.rendered_views import WorldViews, WorldViewsConfig
from ros_matching.training.views import ViewTuple

_LOOSE = NearestConfig(ratio=0.95)  # pruning needs wrong matches
PUTATIVE_MATCHERS = ("posfeat_lite", "posfeat_lite+ncnet_lite", "sift")


class PutativeMatcher(NamedTuple):
    """``extract`` describes an image (H, W, 3) uint8 RGB, ``match`` finds putative matches of two so described."""

    extract: Callable[[np.ndarray], Features]
    match: Callable[[Features, Features], Matches]


class KnownPoseView(NamedTuple):
    """An ``image`` (H, W, 3) uint8 RGB of ``camera`` at ``world_from_camera`` (4, 4)."""

    image: np.ndarray
    camera: Camera
    world_from_camera: np.ndarray


def putative_matcher(name: str, max_keypoints: int, weights: Path | None = None) -> PutativeMatcher:
    """Load one of ``PUTATIVE_MATCHERS``; PoSFeat-lite with ``weights``, by default those of the package."""
    if name == "sift":
        return PutativeMatcher(_RootSift(max_keypoints), NearestMatcher(_LOOSE).match)
    if name not in PUTATIVE_MATCHERS:
        raise TrainingError(f"unknown matcher {name!r}; choose one of: {', '.join(PUTATIVE_MATCHERS)}")
    features, _, consensus = name.partition("+")
    network = load_named(weights or weights_file(features), features)
    extractor = PoSFeatExtractor(network, replace(LITE, max_keypoints=max_keypoints))
    if consensus:
        gate = ConsensusMatcher(
            load_named(weights_file(consensus), consensus),
            ConsensusConfig(map_sampling="aligned"),
            NearestMatcher(_LOOSE),
        )
        return PutativeMatcher(extractor.extract, gate.match)
    return PutativeMatcher(
        lambda image: replace(extractor.extract(image), dense_map=None), NearestMatcher(_LOOSE).match
    )


def putative_matches(
    views: Sequence[KnownPoseView], pairs: Iterable[tuple[int, int]], matcher: PutativeMatcher
) -> Iterator[PutativeMatches]:
    """The putative matches of ``pairs`` of the ``views``; features of every view are extracted once."""
    described = {row: matcher.extract(views[row].image) for row in sorted({row for pair in pairs for row in pair})}
    for first, second in pairs:
        matches = matcher.match(described[first], described[second])
        view0, view1 = views[first], views[second]
        rays = view0.camera.unproject(matches.points0)[:, :2], view1.camera.unproject(matches.points1)[:, :2]
        pose = np.linalg.inv(view1.world_from_camera) @ view0.world_from_camera
        yield PutativeMatches(np.concatenate(rays, axis=1), pose)


class _RootSift:
    """SIFT (Lowe 2004) with RootSIFT descriptors (Arandjelovic and Zisserman 2012)."""

    def __init__(self, max_keypoints: int) -> None:
        self._sift = cv2.SIFT_create(nfeatures=max_keypoints, contrastThreshold=0.02)

    def __call__(self, image: np.ndarray) -> Features:
        keypoints, descriptors = self._sift.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
        if not keypoints:
            return Features(np.zeros((0, 2)), np.zeros(0), torch.zeros(0, 128), "sift")
        root = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12))
        # OpenCV doubles the image as if pixel (0, 0) did not move.
        points = cv2.KeyPoint_convert(keypoints).astype(np.float64) - 0.25
        return Features(points, np.ones(len(points)), torch.from_numpy(root), "sift")


# Sequences whose poses are good enough, and how many frames the two views of a pair are apart.
TRAINING_GAPS = {"hololens_000": (1, 2, 4, 8, 12, 16), "fox": (1, 2, 3, 4, 5, 6)}
_SELECTION_STRIDE = 6  # every sixth of the training frames and worlds is for validation
_LONGEST_SIDE_PX = 640
_MIN_MATCHES = 60
_MIN_INLIERS = 25
_MIN_INLIER_FRACTION = 0.08
_WORLD_VIEWS = 6

Views = tuple[list[KnownPoseView], list[tuple[int, int]]]  # and the pairs of them to match


class MatchSet(NamedTuple):
    """Pairs to train on, and pairs of other frames and worlds for validation.

    Neither are of the frames that matchers are compared on.
    """

    training: list[PutativeMatches]
    validation: list[PutativeMatches]


def match_set(
    path: Path,
    data: DataFolder,
    matchers: Mapping[str, PutativeMatcher],
    worlds: int,
    seed: int,
    settings: dict[str, Any],
) -> MatchSet:
    """The pairs in the file ``path``, which is made if it is not there, by all ``matchers``.

    ``worlds`` is how many rendered worlds to take. Raises ``TrainingError`` for a file made with other ``settings``.
    """
    if not path.is_file():
        parts: tuple[list[PutativeMatches], list[PutativeMatches]] = ([], [])
        for is_validation, (views, pairs) in _all_views(data, worlds, seed):
            for name, matcher in matchers.items():
                found = putative_matches(views, tqdm(pairs, desc=name, disable=None, leave=False), matcher)
                parts[is_validation].extend(filter(is_useful, found))
        save_matches(path, MatchSet(*parts), settings)
    return load_matches(path, settings)


def _all_views(data: DataFolder, worlds: int, seed: int) -> Iterator[tuple[bool, Views]]:
    """Yield all views with their pairs, and True if they are for validation."""
    for name, gaps in TRAINING_GAPS.items():
        source = open_folder(data.sequence(name))
        allowed = training_frames(name, len(source))
        cut = len(allowed) - len(allowed) // _SELECTION_STRIDE
        for is_validation, frames in ((False, allowed[:cut]), (True, allowed[cut:])):
            views = _views(source.select(frames))
            yield is_validation, (views, [(row, row + gap) for gap in gaps for row in range(len(views) - gap)])
    rendered = WorldViews(data.photos, _worlds_config(worlds, seed)) if worlds else None
    for number in tqdm(range(worlds), desc="worlds", disable=None):
        views = known_pose_views(rendered.sample(number))
        yield number % _SELECTION_STRIDE == 0, (views, [(0, row) for row in range(1, len(views))])


def _worlds_config(worlds: int, seed: int) -> WorldViewsConfig:
    """One sample of each world, of views that all overlap with the first."""
    return WorldViewsConfig(
        views=_WORLD_VIEWS, groups=1, group_views=_WORLD_VIEWS, samples_per_world=1, interleave=1, seed=seed
    )


def _views(frames: Iterable[Frame]) -> list[KnownPoseView]:
    known = [frame for frame in frames if frame.true_world_from_camera is not None]
    return [KnownPoseView(*_resized(frame.image, frame.camera), frame.true_world_from_camera) for frame in known]


def _resized(image: np.ndarray, camera: Camera) -> tuple[np.ndarray, Camera]:
    scale = min(_LONGEST_SIDE_PX / max(camera.width, camera.height), 1.0)
    size = round(camera.width * scale), round(camera.height * scale)
    return (cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image), camera.scaled(*size)


def known_pose_views(views: ViewTuple) -> list[KnownPoseView]:
    """The images of a sample with their cameras and poses."""
    images = np.ascontiguousarray(views["images"].permute(0, 2, 3, 1).numpy())
    height, width = images.shape[1:3]
    intrinsics, poses = views["intrinsics"].double().numpy(), views["world_from_camera"].double().numpy()
    cameras = [Camera(width, height, k[0, 0], k[1, 1], k[0, 2], k[1, 2]) for k in intrinsics]
    return [KnownPoseView(*each) for each in zip(images, cameras, poses, strict=True)]


def is_useful(pair: PutativeMatches) -> bool:
    """Return True if there are enough matches, and enough right ones, to estimate the camera motion."""
    if len(pair.matches) < _MIN_MATCHES or not np.linalg.norm(pair.camera1_from_camera0[:3, 3]) > 1e-4:
        return False
    inlier = pair.residuals < INLIER_RESIDUAL
    return np.count_nonzero(inlier) >= _MIN_INLIERS and inlier.mean() >= _MIN_INLIER_FRACTION


def save_matches(path: Path, pairs: MatchSet, settings: dict[str, Any]) -> None:
    """Write the pairs and the ``settings`` by which they were found, atomically."""
    everything = [*pairs.training, *pairs.validation]
    with atomic_path(path) as unfinished, unfinished.open("wb") as file:
        np.savez(
            file,
            matches=np.concatenate([pair.matches for pair in everything]).astype(np.float32),
            counts=[len(pair.matches) for pair in everything],
            poses=[pair.camera1_from_camera0 for pair in everything],
            training=len(pairs.training),
            settings=json.dumps(settings, sort_keys=True),
        )


def load_matches(path: Path, settings: dict[str, Any]) -> MatchSet:
    """The pairs of a file; ``TrainingError`` if they were found by other ``settings``."""
    with np.load(path) as file:
        if (made := str(file["settings"])) != (expected := json.dumps(settings, sort_keys=True)):
            raise TrainingError(f"{path} was made with {made}, not {expected}; name another file, or remove it")
        matches = np.split(file["matches"].astype(np.float64), np.cumsum(file["counts"])[:-1])
        pairs = [PutativeMatches(*both) for both in zip(matches, file["poses"], strict=True)]
        count = int(file["training"])
    return MatchSet(pairs[:count], pairs[count:])
