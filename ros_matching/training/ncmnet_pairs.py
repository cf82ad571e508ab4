"""The pairs of real and rendered images whose matches NCMNet is trained on, found once and kept in a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from ros_matching.datatypes import Camera, Frame
from ros_matching.errors import TrainingError
from ros_matching.evaluation.split import VALIDATION_PAIRS, training_frames
from ros_matching.io.folder import open_folder
from ros_matching.networks.ncmnet.losses import INLIER_RESIDUAL
from ros_matching.scenes import SCENES, PathConfig, ProceduralTextures, Renderer, build_scene, camera_path
from ros_matching.training.data import DataFolder
from ros_matching.training.ncmnet_front_ends import Extract, PosedView, posed_matches
from ros_matching.training.ncmnet_matches import PosedMatches

# Sequences whose poses are good enough, and how many frames the two views of a pair are apart.
TRAINING_GAPS = {"hololens_000": (1, 2, 3, 4, 6, 8, 12), "fox": (1, 2, 3, 4, 5, 6)}
_LONGEST_SIDE_PX = 640
_MIN_MATCHES = 60
_MIN_INLIERS = 25
_MIN_INLIER_SHARE = 0.08
_WORLD_VIEWS = 8
_WORLD_GAPS = (1, 2, 3, 4)
_WORLD_SIZE = (320, 240)


class MatchSet(NamedTuple):
    """Pairs to train on and pairs to validate on."""

    training: list[PosedMatches]
    validation: list[PosedMatches]


def match_set(
    path: Path, data: DataFolder, extracts: dict[str, Extract], worlds: int, seed: int, settings: dict[str, Any]
) -> MatchSet:
    """The pairs in the file ``path``, which is made if it is not there, by all front ends in ``extracts``.

    ``worlds`` is how many rendered worlds to take. Raises ``TrainingError`` for a file made with other ``settings``.
    """
    if not path.is_file():
        parts: tuple[list[PosedMatches], list[PosedMatches]] = ([], [])
        for extract in extracts.values():
            parts[0].extend(filter(_is_useful, _training(data, extract, worlds, seed)))
            parts[1].extend(pair for pair in _validation(data, extract) if len(pair.matches) >= _MIN_MATCHES)
        save_matches(path, MatchSet(*parts), settings)
    return load_matches(path, settings)


def _training(data: DataFolder, extract: Extract, worlds: int, seed: int) -> Iterator[PosedMatches]:
    for name, gaps in TRAINING_GAPS.items():
        source = open_folder(data.sequence(name))
        frames = training_frames(name, len(source))
        views = _views(source.select(frames))
        pairs = [(row, row + gap) for gap in gaps for row in range(len(views) - gap)]
        yield from posed_matches(views, tqdm(pairs, desc=name, disable=None), extract)
    for number in tqdm(range(worlds), desc="worlds", disable=None):
        views = rendered_views(np.random.default_rng((seed, number)))
        pairs = [(row, row + gap) for gap in _WORLD_GAPS for row in range(len(views) - gap)]
        yield from posed_matches(views, pairs, extract)


def _validation(data: DataFolder, extract: Extract) -> Iterator[PosedMatches]:
    """The pairs on which matchers are compared, where their poses are good enough."""
    for chosen in VALIDATION_PAIRS:
        if not chosen.rotation_only:
            source = open_folder(data.sequence(chosen.sequence))
            rows = [(first, second) for _, first, second in chosen.pairs(len(source))]
            start = min(min(pair) for pair in rows)
            views = _views(source.select(range(start, len(source))))
            yield from posed_matches(views, [(first - start, second - start) for first, second in rows], extract)


def _views(frames: Iterable[Frame]) -> list[PosedView]:
    posed = [frame for frame in frames if frame.true_world_from_camera is not None]
    return [PosedView(*_resized(frame.image, frame.camera), frame.true_world_from_camera) for frame in posed]


def _resized(image: np.ndarray, camera: Camera) -> tuple[np.ndarray, Camera]:
    scale = min(_LONGEST_SIDE_PX / max(camera.width, camera.height), 1.0)
    size = round(camera.width * scale), round(camera.height * scale)
    return (cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image), camera.scaled(*size)


def rendered_views(rng: np.random.Generator, count: int = _WORLD_VIEWS) -> list[PosedView]:
    """``count`` views along a path through a random world, about half a second apart."""
    scene = build_scene(str(rng.choice(list(SCENES))), ProceduralTextures(), seed=int(rng.integers(2**31)))
    width, height = _WORLD_SIZE
    focal = width / 2 / np.tan(np.radians(rng.uniform(50, 80)) / 2)
    camera = Camera(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)
    fps = float(np.exp(rng.uniform(np.log(1), np.log(6))))
    config = PathConfig(path="handheld", frames=count, fps=fps, seed=int(rng.integers(2**31)))
    poses = camera_path(scene, config)
    images = Renderer(scene, camera).render(poses).rgb.numpy()
    return [PosedView(image, camera, pose) for image, pose in zip(images, poses, strict=True)]


def _is_useful(pair: PosedMatches) -> bool:
    """Whether there is a motion to be found in the matches."""
    if len(pair.matches) < _MIN_MATCHES or not np.linalg.norm(pair.camera1_from_camera0[:3, 3]) > 1e-4:
        return False
    inlier = pair.residuals < INLIER_RESIDUAL
    return np.count_nonzero(inlier) >= _MIN_INLIERS and inlier.mean() >= _MIN_INLIER_SHARE


def save_matches(path: Path, pairs: MatchSet, settings: dict[str, Any]) -> None:
    """Write the pairs and the ``settings`` by which they were found, whole or not at all."""
    everything = [*pairs.training, *pairs.validation]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}.{path.name}")
    np.savez(
        unfinished,
        matches=np.concatenate([pair.matches for pair in everything]).astype(np.float32),
        counts=[len(pair.matches) for pair in everything],
        poses=[pair.camera1_from_camera0 for pair in everything],
        training=len(pairs.training),
        settings=json.dumps(settings, sort_keys=True),
    )
    unfinished.replace(path)


def load_matches(path: Path, settings: dict[str, Any]) -> MatchSet:
    """The pairs of a file; ``TrainingError`` where they were found by other ``settings``."""
    with np.load(path) as file:
        if (made := str(file["settings"])) != (asked := json.dumps(settings, sort_keys=True)):
            raise TrainingError(f"{path} was made with {made}, not {asked}; name another file, or remove it")
        matches = np.split(file["matches"].astype(np.float64), np.cumsum(file["counts"])[:-1])
        pairs = [PosedMatches(*both) for both in zip(matches, file["poses"], strict=True)]
        count = int(file["training"])
    return MatchSet(pairs[:count], pairs[count:])
