"""Where to look for depth: from the sparse points that the tracker triangulated, with no range set by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ros_matching.datatypes import Keyframe
from ros_matching.geometry.se3 import invert, transform
from ros_matching.mapping.config import MappingConfig
from ros_matching.mapping.view_selection import sparse_points

_MIN_RATIO = 1.01  # between far and near: nearer together, all planes are one


def depth_range(
    reference: Keyframe, sources: Sequence[Keyframe], config: MappingConfig
) -> tuple[tuple[float, float] | None, str]:
    """The nearest and farthest depth to search in the reference, or ``None`` and why.

    The range spans all but the outermost quantiles of the sparse depths, with a margin. The sources' points count, too,
    where the reference sees them: theirs may be of parts where it has none itself.
    """
    depths = np.concatenate([_depths_in(reference, view) for view in (reference, *sources)])
    if len(depths) < config.min_sparse_points:
        return None, (
            f"a depth range needs {config.min_sparse_points} sparse points in sight, got {len(depths)}; is the tracker "
            "triangulating?"
        )
    near, far = np.quantile(depths, [config.range_quantile, 1 - config.range_quantile])
    near, far = float(near / (1 + config.range_margin)), float(far * (1 + config.range_margin))
    if not far > _MIN_RATIO * near:
        return None, f"all sparse points are at one depth, {near:.4g} to {far:.4g}: there is no range to search"
    return (near, far), ""


def _depths_in(reference: Keyframe, view: Keyframe) -> np.ndarray:
    """The depths (S,) in the reference of the view's sparse points that are inside its image."""
    points = transform(invert(reference.world_from_camera), sparse_points(view))
    camera = reference.frame.camera
    pixels = camera.project(points)
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= -0.5) & (pixels <= (camera.width - 0.5, camera.height - 0.5))).all(axis=1)
    return points[inside, 2]
