"""Views of a real sequence with known poses, and sensor depth where it has that, for training.

Only the frames that ``evaluation.data_split`` allows are read, unless others are given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch

from ros_matching.config import Config, parameter
from ros_matching.datatypes import Camera, Frame
from ros_matching.errors import TrainingError
from ros_matching.evaluation.data_split import training_frames
from ros_matching.io.folder import open_folder
from ros_matching.training.views import ViewTuple, overlap, view_tuple

_OVERLAP_SIZE = (96, 64)  # at which the overlap of all pairs is measured, once
_SMOOTH = 1.05  # ratio of neighbouring depths up to which they are of one surface


@dataclass(frozen=True)
class RealViewsConfig(Config):
    """Selection of the views of a sample from a sequence. Baselines are in the unit of the poses."""

    views: int = parameter(2, "views of a sample", minimum=1, maximum=32)
    width: int = parameter(320, "image width in pixels", minimum=16)
    height: int = parameter(240, "image height in pixels", minimum=16)
    min_gap: int = parameter(1, "fewest frames between the first view and another", minimum=1)
    max_gap: int = parameter(30, "most frames between the first view and another", minimum=1)
    min_overlap: float = parameter(
        0.3, "smallest fraction of common surface, if depth is known", minimum=0.0, maximum=1.0
    )
    max_angle_deg: float = parameter(60.0, "greatest rotation between the first view and another", minimum=0.0)
    min_baseline: float = parameter(0.0, "least distance between the first view and another", minimum=0.0)
    max_baseline: float = parameter(1e9, "greatest distance between the first view and another", minimum=0.0)
    zoom: float = parameter(1.0, "largest factor of a random crop, which is enlarged", minimum=1.0)
    seed: int = parameter(0, "which of the possible samples", minimum=0)


class RealViews:
    """Samples of one sequence: a frame, and others that see the same."""

    def __init__(
        self,
        sequence: str | Path,
        config: RealViewsConfig = RealViewsConfig(),
        frames: Callable[[str, int], range] = training_frames,
    ) -> None:
        """``sequence`` is a folder in the layout of ``io.folder``; ``frames`` selects some of it, by name and length.

        To validate, give ``evaluation.data_split.validation_frames``. Raises ``TrainingError`` if nothing is left.
        """
        self.config = config
        path = Path(sequence).resolve()
        source = open_folder(path)
        self._frames = source.select(frames(path.name, len(source)))
        known = [(row, it) for row, it in enumerate(self._frames.records) if it.true_world_from_camera is not None]
        self._rows = [row for row, _ in known]
        self._poses = np.array([record.true_world_from_camera for _, record in known]).reshape(-1, 4, 4)
        self._has_depth = any(record.depth is not None for _, record in known)
        if not self._references.size:
            raise TrainingError(
                f"none of the frames of {path.name} to be taken has {config.views - 1} others within the limits of "
                f"{config}; widen them"
            )

    def __len__(self) -> int:
        """The number of frames that can be the first view."""
        return len(self._references)

    def sample(self, index: int) -> ViewTuple:
        """A first view and others of it at random; determined by the seed and the index."""
        rng = np.random.default_rng((self.config.seed, index))
        first = int(rng.choice(self._references))
        others = rng.choice(np.flatnonzero(self._companions[first]), self.config.views - 1, replace=False)
        chosen = [first, *others.tolist()]
        views = [self._view(row, rng) for row in chosen]
        images, depth, intrinsics = (np.stack(column) for column in zip(*views, strict=True))
        return view_tuple(images, depth, intrinsics, self._poses[chosen])

    def _view(self, row: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Image, depth and K of a frame, cut and resized."""
        frame = self._frames.frame(self._rows[row])
        zoom = float(np.exp(rng.uniform(0.0, np.log(self.config.zoom))))
        window = _window(frame.camera, (self.config.width, self.config.height), zoom, rng)
        return _cut(frame, window, (self.config.width, self.config.height))

    @cached_property
    def _references(self) -> np.ndarray:
        return np.flatnonzero(self._companions.sum(1) >= self.config.views - 1)

    @cached_property
    def _companions(self) -> np.ndarray:
        """Return (F, F) bool, True for frames that can be views of one sample."""
        config, poses = self.config, self._poses
        gap = np.abs(np.subtract.outer(self._rows, self._rows))
        baseline = np.linalg.norm(poses[:, None, :3, 3] - poses[None, :, :3, 3], axis=-1)
        cosine = (np.einsum("iab,jab->ij", poses[:, :3, :3], poses[:, :3, :3]) - 1) / 2
        fits = (gap >= config.min_gap) & (gap <= config.max_gap) & (cosine >= np.cos(np.radians(config.max_angle_deg)))
        fits &= (baseline >= config.min_baseline) & (baseline <= config.max_baseline)
        if self._has_depth and config.min_overlap > 0:
            fits &= self._overlaps(fits) >= config.min_overlap
        return fits

    def _overlaps(self, wanted: np.ndarray) -> np.ndarray:
        """Return the fraction of common surface (F, F), the smaller of both directions, of pairs ``wanted`` (F, F)."""
        views = [_cut(self._frames.frame(row), None, _OVERLAP_SIZE) for row in self._rows]
        depth, intrinsics = (
            torch.from_numpy(np.stack(column)).float() for column in list(zip(*views, strict=True))[1:]
        )
        fractions = np.zeros(wanted.shape)
        for row, others in enumerate(map(np.flatnonzero, wanted)):
            b_from_a = torch.from_numpy(np.linalg.inv(self._poses[others]) @ self._poses[row]).float()
            depth_a, k_a = depth[row].expand(len(others), -1, -1), intrinsics[row]
            fractions[row, others] = overlap(depth_a, depth[others], k_a, intrinsics[others], b_from_a, step=4).numpy()
        return np.minimum(fractions, fractions.T)


@dataclass(frozen=True)
class _Window:
    """A crop of an image, in whole pixels."""

    left: int
    top: int
    width: int
    height: int


def _window(camera: Camera, size: tuple[int, int], zoom: float, rng: np.random.Generator) -> _Window:
    """The largest window of the shape of ``size`` divided by ``zoom``; in the middle for 1, else anywhere."""
    scale = min(camera.width / size[0], camera.height / size[1]) / zoom
    width, height = max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)
    left, top = (camera.width - width) / 2, (camera.height - height) / 2
    if zoom > 1:
        left, top = rng.uniform(0, 2 * left), rng.uniform(0, 2 * top)
    return _Window(round(left), round(top), width, height)


def _cut(frame: Frame, window: _Window | None, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (H, W, 3), depth (H, W) and K (3, 3) of a window of a frame, or all of it, resized to (width, height)."""
    camera = frame.camera
    window = window or _Window(0, 0, camera.width, camera.height)
    rows, columns = slice(window.top, window.top + window.height), slice(window.left, window.left + window.width)
    shrinks = window.width > size[0]
    image = cv2.resize(frame.image[rows, columns], size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    moved = replace(
        camera, width=window.width, height=window.height, cx=camera.cx - window.left, cy=camera.cy - window.top
    )
    x = (np.arange(size[0]) + 0.5) * (window.width / size[0]) - 0.5 + window.left
    y = (np.arange(size[1]) + 0.5) * (window.height / size[1]) - 0.5 + window.top
    depth = np.full(size[::-1], np.nan, np.float32) if frame.depth is None else _depth_at(frame.depth, x, y)
    return image, depth, moved.scaled(*size).matrix


def _depth_at(depth: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depth (len(y), len(x)) of a map at image columns and rows: bilinear in inverse depth, NaN at rims and holes.

    The sensor may know every k-th row and column only: then those are the grid that is interpolated on.
    """
    known = np.isfinite(depth)
    if not known.any():
        return np.full((len(y), len(x)), np.nan, np.float32)
    step = int(np.gcd.reduce([*np.flatnonzero(known.any(1)), *np.flatnonzero(known.any(0))])) or 1
    grid = depth[::step, ::step]
    left, right, fx = _neighbours(x / step, grid.shape[1])
    top, bottom, fy = _neighbours(y / step, grid.shape[0])
    upper, lower = grid[top], grid[bottom]
    corners = np.stack([upper[:, left], upper[:, right], lower[:, left], lower[:, right]])
    weights = np.stack([np.multiply.outer(wy, wx) for wy in (1 - fy, fy) for wx in (1 - fx, fx)])
    with np.errstate(invalid="ignore"):
        smooth = corners.max(0) <= _SMOOTH * corners.min(0)  # false where one is unknown
    return np.where(smooth, 1.0 / (weights / corners).sum(0), np.nan).astype(np.float32)


def _neighbours(at: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two grid points (N,) nearest to positions (N,) and the fraction from the first to the second.

    A coarse grid ends before the image does: there the way is beyond 1.
    """
    before = np.clip(np.floor(at).astype(int), 0, max(count - 2, 0))
    return before, np.minimum(before + 1, count - 1), at - before
