"""Depth images: doubts about their unit, and their registration with the colour camera."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ros_matching.datatypes import Camera
from ros_matching.errors import SourceError
from ros_matching.io.images import read_raw_depth

_SAMPLES = 5  # images looked at
_USUAL = (1000.0, 5000.0)  # units a metre: millimetres, and those of TUM RGB-D
_TUM_STEP = 5  # TUM RGB-D wrote the Kinect's millimetres as 5 of its units each
_NEAREST_M, _FARTHEST_M = 0.1, 60.0  # plausible median depths of a depth camera
_TOO_NEAR_M, _NEAR_M = 1.2, 2.0  # median and 95 % of a scene that is small in TUM's units: 6 and 10 m as millimetres


def doubt_depth_units(paths: Sequence[Path], units_per_metre: float) -> str:
    """Return the reason to doubt that ``units_per_metre`` of depth images are a metre; empty if plausible."""
    rows = np.unique(np.linspace(0, len(paths) - 1, min(_SAMPLES, len(paths))).astype(int)) if paths else []
    samples = []
    for row in rows:
        with suppress(SourceError):  # a faulty image is a matter of its frame
            raw = read_raw_depth(paths[row])
            samples.append(np.unique(raw[raw > 0]))
    values = np.concatenate(samples) if samples else np.zeros(0, np.uint16)
    if not values.size:
        return ""
    suggested = _suggestion(values, units_per_metre)
    if suggested is None:
        return ""
    units, why = suggested
    middle = float(np.median(values))
    return (
        f"{why}: at {units_per_metre:g} units a metre the median depth is {middle / units_per_metre:.2g} m, "
        f"at {units:g} it is {middle / units:.2g} m; give depth_scale={units:g} if that is right, or "
        f"depth_scale={units_per_metre:g} to confirm"
    )


def _suggestion(values: np.ndarray, units_per_metre: float) -> tuple[float, str] | None:
    """Other units a metre that fit better, and the reason."""
    middle, far = np.percentile(values, [50, 95]) / units_per_metre
    steps = int(np.gcd.reduce(values.astype(np.int64)))
    is_tum = steps % _TUM_STEP == 0 and values.size > 50
    if units_per_metre == 1000 and is_tum and steps == _TUM_STEP:
        return 5000.0, "all depth values are multiples of 5, as in TUM RGB-D, where a metre is 5000"
    if units_per_metre == 5000 and not is_tum and middle < _TOO_NEAR_M and far < _NEAR_M:
        return 1000.0, "the depth values are those of millimetres rather than of TUM RGB-D's units"
    if not _NEAREST_M < middle < _FARTHEST_M:
        better = [units for units in _USUAL if 2 * _NEAREST_M < middle * units_per_metre / units < _FARTHEST_M / 4]
        if better:
            return better[0], "the depth values do not fit any scene in this unit"
    return None


def register_depth(depth: np.ndarray, depth_camera: Camera, camera: Camera) -> np.ndarray:
    """Depth (h, w) in metres of one pinhole camera as (H, W) of another at the same position, NaN unknown.

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
