"""The multi-metric depth pyramid: confident, consistent depths of a coarse level replace unreliable finer ones.

The same network runs on every level independently. A coarse level covers large untextured regions, a fine one has the
detail. An unconfident fine depth is replaced by a reliable coarse one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ros_matching.datatypes import Camera, DepthMap
from ros_matching.errors import GeometryError
from ros_matching.mapping.config import ConsistencyConfig
from ros_matching.mapping.depth_consistency import agreement
from ros_matching.networks.pbs_mvsnet.estimator import DepthPyramid

_RELIABLE_CONFIDENCE = 0.9  # a coarse depth must exceed it to replace a fine one
_REPLACED_CONFIDENCE = 0.5  # a fine depth below it is replaced


def merge_levels(reference: DepthPyramid, sources: Sequence[DepthPyramid], config: ConsistencyConfig) -> DepthPyramid:
    """The reference's pyramid with unconfident depths replaced, level by level, from coarse to fine.

    ``sources`` are pyramids of other views with as many levels, the best first; merged ones serve as well.
    """
    different = {len(source.levels) for source in sources} - {len(reference.levels)}
    if different:
        raise GeometryError(
            f"a pyramid of {len(reference.levels)} levels cannot be compared with one of {different.pop()}; "
            "estimate all views at the same number of levels"
        )
    levels = [reference.levels[0]]
    for number, fine in enumerate(reference.levels[1:]):
        others = [(source.levels[number], source.world_from_camera) for source in sources]
        coarse = levels[-1]
        others = others[: config.max_compared]
        found = agreement(coarse, reference.world_from_camera, others, config.max_error_px, config.max_depth_error)
        reliable = (coarse.confidence > _RELIABLE_CONFIDENCE) & (found.count >= config.min_consistent)
        levels.append(_replace(fine, coarse, reliable, _REPLACED_CONFIDENCE))
    return DepthPyramid(tuple(levels), reference.world_from_camera)


def _replace(fine: DepthMap, coarse: DepthMap, reliable: np.ndarray, threshold: float) -> DepthMap:
    """The fine map with reliable coarse values where its own confidence is below the threshold.

    The nearest coarse value, not an interpolated one, which would invent surfaces across depth edges.
    """
    rows = _nearest(fine.camera.height, coarse.camera.height, *_scale(fine.camera, coarse.camera, "y"))
    columns = _nearest(fine.camera.width, coarse.camera.width, *_scale(fine.camera, coarse.camera, "x"))
    nearest = np.ix_(rows, columns)
    gives_way = reliable[nearest] & ((fine.confidence < threshold) | np.isnan(fine.depth))
    depth = np.where(gives_way, coarse.depth[nearest], fine.depth)
    return DepthMap(depth, np.where(gives_way, coarse.confidence[nearest], fine.confidence), fine.camera)


def _scale(fine: Camera, coarse: Camera, axis: str) -> tuple[float, float]:
    """``(a, b)``: the ray of pixel j of the fine map goes through pixel ``a j + b`` of the coarse one."""
    ratio = getattr(coarse, f"f{axis}") / getattr(fine, f"f{axis}")
    return ratio, getattr(coarse, f"c{axis}") - ratio * getattr(fine, f"c{axis}")


def _nearest(count: int, coarse_count: int, ratio: float, offset: float) -> np.ndarray:
    return np.clip(np.rint(ratio * np.arange(count) + offset).astype(np.int64), 0, coarse_count - 1)
