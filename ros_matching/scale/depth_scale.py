"""Map scale from depth images that are registered to the camera."""

from __future__ import annotations

import numpy as np

from ros_matching.atlas.local_map import LocalMap
from ros_matching.scale.config import ScaleConfig
from ros_matching.scale.scale_measurement import LocalizedView, NoMeasurement, ScaleMeasurement, robust_log_factor

_REACH_PX = 2  # search radius around a keypoint: sensors leave holes, and some have a lower resolution
_MAX_STEP = 0.05  # largest relative difference of the depths around a keypoint; more is an edge of the depth image
_POINT_STD = 0.02  # relative, of a single value: noise of the sensor and of the landmark


class DepthScaleSource:
    """Compares the depths of the landmarks in an image with ``Frame.depth``."""

    name = "depth"

    def __init__(self, config: ScaleConfig) -> None:
        self._config = config
        self.shared_std = config.depth_sigma

    def reset(self) -> None:
        """Do nothing: the source keeps no state."""

    def measure(self, local_map: LocalMap, view: LocalizedView) -> ScaleMeasurement | NoMeasurement:
        """Measure the scale from one ratio per landmark with a known depth."""
        if view.frame.depth is None:
            return NoMeasurement("no depth image was received with the image", pending=True)
        rows, points = view.landmarks(local_map)
        metres = depth_at(view.frame.depth, view.features.keypoints_px[rows])
        with np.errstate(invalid="ignore"):
            known = (metres > self._config.depth_min_m) & (metres < self._config.depth_max_m)
        count = np.count_nonzero(known)
        if count < self._config.min_landmarks:
            return NoMeasurement(
                f"the depth image has a depth for {count} of {len(rows)} landmarks, between "
                f"{self._config.depth_min_m:g} and {self._config.depth_max_m:g} m; "
                f"{self._config.min_landmarks} are needed"
            )
        stds = np.full(count, _POINT_STD)
        return robust_log_factor(points[known, 2], metres[known], stds, self.shared_std, "the depth image")


def depth_at(depth: np.ndarray, points_px: np.ndarray) -> np.ndarray:
    """Return the depths (N,) of an image (H, W) at pixels (N, 2); NaN where no depth is near, or on an edge."""
    height, width = depth.shape
    offsets = np.arange(-_REACH_PX, _REACH_PX + 1)
    columns, rows = np.round(points_px).astype(np.intp).T
    rows = np.clip(rows[:, None, None] + offsets[:, None], 0, height - 1)
    columns = np.clip(columns[:, None, None] + offsets, 0, width - 1)
    patches = depth[rows, columns].reshape(len(points_px), offsets.size**2)
    patches = np.where(np.isfinite(patches) & (patches > 0), patches, np.nan)
    known = ~np.isnan(patches).all(axis=1)
    values = np.full(len(patches), np.nan)
    near = patches[known]
    median = np.nanmedian(near, axis=1)
    flat = np.nanmax(near, axis=1) - np.nanmin(near, axis=1) < _MAX_STEP * median
    values[known] = np.where(flat, median, np.nan)
    return values
