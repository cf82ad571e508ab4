"""Robust losses for iteratively reweighted least squares: the weight and the cost of a residual's length."""

from __future__ import annotations

import numpy as np


def huber_weight(error: np.ndarray, scale: float) -> np.ndarray:
    """1 up to ``scale``, then ``scale / error``: outliers pull with constant force, the cost stays convex."""
    return scale / np.maximum(error, scale)


def huber_cost(error: np.ndarray, scale: float) -> np.ndarray:
    """``error^2 / 2`` up to ``scale``, linear beyond."""
    return np.where(error <= scale, 0.5 * error**2, scale * (error - 0.5 * scale))


def cauchy_weight(error: np.ndarray, scale: float) -> np.ndarray:
    """``1 / (1 + (error / scale)^2)``: outliers pull ever less."""
    return 1.0 / (1.0 + (error / scale) ** 2)


def cauchy_cost(error: np.ndarray, scale: float) -> np.ndarray:
    """``scale^2 / 2 * log(1 + (error / scale)^2)``."""
    return 0.5 * scale**2 * np.log1p((error / scale) ** 2)


def tukey_weight(error: np.ndarray, scale: float) -> np.ndarray:
    """``(1 - (error / scale)^2)^2`` up to ``scale``, then 0: outliers do not pull at all."""
    return np.maximum(1.0 - (error / scale) ** 2, 0.0) ** 2


def tukey_cost(error: np.ndarray, scale: float) -> np.ndarray:
    """``scale^2 / 6 * (1 - (1 - (error / scale)^2)^3)`` up to ``scale``, then constant."""
    return scale**2 / 6.0 * (1.0 - np.maximum(1.0 - (error / scale) ** 2, 0.0) ** 3)
