"""Viewpoint sampling in a world: groups of overlapping views, from video-like to wide baselines."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ros_matching.config import Config, parameter
from ros_matching.datatypes import Camera
from ros_matching.errors import TrainingError
from ros_matching.scenes import Renderer, Surface
from ros_matching.scenes.random_worlds import World
from ros_matching.training.views import overlap

_COARSE_WIDTH = 64  # of the depth maps that views are selected by
_ANCHORS = 5
_ROUNDS = 4
_TRIES = 8
_FAR = 1e6
_MARGIN = 1.2  # for the selection at low resolution and without moving objects
_BARE = Surface(np.zeros((2, 2, 3), np.uint8))  # only depth is looked at


@dataclass(frozen=True)
class ViewpointConfig(Config):
    """Settings of the views of a group relative to its first; distances are relative to its median depth."""

    min_baseline: float = parameter(0.02, "least distance to the first view, of its depth", minimum=0.0)
    max_baseline: float = parameter(0.9, "greatest distance to the first view, of its depth", minimum=0.0)
    gaze: float = parameter(0.15, "standard deviation of the shift of the point looked at, of its depth", minimum=0.0)
    roll_deg: float = parameter(6.0, "standard deviation of the usual roll", minimum=0.0, maximum=180.0)
    large_roll: float = parameter(0.2, "fraction of views with any roll up to large_roll_deg", minimum=0.0, maximum=1.0)
    large_roll_deg: float = parameter(50.0, "greatest roll", minimum=0.0, maximum=180.0)
    zoom: float = parameter(
        0.1, "standard deviation of the log of the focal length between views", minimum=0.0, maximum=1.0
    )
    min_fov_deg: float = parameter(45.0, "least horizontal field of view of a group", minimum=5.0, maximum=150.0)
    max_fov_deg: float = parameter(85.0, "greatest horizontal field of view of a group", minimum=5.0, maximum=150.0)
    min_overlap: float = parameter(
        0.25, "smallest fraction of surface common with the first view", minimum=0.0, maximum=1.0
    )


@dataclass(frozen=True)
class ViewGroup:
    """Poses (V, 4, 4) and intrinsics (V, 3, 3) of views that overlap with the first."""

    world_from_camera: np.ndarray
    intrinsics: np.ndarray


class ViewpointSampler:
    """Finds groups of views in one world."""

    def __init__(self, world: World, size: tuple[int, int], config: ViewpointConfig, rng: np.random.Generator) -> None:
        """``size`` is the width and height of the images that the intrinsics are for."""
        self._world, self._size, self._config, self._rng = world, size, config, rng
        self._space = world.scene.free_space
        small = _COARSE_WIDTH, max(round(_COARSE_WIDTH * size[1] / size[0]), 2)
        self._small = Camera(*small, small[0], small[0], (small[0] - 1) / 2, (small[1] - 1) / 2)
        bare = tuple(replace(primitive, surface=_BARE) for primitive in world.scene.primitives)
        self._renderer = Renderer(replace(world.scene, primitives=bare), self._small, antialias=False)

    def group(self, views: int) -> ViewGroup:
        """Return a group of views; raises ``TrainingError`` if the world has no room for it."""
        for _ in range(_TRIES):
            found = self._try(views)
            if found is not None:
                return found
        raise TrainingError(f"found no {views} overlapping views in a {self._world.name}; lower min_overlap")

    def _try(self, views: int) -> ViewGroup | None:
        fov_deg = self._rng.uniform(self._config.min_fov_deg, self._config.max_fov_deg)
        focal = self._size[0] / 2 / np.tan(np.radians(fov_deg) / 2)
        first = self._first_view(focal)
        if first is None:
            return None
        pose, depth = first
        distance = float(np.nanmedian(depth))
        poses, focals, reach = [pose], [focal], self._config.max_baseline
        for _ in range(_ROUNDS):
            wanted = views - len(poses)
            if not wanted:
                break
            candidates = self._candidates(pose, distance, reach, 2 * wanted + 2)
            their_focals = focal * np.exp(self._rng.normal(0, self._config.zoom, len(candidates)))
            good = self._good(pose, focal, depth, candidates, their_focals)[:wanted] if len(candidates) else []
            poses.extend(candidates[good])
            focals.extend(their_focals[good])
            reach = max(reach / 2, self._config.min_baseline)
        if len(poses) < views:
            return None
        return ViewGroup(np.array(poses), np.stack([self._matrix(focal, self._size) for focal in focals]))

    def _first_view(self, focal: float) -> tuple[np.ndarray, np.ndarray] | None:
        """Return a random first view with surfaces not too close, and its coarse depth."""
        eyes = self._free_places(_ANCHORS)
        if not len(eyes):
            return None
        targets = self._rng.uniform(self._world.lower, self._world.upper, (len(eyes), 3))
        targets[:, 2] += self._world.scene.ground_height(targets[:, :2])
        poses = _looking_at(eyes, targets, self._rolls(len(eyes)))
        depth = self._depth(poses, np.full(len(eyes), focal)).numpy()
        known = np.isfinite(depth).mean((1, 2)) > 0.6
        near = np.quantile(np.nan_to_num(depth, nan=_FAR), 0.2, axis=(1, 2))
        good = np.flatnonzero(known & (near > 1.5 * self._space.clearance_m))
        return (poses[good[0]], depth[good[0]]) if len(good) else None

    def _candidates(self, first: np.ndarray, distance: float, reach: float, count: int) -> np.ndarray:
        """About ``count`` views (N, 4, 4) from free positions around the first view, with about the same target."""
        low = min(self._config.min_baseline, reach)
        away = distance * np.exp(self._rng.uniform(np.log(max(low, 1e-3)), np.log(max(reach, 1e-3)), 3 * count))
        direction = self._rng.normal(0, 1, (3 * count, 3)) * [1, 1, 0.6]
        eyes = first[:3, 3] + away[:, None] * direction / np.linalg.norm(direction, axis=1, keepdims=True)
        eyes = eyes[self._free(eyes)][:count]
        shifts = self._rng.normal(0, self._config.gaze * distance, (len(eyes), 3))
        targets = first[:3, 3] + distance * first[:3, 2] + shifts
        level = _looking_at(first[None, :3, 3], (first[:3, 3] + first[:3, 2])[None], np.zeros(1))[0]
        roll = np.arctan2(level[:3, 0] @ first[:3, 1], level[:3, 0] @ first[:3, 0])
        return _looking_at(eyes, targets, -roll + self._rolls(len(eyes)))

    def _good(
        self, first: np.ndarray, focal: float, depth: np.ndarray, poses: np.ndarray, focals: np.ndarray
    ) -> np.ndarray:
        """Return True for the views (N,) with enough common surface with the first view, in both directions."""
        theirs, mine = self._depth(poses, focals), torch.from_numpy(depth).expand(len(poses), -1, -1)
        k = torch.from_numpy(np.stack([self._matrix(each, self._small_size) for each in (focal, *focals)])).float()
        b_from_a = torch.from_numpy(np.linalg.inv(poses) @ first).float()
        a_from_b = torch.from_numpy(np.linalg.inv(first) @ poses).float()
        there = overlap(mine, theirs, k[:1], k[1:], b_from_a, step=2)
        back = overlap(theirs, mine, k[1:], k[:1], a_from_b, step=2)
        least = self._config.min_overlap
        return np.flatnonzero(torch.minimum(there, back).numpy() >= min(_MARGIN * least, (1 + least) / 2))

    def _depth(self, poses: np.ndarray, focals: np.ndarray) -> torch.Tensor:
        intrinsics = np.stack([self._matrix(focal, self._small_size) for focal in focals])
        return self._renderer.render(poses, intrinsics=intrinsics).depth

    @property
    def _small_size(self) -> tuple[int, int]:
        return self._small.width, self._small.height

    def _matrix(self, focal: float, size: tuple[int, int]) -> np.ndarray:
        """K (3, 3) of an image of ``size``, for a focal length in pixels of the full size."""
        focal = focal * size[0] / self._size[0]
        return np.array([[focal, 0, (size[0] - 1) / 2], [0, focal, (size[1] - 1) / 2], [0, 0, 1]])

    def _rolls(self, count: int) -> np.ndarray:
        """Rolls (N,) in radians: mostly small, some large."""
        config = self._config
        large = self._rng.random(count) < config.large_roll
        rolls = self._rng.normal(0, config.roll_deg, count)
        return np.radians(np.where(large, self._rng.uniform(-1, 1, count) * config.large_roll_deg, rolls))

    def _free_places(self, count: int) -> np.ndarray:
        """Return up to ``count`` free positions (N, 3) of a camera."""
        positions = self._rng.uniform(self._space.lower, self._space.upper, (4 * count, 3))
        positions[:, 2] += self._world.scene.ground_height(positions[:, :2])
        return positions[self._free(positions)][:count]

    def _free(self, positions: np.ndarray) -> np.ndarray:
        above = positions.copy()
        above[:, 2] -= self._world.scene.ground_height(positions[:, :2])
        within = ((above >= self._space.lower) & (above <= self._space.upper)).all(1)
        free = np.zeros(len(positions), bool)
        free[within] = self._world.scene.distance(positions[within]) >= self._space.clearance_m
        return free


def _looking_at(eyes: np.ndarray, targets: np.ndarray, rolls: np.ndarray) -> np.ndarray:
    """Poses (N, 4, 4) of cameras at ``eyes`` (N, 3) that look at ``targets`` (N, 3), rolled by (N,) radians."""
    forward = targets - eyes
    forward /= np.maximum(np.linalg.norm(forward, axis=1, keepdims=True), 1e-9)
    steep = np.abs(forward[:, 2]) > 0.999
    down = np.where(steep[:, None], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0])
    right = np.cross(down, forward)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    down = np.cross(forward, right)
    cosine, sine = np.cos(rolls)[:, None], np.sin(rolls)[:, None]
    poses = np.tile(np.eye(4), (len(eyes), 1, 1))
    poses[:, :3, :3] = np.stack([cosine * right + sine * down, cosine * down - sine * right, forward], -1)
    poses[:, :3, 3] = eyes
    return poses
