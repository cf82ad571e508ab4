"""Depth images of a camera beside the colour camera, brought into the colour image."""

from __future__ import annotations

import numpy as np

from ros_matching.datatypes import Camera


def register_depth(depth: np.ndarray, depth_camera: Camera, camera: Camera) -> np.ndarray:
    """Depth (h, w) in metres of one pinhole camera as (H, W) of another at the same place, NaN unknown.

    Where several pixels fall on one, the nearest counts. Pixels between are left unknown.
    """
    rows, columns = np.nonzero(np.isfinite(depth))
    metres = depth[rows, columns]
    rays = depth_camera.unproject(np.column_stack([columns, rows]).astype(np.float64))
    pixels = np.round(camera.project(rays)).astype(np.intp)
    inside = ((pixels >= 0) & (pixels < (camera.width, camera.height))).all(axis=1)
    order = np.argsort(-metres[inside], kind="stable")
    registered = np.full((camera.height, camera.width), np.nan, dtype=np.float32)
    u, v = pixels[inside][order].T
    registered[v, u] = metres[inside][order]
    return registered
