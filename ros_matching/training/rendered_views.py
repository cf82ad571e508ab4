"""Views of random synthetic worlds with exact depth, poses and masks of moving objects.

Building a world and finding views that overlap costs as much as rendering some; so each world is rendered from
several views at once, and many samples are put together from these, each with new light, lens and noise. With a cache
folder rendered worlds are stored for all processes.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ros_matching.atomic_file import atomic_path
from ros_matching.config import Config, parameter
from ros_matching.datatypes import Camera
from ros_matching.errors import SceneError, TrainingError
from ros_matching.evaluation.data_split import training_photos
from ros_matching.scenes import Renderer, SceneBuilder
from ros_matching.scenes.random_textures import WorldTextures
from ros_matching.scenes.random_worlds import Layout, random_world, with_movers
from ros_matching.scenes.world_layouts import (
    corridor_world,
    room_world,
    street_world,
    table_world,
    terrain_world,
    wall_world,
)
from ros_matching.training.photometric import PhotometricConfig, distort
from ros_matching.training.viewpoint_sampling import ViewpointConfig, ViewpointSampler
from ros_matching.training.views import ViewTuple, overlap, relative_pose, view_tuple

LAYOUTS: tuple[Layout, ...] = (table_world, room_world, corridor_world, wall_world, street_world, terrain_world)
_PROBABILITIES = (0.2, 0.3, 0.12, 0.08, 0.18, 0.12)
_FORMAT = 1  # of the cache; raise it when worlds change
_RENDERED_AT_ONCE = 4  # views: limited by the processor's caches


@dataclass(frozen=True)
class WorldViewsConfig(Config):
    """Settings of the samples of random worlds."""

    views: int = parameter(2, "views of a sample", minimum=1, maximum=16)
    width: int = parameter(320, "image width in pixels", minimum=32)
    height: int = parameter(240, "image height in pixels", minimum=32)
    groups: int = parameter(2, "groups of views in a world", minimum=1)
    group_views: int = parameter(6, "views of each group; at least the views of a sample", minimum=1, maximum=32)
    samples_per_world: int = parameter(12, "samples put together from the views of a world", minimum=1)
    interleave: int = parameter(4, "worlds that successive samples alternate between", minimum=1)
    worlds: int = parameter(0, "number of different worlds, then the first comes again; 0: endless", minimum=0)
    distort: bool = parameter(True, "simulate effects of light, lens and sensor")
    glossy: float = parameter(0.15, "fraction of surfaces with highlights", minimum=0.0, maximum=1.0)
    antialias: bool = parameter(True, "smooth edges")
    seed: int = parameter(0, "which of the possible worlds and samples", minimum=0)


class WorldViews:
    """Samples of views of random worlds, each determined by the seed and its index."""

    def __init__(
        self,
        photos: Path | None = None,
        config: WorldViewsConfig = WorldViewsConfig(),
        *,
        viewpoints: ViewpointConfig | None = None,
        photometric: PhotometricConfig | None = None,
        cache: Path | None = None,
    ) -> None:
        """``photos`` is a folder of photos for textures, of which only the training photos are used.

        ``cache`` is a folder to keep rendered worlds in; it needs ``config.worlds``, which bounds it.
        """
        if config.group_views < config.views:
            raise TrainingError(
                f"WorldViews needs group_views of at least views, got {config.group_views} and {config.views}"
            )
        if cache is not None and not config.worlds:
            raise TrainingError("WorldViews keeps worlds only where their number is given: set worlds")
        self.config = config
        self._viewpoints, self._photometric = viewpoints or ViewpointConfig(), photometric or PhotometricConfig()
        self._photos = training_photos(photos) if photos is not None else []
        self._cache = None if cache is None else cache / self._fingerprint()
        self._worlds: OrderedDict[int, _Rendered] = OrderedDict()

    def sample(self, index: int) -> ViewTuple:
        """A tuple of views, the first of which overlaps with all others."""
        config = self.config
        rng = np.random.default_rng((config.seed, 1, index))
        world = self._world(self._number(index))
        chosen = world.choose(config.views, self._viewpoints.min_overlap, rng)
        images = world.images[chosen]
        if config.distort:
            images = np.stack([distort(image, rng, self._photometric) for image in images])
        return view_tuple(
            images, world.depth[chosen], world.intrinsics[chosen], world.world_from_camera[chosen], world.moving[chosen]
        )

    def _number(self, index: int) -> int:
        """Return the world of a sample: ``interleave`` worlds alternate until all their samples are used."""
        config = self.config
        block, offset = divmod(index, config.interleave * config.samples_per_world)
        number = block * config.interleave + offset % config.interleave
        return number % config.worlds if config.worlds else number

    def _world(self, number: int) -> _Rendered:
        if number in self._worlds:
            self._worlds.move_to_end(number)
            return self._worlds[number]
        path = None if self._cache is None else self._cache / f"{number:06}.npz"
        if path is not None and path.is_file():
            world = _Rendered.load(path)
        else:
            world = self._render(number)
            if path is not None:
                world.save(path)
        self._worlds[number] = world
        while len(self._worlds) > self.config.interleave:
            self._worlds.popitem(last=False)
        return world

    def _render(self, number: int) -> _Rendered:
        """The first world of this number that has room for the cameras."""
        for attempt in range(10):
            rng = np.random.default_rng((self.config.seed, 0, number, attempt))
            try:
                return self._render_with(rng)
            except (SceneError, TrainingError) as error:
                failure = error
        raise TrainingError(f"ten worlds in a row have no room for the views; the last: {failure}")

    def _render_with(self, rng: np.random.Generator) -> _Rendered:
        config = self.config
        size = config.width, config.height
        builder = SceneBuilder(WorldTextures(self._photos), rng, glossy=config.glossy)
        world = random_world(LAYOUTS, builder, _PROBABILITIES)
        finder = ViewpointSampler(world, size, self._viewpoints, rng)
        groups = [finder.group(config.group_views) for _ in range(config.groups)]
        poses = np.concatenate([group.world_from_camera for group in groups])
        intrinsics = np.concatenate([group.intrinsics for group in groups])
        scene, present, moves = with_movers(world, poses[:, :3, 3], rng)
        renderer = Renderer(scene, Camera(*size, 1.0, 1.0, 0.0, 0.0), antialias=config.antialias)
        parts = []
        for first in range(0, len(poses), _RENDERED_AT_ONCE):
            rows = slice(first, first + _RENDERED_AT_ONCE)
            views = renderer.render(poses[rows], intrinsics=intrinsics[rows], present=present[rows])
            visible = views.primitives.numpy()
            parts.append((views.rgb.numpy(), views.depth.numpy(), moves[visible] & (visible >= 0)))
        images, depth, moving = (np.concatenate(column) for column in zip(*parts, strict=True))
        overlaps = _overlaps(depth, intrinsics, poses, config.group_views)
        rendered = _Rendered(images, depth, moving, intrinsics, poses, overlaps)
        if not len(rendered.first_views(config.views, self._viewpoints.min_overlap)):
            raise TrainingError(f"the moving objects of a {world.name} hide too much of it in all views")
        return rendered

    def _fingerprint(self) -> str:
        """Return a hash of all settings that determine the worlds."""
        skipped = {"samples_per_world", "interleave", "worlds", "distort"}
        parts = {key: value for key, value in asdict(self.config).items() if key not in skipped}
        photos = [path.name for path in self._photos]
        text = json.dumps([_FORMAT, parts, asdict(self._viewpoints), photos], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Rendered:
    """The views of one world: images (N, H, W, 3), depth, moving (N, H, W), K, poses, and the overlap of all views."""

    images: np.ndarray
    depth: np.ndarray
    moving: np.ndarray
    intrinsics: np.ndarray
    world_from_camera: np.ndarray
    overlaps: np.ndarray

    def choose(self, views: int, least: float, rng: np.random.Generator) -> list[int]:
        """A view and ``views - 1`` others that overlap with it by ``least`` at least."""
        first = int(rng.choice(self.first_views(views, least)))
        others = rng.choice(np.flatnonzero(self._fits(least)[first]), views - 1, replace=False)
        return [first, *others.tolist()]

    def first_views(self, views: int, least: float) -> np.ndarray:
        """The numbers of those that overlap with ``views - 1`` others by ``least`` at least."""
        return np.flatnonzero(self._fits(least).sum(1) >= views - 1)

    def _fits(self, least: float) -> np.ndarray:
        return (self.overlaps >= least) & ~np.eye(len(self.overlaps), dtype=bool)

    def save(self, path: Path) -> None:
        """Write to a file, all or nothing, whoever else writes the same."""
        with atomic_path(path) as unfinished:
            np.savez(unfinished, **(vars(self) | {"moving": np.packbits(self.moving, axis=-1)}))

    @classmethod
    def load(cls, path: Path) -> _Rendered:
        """Read a file of ``save``."""
        with np.load(path) as file:
            arrays = dict(file)
        width = arrays["images"].shape[2]
        arrays["moving"] = np.unpackbits(arrays["moving"], axis=-1, count=width).astype(bool)
        return cls(**arrays)


def _overlaps(depth: np.ndarray, intrinsics: np.ndarray, poses: np.ndarray, group: int) -> np.ndarray:
    """Return the fraction of common surface (N, N), the smaller of both directions, in groups; 0 between groups."""
    fractions = np.zeros((len(depth), len(depth)))
    for first in range(0, len(depth), group):
        rows = slice(first, first + group)
        local = torch.from_numpy(np.linalg.inv(poses[first]) @ poses[rows]).float()
        small, k = _smaller(depth[rows], intrinsics[rows])
        count = len(small)
        a, b = (grid.flatten() for grid in torch.meshgrid(*[torch.arange(count)] * 2, indexing="ij"))
        fractions[rows, rows] = overlap(small[a], small[b], k[a], k[b], relative_pose(local[a], local[b]), step=2).view(
            count, count
        )
    return np.minimum(fractions, fractions.T)


def _smaller(depth: np.ndarray, intrinsics: np.ndarray, step: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Every ``step``-th pixel of depth maps (V, H, W), with K (V, 3, 3) to fit."""
    k = intrinsics.copy()
    k[:, :2] /= step
    return torch.from_numpy(depth[:, ::step, ::step].copy()), torch.from_numpy(k).float()
