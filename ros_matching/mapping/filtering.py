"""Which depths are kept: confident ones that other views agree with; and what they say together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ros_matching.datatypes import DepthMap, Keyframe, PointCloud
from ros_matching.mapping.config import MappingConfig
from ros_matching.mapping.result import MappingCounts
from ros_matching.networks.pbs_mvsnet.agreement import agreement


def filtered(
    depth_map: DepthMap,
    world_from_camera: np.ndarray,
    others: Sequence[tuple[DepthMap, np.ndarray]],
    config: MappingConfig,
) -> tuple[DepthMap, MappingCounts]:
    """The depths that are confident and consistent with enough of the others, (depth map, world_from_camera).

    What stays is the mean of a depth and those of the views that agree with it, seen from here.
    """
    agreed = agreement(depth_map, world_from_camera, others, config.max_error_px, config.max_depth_error)
    confident = depth_map.confidence >= config.min_confidence
    consistent = agreed.count >= config.min_consistent
    kept = confident & consistent & np.isfinite(depth_map.depth)
    depth = np.where(kept, agreed.depth, np.nan).astype(np.float32)
    counts = MappingCounts(
        depths=int(np.isfinite(depth_map.depth).sum()),
        confident=int((confident & np.isfinite(depth_map.depth)).sum()),
        consistent=int(kept.sum()),
    )
    return DepthMap(depth, np.where(kept, depth_map.confidence, 0), depth_map.camera), counts


def points_seen(depth_map: DepthMap, keyframe: Keyframe) -> PointCloud:
    """The known depths as points in the camera's coordinates, with the colours of the keyframe's image."""
    rows, columns = np.nonzero(np.isfinite(depth_map.depth))
    rays = depth_map.camera.unproject(np.column_stack([columns, rows]))
    u, v = np.rint(keyframe.frame.camera.project(rays)).astype(np.int64).T
    colors = keyframe.frame.image[v, u]
    return PointCloud(rays * depth_map.depth[rows, columns, None], colors, depth_map.confidence[rows, columns])
