"""How depth maps of several views agree, pixel by pixel, and what they say together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from ros_matching.datatypes import DepthMap
from ros_matching.geometry.se3 import invert
from ros_matching.networks.pbs_mvsnet.consistency import is_consistent, reproject


class Agreement(NamedTuple):
    """``count`` (h, w) int: how many sources agree with a depth; ``depth`` (h, w): the mean of it and of theirs."""

    count: np.ndarray
    depth: np.ndarray


def agreement(
    reference: DepthMap,
    world_from_reference: np.ndarray,
    sources: Sequence[tuple[DepthMap, np.ndarray]],
    max_error_px: float,
    max_depth_error: float,
) -> Agreement:
    """Compare a depth map with sources, (depth map, world_from_camera), by equations 1 and 2."""
    depth = torch.from_numpy(np.asarray(reference.depth, np.float64))
    intrinsics = torch.from_numpy(reference.camera.matrix)
    count, total = np.zeros(reference.depth.shape, np.int64), depth.numpy().copy()
    for source, world_from_source in sources:
        source_from_reference = torch.from_numpy(invert(world_from_source) @ world_from_reference)
        source_depth = torch.from_numpy(np.asarray(source.depth, np.float64))
        source_intrinsics = torch.from_numpy(source.camera.matrix)
        back = reproject(depth, intrinsics, source_depth, source_intrinsics, source_from_reference)
        consistent = is_consistent(depth, *back, max_error_px, max_depth_error).numpy()
        count += consistent
        total[consistent] += back[1].numpy()[consistent]
    return Agreement(count, total / (count + 1))
