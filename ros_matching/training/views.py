"""Several views of one place with what is known of them: the sample that all multi-view recipes train on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypedDict

import numpy as np
import torch

from ros_matching.errors import TrainingError


class ViewTuple(TypedDict):
    """V views of one size.

    ``images`` (V, 3, H, W) uint8; ``depth`` (V, H, W) float32 along z, NaN unknown; ``moving`` (V, H, W) bool, what
    moves by itself; ``intrinsics`` (V, 3, 3) float32; ``world_from_camera`` (V, 4, 4) float32, where the world is the
    first camera: its pose is the identity.
    """

    images: torch.Tensor
    depth: torch.Tensor
    moving: torch.Tensor
    intrinsics: torch.Tensor
    world_from_camera: torch.Tensor


class ViewSource(Protocol):
    """An endless supply of samples, each determined by its index alone."""

    def sample(self, index: int) -> ViewTuple:
        """The sample of an index."""


class MixedViews:
    """Samples of several sources, each as often as its weight says."""

    def __init__(self, sources: Sequence[ViewSource], weights: Sequence[float], seed: int = 0) -> None:
        if len(sources) != len(weights) or not sources or min(weights) < 0 or not sum(weights) > 0:
            raise TrainingError(
                f"MixedViews needs a weight of 0 or more for each source, got {len(sources)} sources and {weights}"
            )
        self._sources, self._seed = sources, seed
        self._shares = np.asarray(weights, np.float64) / np.sum(weights)

    def sample(self, index: int) -> ViewTuple:
        """The sample of an index, from a source drawn by it."""
        rng = np.random.default_rng((self._seed, index))
        return self._sources[rng.choice(len(self._sources), p=self._shares)].sample(index)


def view_tuple(
    images: np.ndarray,
    depth: np.ndarray,
    intrinsics: np.ndarray,
    world_from_camera: np.ndarray,
    moving: np.ndarray | None = None,
) -> ViewTuple:
    """The sample of images (V, H, W, 3) uint8, depth (V, H, W), K (V, 3, 3) and poses (V, 4, 4) in any world.

    The world is moved to the first camera in float64, so that float32 does not cost digits far from its origin.
    """
    poses = np.linalg.inv(world_from_camera[0]) @ world_from_camera
    return ViewTuple(
        images=torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        depth=torch.from_numpy(np.ascontiguousarray(depth, np.float32)),
        moving=torch.from_numpy(np.zeros(depth.shape, bool) if moving is None else np.ascontiguousarray(moving)),
        intrinsics=torch.from_numpy(np.asarray(intrinsics, np.float32)),
        world_from_camera=torch.from_numpy(poses.astype(np.float32)),
    )
