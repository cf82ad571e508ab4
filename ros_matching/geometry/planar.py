"""How points travel under a homography, and how far matches are from it."""

from __future__ import annotations

import numpy as np

from ros_matching.geometry.checks import as_correspondences


def transfer_errors_px(homography: np.ndarray, points0: np.ndarray, points1: np.ndarray) -> np.ndarray:
    """The larger of the distances in image 1 and in image 0 (N,) of matches (N, 2) from a homography (3, 3).

    Infinite for points that it takes to infinity or beyond.
    """
    points0, points1 = as_correspondences(points0, points1)
    forward = np.linalg.norm(map_points(homography, points0) - points1, axis=1)
    backward = np.linalg.norm(map_points(np.linalg.inv(homography), points1) - points0, axis=1)
    error = np.maximum(forward, backward)
    return np.where(np.isnan(error), np.inf, error)


def map_points(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) under a homography (3, 3); NaN for those on its line at infinity."""
    mapped = points @ homography[:, :2].T + homography[:, 2]
    return mapped[:, :2] / np.where(mapped[:, 2:] == 0, np.nan, mapped[:, 2:])
